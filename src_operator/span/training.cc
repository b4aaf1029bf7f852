/*! The memory of a training step, and how its passes read it. */
#include "training.h"

#include <algorithm>

#include "transfer.h"

namespace igc {

void Training::prepare(int64_t batch, int threads) {
  batch_ = batch;
  values_.reserve(value_floats_ * batch);
  packed_.reserve(forward_floats_);
  if (gathered_.size() < static_cast<size_t>(threads)) gathered_.resize(threads);
  size_t widest = in_floats_;
  for (const Store& store : stores_) {
    if (store.vector) widest = std::max<size_t>(widest, store.frame.blocks * kLanes * batch + 16);
  }
  for (int t = 0; t < threads; ++t) {
    Gathered& mine = gathered_[t];
    mine.in.reserve(widest);
    for (std::vector<double>& sums : mine.sums) sums.resize(2 * most_lanes_);
    for (std::vector<double>& sums : mine.bias) sums.resize(most_lanes_);
    mine.centre.resize(most_lanes_);
  }
}

void Training::release() {
  has_forward_ = false;
  for (Floats* memory : {&values_, &gradients_, &data_gradient_, &packed_, &packed_backward_}) {
    memory->release();
  }
  gathered_.clear();
}

size_t Training::bytes() const {
  size_t sum = 0;
  for (const Convolution& conv : convolutions_) sum += conv.bytes();
  for (const Floats* memory :
       {&factors_, &values_, &gradients_, &data_gradient_, &packed_, &packed_backward_}) {
    sum += memory->bytes();
  }
  for (const Gathered& mine : gathered_) {
    for (const Floats* memory : {&mine.in, &mine.gradient, &mine.middle, &mine.weights}) {
      sum += memory->bytes();
    }
  }
  return sum;
}

/*! A store, or its gradient, for one image; a vector store for all images from there on. */
Map Training::values(int store, int64_t image) const {
  const Store& found = stores_[store];
  float* memory = values_.data() + found.offset * batch_;
  if (!found.vector) return found.frame.map(memory + image_floats(found.frame) * image);
  const ptrdiff_t block = static_cast<ptrdiff_t>(batch_) * kLanes;
  return {memory + image * kLanes, block, block};
}

Map Training::gradients(int store, int64_t image) const {
  const Store& found = stores_[store];
  float* memory = is_data(store)
                      ? data_gradient_.data()
                      : gradients_.data() + buffers_[found.buffer].offset * batch_;
  if (!found.vector) return found.frame.map(memory + image_floats(found.frame) * image);
  const ptrdiff_t block = static_cast<ptrdiff_t>(batch_) * kLanes;
  return {memory + image * kLanes, block, block};
}

/*! What the readers of a store see of one image, in a frame; in scratch unless it lies there. */
Map Training::view(int store, int64_t image, const Frame& frame, Floats* scratch,
                   const float* data) const {
  const Store& found = stores_[store];
  if (is_data(store)) {
    const Map map = frame.map(scratch->data());
    const int64_t floats = static_cast<int64_t>(frame.height) * frame.width * program_.channels[0];
    std::memset(scratch->data(), 0, frame.floats() * sizeof(float));
    to_lanes(data + image * floats, layout_.slot[0], frame.height, frame.width, map, 0,
             frame.height);
    return map;
  }
  const Map from = values(store, image);
  if (frame.top + frame.left == 0 && found.norm < 0 && !found.limit) return from;
  Map map = frame.map(scratch->data());
  if (found.vector) map.block = map.row = from.block;
  const float* scale = factor(store, kScale);
  const float* shift = factor(store, kShift);
  for (int b = 0; b < frame.blocks; ++b) {
    kernels_->affine(from.at(b, 0, 0), from.row, scale + b * kLanes, shift + b * kLanes, nullptr, 0,
                     nullptr, nullptr, found.limit, found.low, found.high, map.at(b, 0, 0), map.row,
                     frame.height, width_of(store));
  }
  if (!found.vector) frame.clear_halo(map, 0, frame.height);
  return map;
}

void Training::pack_all(const float* const* parameters, bool backward, const Worker& worker) {
  for (const Unit& unit : units_) {
    if (unit.what != What::kConv) continue;
    const Convolution& conv = convolutions_[unit.conv];
    const float* weights = parameters[unit.layer.parameter];
    const auto part = [&](const Jobs& jobs, float* packed) {
      const size_t count = jobs.source.size();
      pack(conv, jobs, weights, nullptr, packed, worker.begin(count), worker.end(count));
    };
    if (!backward) {
      part(conv.forward, packed_.data() + unit.weights);
      if (unit.layer.bias && worker.index() == 0) {  // where the shift of its store begins
        const float* bias = parameters[unit.layer.parameter + 1];
        float* to = factor(unit.out, kConstant);
        for (size_t c = 0; c < conv.slot_out.size(); ++c) to[conv.slot_out[c]] = bias[c];
      }
      continue;
    }
    for (size_t p = 0; p < conv.backward.size(); ++p) {
      part(conv.backward[p].jobs, packed_backward_.data() + unit.phase_weights[p]);
    }
  }
}

}  // namespace igc
