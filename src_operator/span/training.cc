#include "training.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

namespace igc {
namespace {

/*! Floats that one image of a store takes. */
size_t image_floats(const Frame& frame) { return (frame.floats() + 31) / 16 * 16; }

bool is_pointwise(const Layer& layer) {
  return layer.kernel[0] * layer.kernel[1] * layer.stride[0] * layer.stride[1] == 1;
}

}  // namespace

Training::Training(const Program& program, const Layout& layout, int height, int width,
                   const Kernels* kernels)
    : program_(program),
      layout_(layout),
      kernels_(kernels),
      shapes_(program.shapes(height, width)),
      consumers_(program.channels.size(), 0),
      store_of_(program.channels.size(), -1),
      shared_(program.channels.size(), false) {
  for (const Layer& layer : program.layers) {
    ++consumers_[layer.x];
    if (layer.kind == Kind::kAdd) ++consumers_[layer.y];
  }
  ++consumers_[program.result()];
  plan_units();
  plan_shares();
  place_buffers();
  place();
}

int Training::new_store(int tensor, bool vector) {
  Store store;
  store.frame.blocks = layout_.blocks[tensor];
  store.frame.height = shapes_[tensor].height;
  store.frame.width = shapes_[tensor].width;
  store.vector = vector;
  store.tensor = tensor;
  store.made = static_cast<int>(units_.size());
  stores_.push_back(store);
  return static_cast<int>(stores_.size()) - 1;
}

int Training::plan_pointwise(int in, int in2, int tensor) {
  Unit unit;
  unit.what = What::kPointwise;
  unit.in = in;
  unit.in2 = in2;
  unit.out = new_store(tensor, stores_[in].vector);
  units_.push_back(unit);
  return unit.out;
}

/*! A store that holds a tensor as its readers see it. */
int Training::materialised(int tensor) {
  const int store = store_of_[tensor];
  const Store& found = stores_[store];
  const bool as_it_is = found.norm < 0 && !found.limit && !is_data(store);
  return as_it_is ? store : plan_pointwise(store, -1, tensor);
}

void Training::plan_conv(int number, int in) {
  const Layer& layer = program_.layers[number];
  Unit unit;
  unit.what = What::kConv;
  unit.layer = layer;
  unit.in = in;
  unit.conv = static_cast<int>(convolutions_.size());
  convolutions_.push_back(plan_convolution(program_, layout_, number, true));
  unit.out = new_store(number + 1, stores_[in].vector);
  store_of_[number + 1] = unit.out;
  units_.push_back(std::move(unit));
}

void Training::plan_units() {
  store_of_[0] = new_store(0, false);
  stores_[0].made = -1;
  shared_[0] = consumers_[0] > 1;
  for (int k = 0; k < static_cast<int>(program_.layers.size()); ++k) {
    const Layer& layer = program_.layers[k];
    const int tensor = k + 1;
    if (store_of_[tensor] >= 0) continue;  // a ReLU that its addition took
    int in = store_of_[layer.x];
    shared_[tensor] = consumers_[tensor] > 1;
    switch (layer.kind) {
      case Kind::kPermute:
        store_of_[tensor] = in;
        shared_[tensor] = shared_[tensor] || shared_[layer.x];
        break;
      case Kind::kBatchNorm:
        if (shared_[layer.x] || stores_[in].norm >= 0 || stores_[in].limit || is_data(in)) {
          in = plan_pointwise(in, -1, tensor);
        }
        stores_[in].norm = k;
        store_of_[tensor] = in;
        break;
      case Kind::kRelu:
      case Kind::kClip: {
        if (shared_[layer.x] || stores_[in].limit || stores_[in].masked || is_data(in)) {
          in = plan_pointwise(in, -1, tensor);
        }
        Store& store = stores_[in];
        const bool relu = layer.kind == Kind::kRelu;
        store.limit = store.masked = true;
        store.low = layer.low;
        store.high = relu ? INFINITY : layer.high;
        store.pass_low = relu ? FLT_MIN : layer.low;
        store.pass_high = store.high;
        store_of_[tensor] = in;
        break;
      }
      case Kind::kAdd: {
        const auto unlimited = [this](int read) {
          return stores_[store_of_[read]].limit ? plan_pointwise(store_of_[read], -1, read)
                                                : store_of_[read];
        };
        const int first = unlimited(layer.x), second = unlimited(layer.y);
        const int out = plan_pointwise(first, second, tensor);
        store_of_[tensor] = out;
        // the ReLU behind an addition is part of it, if it alone reads the sum
        for (size_t next = k + 1; !shared_[tensor] && next < program_.layers.size(); ++next) {
          const Layer& follower = program_.layers[next];
          if (follower.x != tensor || follower.kind != Kind::kRelu) continue;
          units_.back().relu = true;
          stores_[out].masked = true;
          stores_[out].pass_low = FLT_MIN;
          stores_[out].pass_high = INFINITY;
          store_of_[next + 1] = out;
          shared_[next + 1] = consumers_[next + 1] > 1;
        }
        break;
      }
      case Kind::kConv:
        plan_conv(k, in);
        break;
      case Kind::kDense:
        if (!stores_[in].vector) {
          Unit pool;
          pool.what = What::kAverage;
          pool.in = in;
          pool.out = in = new_store(layer.x, true);
          units_.push_back(pool);
        }
        plan_conv(k, in);
        break;
      case Kind::kMaxPool:
      case Kind::kAvgPool: {
        Unit unit;
        unit.what = layer.kind == Kind::kMaxPool ? What::kMaxPool : What::kAverage;
        unit.layer = layer;
        unit.in = in;
        unit.out = new_store(tensor, layer.kind == Kind::kAvgPool);
        store_of_[tensor] = unit.out;
        units_.push_back(unit);
        break;
      }
    }
  }
  // two convolutions, of which the second is 1 x 1 and alone reads the first, go image by image
  for (size_t u = 0; u + 1 < units_.size(); ++u) {
    Unit& unit = units_[u];
    const Unit& next = units_[u + 1];
    if (unit.what != What::kConv || next.what != What::kConv || next.in != unit.out) continue;
    const Store& between = stores_[unit.out];
    const bool paired_before = u > 0 && units_[u - 1].paired;
    unit.paired = !paired_before && !between.vector && between.norm < 0 && !between.masked &&
                  is_pointwise(next.layer) && consumers_[between.tensor] == 1 &&
                  store_of_[program_.result()] != unit.out;
  }
}

/*! Note that a unit hands a gradient to a store, as the backward pass meets it. */
void Training::share(int unit, int store, Share* share, std::vector<int>* readers_left) {
  Store& found = stores_[store];
  const int count = static_cast<int>(units_.size());
  // a pair goes back image by image, both at once
  const int time = count - 1 - (unit < count && units_[unit].paired ? unit + 1 : unit);
  share->first = found.buffer < 0;
  share->last = --(*readers_left)[store] == 0;
  if (share->first) {
    found.buffer = static_cast<int>(buffers_.size());
    Buffer buffer;
    buffer.floats = found.vector ? lanes_of(store) : image_floats(found.frame);
    buffer.from = time;
    buffers_.push_back(buffer);
  }
  int& to = buffers_[found.buffer].to;
  to = std::max(to, count - 1 - found.made);
}

void Training::plan_shares() {
  std::vector<int> readers_left(stores_.size(), 0);
  for (size_t u = 0; u < units_.size(); ++u) {
    const Unit& unit = units_[u];
    if (u > 0 && units_[u - 1].paired) continue;
    ++readers_left[unit.in];
    if (unit.in2 >= 0) ++readers_left[unit.in2];
  }
  const std::vector<int> readers = readers_left;
  ++readers_left[store_of_[program_.result()]];
  share(static_cast<int>(units_.size()), store_of_[program_.result()], &result_share_,
        &readers_left);
  for (int u = static_cast<int>(units_.size()) - 1; u >= 0; --u) {
    Unit& unit = units_[u];
    if (u > 0 && units_[u - 1].paired) continue;  // its gradient never leaves the cache
    if (unit.what == What::kPointwise) {
      // an addition's gradient is its operands': where nothing else changes it, in place
      const auto in_place = [&](int store, int other) {
        if (is_data(store) || stores_[store].buffer >= 0 ||
            store == store_of_[program_.result()]) {
          return false;
        }
        if (readers[store] == 1) return true;
        // what is added to later must be read before: by the unit that comes next
        return other < 0 || (other != store && stores_[other].made == u - 1);
      };
      const bool first = in_place(unit.in, unit.in2);
      const bool second = unit.in2 >= 0 && unit.in2 != unit.in && in_place(unit.in2, unit.in) &&
                          (!first || readers[unit.in] == 1 || readers[unit.in2] == 1);
      for (const bool is_second : {false, true}) {
        const int store = is_second ? unit.in2 : unit.in;
        Share* mine = is_second ? &unit.share2 : &unit.share;
        mine->in_place = is_second ? second : first;
        if (mine->in_place) stores_[store].buffer = stores_[unit.out].buffer;
      }
    }
    share(u, unit.in, &unit.share, &readers_left);
    if (unit.share.in_place) unit.share.first = true;
    if (unit.in2 >= 0) {
      share(u, unit.in2, &unit.share2, &readers_left);
      if (unit.share2.in_place) unit.share2.first = true;
    }
  }
}

/*! Gradients that do not live together share memory. The data's has a place of its own. */
void Training::place_buffers() {
  for (size_t b = 0; b < buffers_.size(); ++b) {
    Buffer& buffer = buffers_[b];
    if (static_cast<int>(b) == stores_[0].buffer) continue;
    for (bool moved = true; moved;) {
      moved = false;
      for (size_t other = 0; other < b; ++other) {
        const Buffer& there = buffers_[other];
        if (static_cast<int>(other) == stores_[0].buffer) continue;
        const bool together = there.from <= buffer.to && buffer.from <= there.to;
        if (together && buffer.offset < there.offset + there.floats &&
            there.offset < buffer.offset + buffer.floats) {
          buffer.offset = there.offset + there.floats;
          moved = true;
        }
      }
    }
    gradient_floats_ = std::max(gradient_floats_, buffer.offset + buffer.floats);
  }
}

/*! Where everything lies, and how much scratch a thread needs. */
void Training::place() {
  size_t factors = 0;
  for (size_t s = 0; s < stores_.size(); ++s) {
    Store& store = stores_[s];
    store.factors = factors;
    factors += lanes_of(static_cast<int>(s)) * kFactors;
    most_lanes_ = std::max(most_lanes_, lanes_of(static_cast<int>(s)));
    if (is_data(static_cast<int>(s))) continue;
    store.offset = value_floats_;
    value_floats_ += store.vector ? lanes_of(static_cast<int>(s)) : image_floats(store.frame);
  }
  factors_.reserve(factors);
  for (size_t s = 0; s < stores_.size(); ++s) {
    const int store = static_cast<int>(s);
    std::fill_n(factor(store, kScale), lanes_of(store), 1.0f);
    std::fill_n(factor(store, kShift), lanes_of(store) * (kFactors - 1), 0.0f);
  }
  for (size_t u = 0; u < units_.size(); ++u) {
    Unit& unit = units_[u];
    unit.frame_in = stores_[unit.in].frame;
    unit.frame_gradient = stores_[unit.out].frame;
    if (unit.what == What::kConv) {
      const Convolution& conv = convolutions_[unit.conv];
      const Layer& layer = unit.layer;
      unit.frame_in.top = layer.pad[0];
      unit.frame_in.left = layer.pad[1];
      unit.taps = tap_offsets(layer, unit.frame_in.row());
      unit.weights = forward_floats_;
      forward_floats_ += (conv.forward.source.size() + 15) / 16 * 16;
      Frame& frame = unit.frame_gradient;
      for (const Phase& phase : conv.backward) {
        const int rows = (unit.frame_in.height - phase.y + layer.stride[0] - 1) / layer.stride[0];
        const int columns = (unit.frame_in.width - phase.x + layer.stride[1] - 1) / layer.stride[1];
        for (const int shift : phase.shift_y) {
          frame.top = std::max({frame.top, -shift, rows + shift - frame.height});
        }
        for (const int shift : phase.shift_x) {
          frame.left = std::max({frame.left, -shift, columns + shift - frame.width});
        }
      }
      for (const Phase& phase : conv.backward) {
        unit.phase_weights.push_back(backward_floats_);
        backward_floats_ += (phase.jobs.source.size() + 15) / 16 * 16;
        unit.phase_taps.emplace_back();
        for (size_t t = 0; t < phase.shift_y.size(); ++t) {
          unit.phase_taps.back().push_back(phase.shift_y[t] * frame.row() +
                                           static_cast<ptrdiff_t>(phase.shift_x[t]) * kLanes);
        }
      }
      const bool second = u > 0 && units_[u - 1].paired;
      const size_t partner =
          second ? (convolutions_[units_[u - 1].conv].forward.source.size() + 15) / 16 * 16 : 0;
      weight_floats_ =
          std::max(weight_floats_, (conv.forward.source.size() + 15) / 16 * 16 + partner);
      if (unit.paired) middle_floats_ = std::max(middle_floats_, image_floats(frame));
    }
    if (!stores_[unit.in].vector) {
      in_floats_ = std::max(in_floats_, image_floats(unit.frame_in));
    }
    if (!stores_[unit.out].vector) {
      gradient_scratch_ = std::max(gradient_scratch_, image_floats(unit.frame_gradient));
    }
  }
  in_floats_ = std::max(in_floats_, image_floats(stores_[store_of_[program_.result()]].frame));
}

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
    const std::vector<int>& slot = layout_.slot[0];
    const int64_t plane = static_cast<int64_t>(frame.height) * frame.width;
    const float* from = data + image * plane * static_cast<int64_t>(slot.size());
    std::memset(scratch->data(), 0, frame.floats() * sizeof(float));
    for (size_t c = 0; c < slot.size(); ++c) {
      for (int y = 0; y < frame.height; ++y) {
        const float* row = from + c * plane + static_cast<int64_t>(y) * frame.width;
        float* to = map.at(slot[c] / kLanes, y, 0) + slot[c] % kLanes;
        for (int x = 0; x < frame.width; ++x) to[static_cast<ptrdiff_t>(x) * kLanes] = row[x];
      }
    }
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
      pack(jobs, weights, nullptr, conv.weights_per_output, packed, worker.begin(count),
           worker.end(count));
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

void Training::forward_conv(const Unit& unit, int64_t image, const float* data, Gathered* mine,
                            size_t job_begin, size_t job_end) {
  const Convolution& conv = convolutions_[unit.conv];
  const Layer& layer = unit.layer;
  const Map in = view(unit.in, image, unit.frame_in, &mine->in, data);
  ConvTask task = {};
  task.lane_wise = conv.lane_wise;
  task.jobs = conv.forward.jobs.data() + job_begin;
  task.job_count = static_cast<int>(job_end - job_begin);
  task.weights = packed_.data() + unit.weights;
  task.taps = unit.taps.data();
  task.tap_count = static_cast<int>(unit.taps.size());
  task.in = in;
  task.in.base = in.at(0, -layer.pad[0], -layer.pad[1]);
  task.out = values(unit.out, image);
  task.rows = stores_[unit.out].frame.height;
  task.width = width_of(unit.out);
  task.in_step = layer.stride[1];
  task.in_row_step = layer.stride[0];
  task.out_step = task.out_row_step = 1;
  if (layer.bias) task.bias = factor(unit.out, kConstant);
  kernels_->conv(task);
}

void Training::forward_pointwise(const Unit& unit, int64_t image, const float* data,
                                 Gathered* mine) {
  const Store &first = stores_[unit.in], &out = stores_[unit.out];
  const Map in = is_data(unit.in) ? view(unit.in, image, first.frame, &mine->in, data)
                                  : values(unit.in, image);
  Map in2;
  if (unit.in2 >= 0) {
    const Frame& frame = stores_[unit.in2].frame;
    in2 = is_data(unit.in2) ? view(unit.in2, image, frame, &mine->in, data)
                            : values(unit.in2, image);
  }
  const Map to = values(unit.out, image);
  for (int b = 0; b < out.frame.blocks; ++b) {
    const int lane = b * kLanes;
    // a sum is rectified; a copy takes what the readers of its store see
    const bool limit = unit.in2 >= 0 ? unit.relu : first.limit;
    const float low = unit.in2 >= 0 ? 0 : first.low, high = unit.in2 >= 0 ? INFINITY : first.high;
    kernels_->affine(in.at(b, 0, 0), in.row, factor(unit.in, kScale) + lane,
                     factor(unit.in, kShift) + lane, unit.in2 < 0 ? nullptr : in2.at(b, 0, 0),
                     in2.row, unit.in2 < 0 ? nullptr : factor(unit.in2, kScale) + lane,
                     unit.in2 < 0 ? nullptr : factor(unit.in2, kShift) + lane, limit, low, high,
                     to.at(b, 0, 0), to.row, out.frame.height, width_of(unit.out));
  }
}

void Training::forward_max_pool(const Unit& unit, int64_t image, const float* data,
                                Gathered* mine) {
  const Layer& layer = unit.layer;
  const Frame &in_frame = stores_[unit.in].frame, &frame = stores_[unit.out].frame;
  const Map in = view(unit.in, image, in_frame, &mine->in, data);
  const Map out = values(unit.out, image);
  for (int b = 0; b < frame.blocks; ++b) {
    for (int y = 0; y < frame.height; ++y) {
      const int top = y * layer.stride[0] - layer.pad[0];
      for (int x = 0; x < frame.width; ++x) {
        const int left = x * layer.stride[1] - layer.pad[1];
        float best[kLanes];
        std::fill(best, best + kLanes, -INFINITY);
        for (int iy = std::max(top, 0); iy < std::min(top + layer.kernel[0], in_frame.height);
             ++iy) {
          for (int ix = std::max(left, 0); ix < std::min(left + layer.kernel[1], in_frame.width);
               ++ix) {
            const float* from = in.at(b, iy, ix);
            for (int lane = 0; lane < kLanes; ++lane) {
              best[lane] = from[lane] > best[lane] ? from[lane] : best[lane];
            }
          }
        }
        std::copy(best, best + kLanes, out.at(b, y, x));
      }
    }
  }
}

void Training::forward_average(const Unit& unit, int64_t image, const float* data,
                               Gathered* mine) {
  const Frame& frame = stores_[unit.in].frame;
  const Map in = view(unit.in, image, frame, &mine->in, data);
  const Map out = values(unit.out, image);
  const float share = 1.0f / (static_cast<float>(frame.height) * frame.width);
  const float zeros[kLanes] = {};
  for (int b = 0; b < frame.blocks; ++b) {
    float sums[2 * kLanes] = {};
    kernels_->moments(in.at(b, 0, 0), in.row, zeros, frame.height, frame.width, sums);
    for (int lane = 0; lane < kLanes; ++lane) out.at(b, 0, 0)[lane] = sums[lane] * share;
  }
}

void Training::begin_moments(int store, Gathered* mine) const {
  mine->count = 0;
  std::fill_n(mine->sums[0].begin(), 2 * lanes_of(store), 0.0);
}

/*!
 * Add an image to the sums of a store's values and squares. They are taken about the mean of the
 * thread's first image, so that little is cancelled when the variance is formed.
 */
void Training::gather_moments(int store, int64_t image, Gathered* mine) const {
  const Frame& frame = stores_[store].frame;
  const Map map = values(store, image);
  const int width = width_of(store);
  const float pixels = static_cast<float>(frame.height) * width;
  for (int b = 0; b < frame.blocks; ++b) {
    float* centre = mine->centre.data() + b * kLanes;
    if (mine->count == 0) {
      const float zeros[kLanes] = {};
      float sums[2 * kLanes] = {};
      kernels_->moments(map.at(b, 0, 0), map.row, zeros, frame.height, width, sums);
      for (int lane = 0; lane < kLanes; ++lane) centre[lane] = sums[lane] / pixels;
    }
    float sums[2 * kLanes] = {};
    kernels_->moments(map.at(b, 0, 0), map.row, centre, frame.height, width, sums);
    double* to = mine->sums[0].data() + 2 * b * kLanes;
    for (int k = 0; k < 2 * kLanes; ++k) to[k] += sums[k];
  }
  mine->count += static_cast<int64_t>(frame.height) * width;
}

/*! From all threads' moments, what puts a store through its normalisation. */
void Training::normalise(int store, const float* const* parameters, float* const* states,
                         const Worker& worker) {
  const int number = stores_[store].norm;
  const Layer& norm = program_.layers[number];
  const std::vector<int>& slot = layout_.slot[number + 1];
  const float* const* p = parameters + norm.parameter;
  for (size_t c = worker.begin(slot.size()); c < worker.end(slot.size()); ++c) {
    const int lane = slot[c];
    const size_t place = 2 * (lane / kLanes * kLanes) + lane % kLanes;
    double count = 0, mean = 0, squares = 0;
    for (int t = 0; t < worker.count(); ++t) {
      const Gathered& theirs = gathered_[t];
      if (theirs.count == 0) continue;
      const double n = static_cast<double>(theirs.count);
      const double first = theirs.sums[0][place], second = theirs.sums[0][place + kLanes];
      const double away = theirs.centre[lane] + first / n - mean;
      squares += second - first * first / n + away * away * count * n / (count + n);
      mean += away * n / (count + n);
      count += n;
    }
    const double variance = std::max(squares / count, 0.0);
    const double inverse = 1 / std::sqrt(variance + norm.eps);
    const double gamma = norm.fix_gamma ? 1.0 : p[0][c];
    factor(store, kScale)[lane] = static_cast<float>(gamma * inverse);
    factor(store, kShift)[lane] = static_cast<float>(p[1][c] - mean * gamma * inverse);
    factor(store, kMean)[lane] = static_cast<float>(mean);
    factor(store, kInverse)[lane] = static_cast<float>(inverse);
    if (states == nullptr) continue;
    float* moving[] = {states[norm.parameter + 2], states[norm.parameter + 3]};
    const double found[] = {mean, variance};
    for (int k = 0; k < 2; ++k) {
      if (moving[k] == nullptr) continue;
      moving[k][c] = static_cast<float>(norm.momentum * moving[k][c] + (1 - norm.momentum) * found[k]);
    }
  }
}

void Training::forward_unit(const Unit& unit, const float* data, const Worker& worker) {
  Gathered* mine = &gathered_[worker.index()];
  const bool sums = stores_[unit.out].norm >= 0;
  if (sums) begin_moments(unit.out, mine);
  if (stores_[unit.in].vector) {  // one row of images: by jobs, or by one thread
    if (unit.what == What::kConv) {
      const size_t jobs = convolutions_[unit.conv].forward.jobs.size();
      forward_conv(unit, 0, data, mine, worker.begin(jobs), worker.end(jobs));
      worker.wait();
    } else if (worker.index() == 0) {
      forward_pointwise(unit, 0, data, mine);
    }
    if (sums && worker.index() == 0) gather_moments(unit.out, 0, mine);
    return;
  }
  const Unit* next = unit.paired ? &unit + 1 : nullptr;
  const bool next_sums = next != nullptr && stores_[next->out].norm >= 0;
  if (next_sums) begin_moments(next->out, mine);
  for (int64_t image = worker.begin(batch_); image < static_cast<int64_t>(worker.end(batch_));
       ++image) {
    switch (unit.what) {
      case What::kConv:
        forward_conv(unit, image, data, mine, 0, convolutions_[unit.conv].forward.jobs.size());
        if (next != nullptr) {
          forward_conv(*next, image, data, mine, 0,
                       convolutions_[next->conv].forward.jobs.size());
        }
        break;
      case What::kPointwise:
        forward_pointwise(unit, image, data, mine);
        break;
      case What::kMaxPool:
        forward_max_pool(unit, image, data, mine);
        break;
      case What::kAverage:
        forward_average(unit, image, data, mine);
        break;
    }
    if (sums && !stores_[unit.out].vector) gather_moments(unit.out, image, mine);
    if (next_sums) gather_moments(next->out, image, mine);
  }
  if (sums && stores_[unit.out].vector) {
    worker.wait();
    if (worker.index() == 0) gather_moments(unit.out, 0, mine);
  }
}

void Training::give_result(const float* data, float* result, const Worker& worker) {
  const int tensor = program_.result(), store = store_of_[tensor];
  const Frame& frame = stores_[store].frame;
  const std::vector<int>& slot = layout_.slot[tensor];
  Gathered* mine = &gathered_[worker.index()];
  if (stores_[store].vector) {
    if (worker.index() != 0) return;
    const Map map = view(store, 0, frame, &mine->in, data);
    for (int64_t n = 0; n < batch_; ++n) {
      for (size_t c = 0; c < slot.size(); ++c) {
        result[n * slot.size() + c] =
            map.at(slot[c] / kLanes, 0, static_cast<int>(n))[slot[c] % kLanes];
      }
    }
    return;
  }
  const int64_t plane = static_cast<int64_t>(frame.height) * frame.width;
  for (size_t image = worker.begin(batch_); image < worker.end(batch_); ++image) {
    const Map map = view(store, image, frame, &mine->in, data);
    for (size_t c = 0; c < slot.size(); ++c) {
      float* to = result + (image * slot.size() + c) * plane;
      for (int y = 0; y < frame.height; ++y) {
        const float* from = map.at(slot[c] / kLanes, y, 0) + slot[c] % kLanes;
        for (int x = 0; x < frame.width; ++x) *to++ = from[static_cast<ptrdiff_t>(x) * kLanes];
      }
    }
  }
}

void Training::forward(int64_t batch, const float* data, const float* const* parameters,
                       float* const* states, float* result, int threads) {
  has_forward_ = false;
  if (batch < 1) throw SpanError("a training step needs at least one image");
  threads = std::max(threads, 1);
  prepare(batch, threads);
  run_team(threads, [&](const Worker& worker) {
    pack_all(parameters, false, worker);
    worker.wait();
    for (size_t u = 0; u < units_.size(); ++u) {
      if (u > 0 && units_[u - 1].paired) continue;
      forward_unit(units_[u], data, worker);
      worker.wait();
      const int out = units_[units_[u].paired ? u + 1 : u].out;
      if (stores_[out].norm >= 0) {
        normalise(out, parameters, states, worker);
        worker.wait();
      }
    }
    give_result(data, result, worker);
  });
  has_forward_ = true;
}

void Training::take_result_gradient(const float* gradient, const Worker& worker) {
  const int tensor = program_.result(), store = store_of_[tensor];
  const Frame& frame = stores_[store].frame;
  const std::vector<int>& slot = layout_.slot[tensor];
  const bool vector = stores_[store].vector;
  const int64_t plane = static_cast<int64_t>(frame.height) * frame.width;
  Gathered* mine = &gathered_[worker.index()];
  std::fill_n(mine->sums[0].begin(), 2 * lanes_of(store), 0.0);
  for (size_t image = worker.begin(batch_); image < worker.end(batch_); ++image) {
    const Map map = gradients(store, image);
    for (int b = 0; b < frame.blocks; ++b) {
      for (int y = 0; y < frame.height; ++y) {
        std::memset(map.at(b, y, 0), 0, static_cast<size_t>(frame.width) * kLanes * sizeof(float));
      }
    }
    for (size_t c = 0; c < slot.size(); ++c) {
      const float* from = gradient + (image * slot.size() + c) * plane;
      for (int y = 0; y < frame.height; ++y) {
        float* to = map.at(slot[c] / kLanes, y, 0) + slot[c] % kLanes;
        for (int x = 0; x < frame.width; ++x) to[static_cast<ptrdiff_t>(x) * kLanes] = *from++;
      }
    }
    if (result_share_.last && !vector) finish_gradient(store, image, &mine->sums[0]);
  }
  worker.wait();
  if (result_share_.last && vector && worker.index() == 0) {
    finish_gradient(store, 0, &mine->sums[0]);
  }
}

void Training::give_data_gradient(float* gradient, const Worker& worker) const {
  const Frame& frame = stores_[0].frame;
  const std::vector<int>& slot = layout_.slot[0];
  const int64_t plane = static_cast<int64_t>(frame.height) * frame.width;
  for (size_t image = worker.begin(batch_); image < worker.end(batch_); ++image) {
    const Map map = gradients(0, image);
    for (size_t c = 0; c < slot.size(); ++c) {
      float* to = gradient + (image * slot.size() + c) * plane;
      for (int y = 0; y < frame.height; ++y) {
        const float* from = map.at(slot[c] / kLanes, y, 0) + slot[c] % kLanes;
        for (int x = 0; x < frame.width; ++x) *to++ = from[static_cast<ptrdiff_t>(x) * kLanes];
      }
    }
  }
}

/*! Put a store's gradient through its limit, and sum it up for its normalisation. */
void Training::finish_gradient(int store, int64_t image, std::vector<double>* sums) const {
  const Store& found = stores_[store];
  if (found.norm < 0 && !found.masked) return;
  const Map gradient = gradients(store, image), value = values(store, image);
  for (int b = 0; b < found.frame.blocks; ++b) {
    const int lane = b * kLanes;
    float found_sums[2 * kLanes] = {};
    kernels_->mask(gradient.at(b, 0, 0), gradient.row, value.at(b, 0, 0), value.row,
                   factor(store, kScale) + lane, factor(store, kShift) + lane, found.masked,
                   found.pass_low, found.pass_high, factor(store, kMean) + lane,
                   gradient.at(b, 0, 0), gradient.row, found.frame.height, width_of(store),
                   found_sums);
    double* to = sums->data() + 2 * lane;
    for (int k = 0; k < 2 * kLanes; ++k) to[k] += found_sums[k];
  }
}

/*! From all threads' sums: the gradients of gamma and beta, and how the store's is corrected. */
void Training::settle(int store, int which, const float* const* parameters,
                      float* const* parameter_gradients, const Worker& worker) {
  const int number = stores_[store].norm;
  if (number < 0) return;
  const Layer& norm = program_.layers[number];
  const std::vector<int>& slot = layout_.slot[number + 1];
  const Frame& frame = stores_[store].frame;
  const double count = static_cast<double>(batch_) * frame.height * frame.width;
  for (size_t c = worker.begin(slot.size()); c < worker.end(slot.size()); ++c) {
    const int lane = slot[c];
    const size_t place = 2 * (lane / kLanes * kLanes) + lane % kLanes;
    double first = 0, second = 0;
    for (int t = 0; t < worker.count(); ++t) {
      first += gathered_[t].sums[which][place];
      second += gathered_[t].sums[which][place + kLanes];
    }
    const double inverse = factor(store, kInverse)[lane], mean = factor(store, kMean)[lane];
    const double gamma = norm.fix_gamma ? 1.0 : parameters[norm.parameter][c];
    const double value = -gamma * inverse * inverse * inverse * second / count;
    factor(store, kGradient)[lane] = static_cast<float>(gamma * inverse);
    factor(store, kValue)[lane] = static_cast<float>(value);
    factor(store, kConstant)[lane] =
        static_cast<float>(-gamma * inverse * first / count - value * mean);
    float* to_gamma = parameter_gradients[norm.parameter];
    float* to_beta = parameter_gradients[norm.parameter + 1];
    if (to_gamma != nullptr) to_gamma[c] = norm.fix_gamma ? 0 : static_cast<float>(second * inverse);
    if (to_beta != nullptr) to_beta[c] = static_cast<float>(first);
  }
}

/*! The gradient of a convolution's result, in scratch with the halo that is needed. */
Map Training::before_normalisation(const Unit& unit, int64_t image, Gathered* mine) const {
  const Store& found = stores_[unit.out];
  const Frame& frame = unit.frame_gradient;
  const Map from = gradients(unit.out, image);
  if (found.norm < 0 && frame.top + frame.left == 0) return from;
  Map map = frame.map(mine->gradient.data());
  if (found.vector) map.block = map.row = from.block;
  const int width = width_of(unit.out);
  if (found.norm >= 0) {
    const Map value = values(unit.out, image);
    for (int b = 0; b < frame.blocks; ++b) {
      const int lane = b * kLanes;
      kernels_->combine(from.at(b, 0, 0), from.row, value.at(b, 0, 0), value.row,
                        factor(unit.out, kGradient) + lane, factor(unit.out, kValue) + lane,
                        factor(unit.out, kConstant) + lane, map.at(b, 0, 0), map.row, frame.height,
                        width);
    }
  } else {
    for (int b = 0; b < frame.blocks; ++b) {
      kernels_->affine(from.at(b, 0, 0), from.row, nullptr, nullptr, nullptr, 0, nullptr, nullptr,
                       false, 0, 0, map.at(b, 0, 0), map.row, frame.height, width);
    }
  }
  if (!found.vector) frame.clear_halo(map, 0, frame.height);
  return map;
}

void Training::weight_gradient(const Unit& unit, const Map& in, const Map& gradient,
                               float* weights, size_t job_begin, size_t job_end) const {
  const Convolution& conv = convolutions_[unit.conv];
  const Layer& layer = unit.layer;
  WeightTask task = {};
  task.lane_wise = conv.lane_wise;
  task.jobs = conv.forward.jobs.data() + job_begin;
  task.job_count = static_cast<int>(job_end - job_begin);
  task.gradients = weights;
  task.taps = unit.taps.data();
  task.tap_count = static_cast<int>(unit.taps.size());
  task.in = in;
  task.in.base = in.at(0, -layer.pad[0], -layer.pad[1]);
  task.gradient = gradient;
  task.rows = stores_[unit.out].frame.height;
  task.width = width_of(unit.out);
  task.in_step = layer.stride[1];
  task.in_row_step = layer.stride[0];
  kernels_->weight_gradient(task);
}

void Training::add_bias_gradient(const Unit& unit, const Map& gradient,
                                 std::vector<double>* sums) const {
  const Frame& frame = unit.frame_gradient;
  const float zeros[kLanes] = {};
  for (int b = 0; b < frame.blocks; ++b) {
    float found[2 * kLanes] = {};
    kernels_->moments(gradient.at(b, 0, 0), gradient.row, zeros, frame.height, width_of(unit.out),
                      found);
    for (int lane = 0; lane < kLanes; ++lane) (*sums)[b * kLanes + lane] += found[lane];
  }
}

void Training::reduce_bias(const Unit& unit, int which, float* gradient,
                           const Worker& worker) const {
  if (gradient == nullptr) return;
  const std::vector<int>& slot = convolutions_[unit.conv].slot_out;
  for (size_t c = worker.begin(slot.size()); c < worker.end(slot.size()); ++c) {
    double sum = 0;
    for (int t = 0; t < worker.count(); ++t) sum += gathered_[t].bias[which][slot[c]];
    gradient[c] = static_cast<float>(sum);
  }
}

/*! Part number `part` of `parts` of the jobs of a data gradient. */
void Training::data_gradient(const Unit& unit, const Map& gradient, const Map& out,
                             bool accumulate, size_t part, size_t parts) const {
  const Convolution& conv = convolutions_[unit.conv];
  const Layer& layer = unit.layer;
  const int width = width_of(unit.in);
  for (size_t p = 0; p < conv.backward.size(); ++p) {
    const Phase& phase = conv.backward[p];
    const size_t jobs = phase.jobs.jobs.size();
    const size_t begin = jobs * part / parts, end = jobs * (part + 1) / parts;
    ConvTask task = {};
    task.lane_wise = conv.lane_wise;
    task.jobs = phase.jobs.jobs.data() + begin;
    task.job_count = static_cast<int>(end - begin);
    task.weights = packed_backward_.data() + unit.phase_weights[p];
    task.taps = unit.phase_taps[p].data();
    task.tap_count = static_cast<int>(unit.phase_taps[p].size());
    task.in = gradient;
    task.out = out;
    task.out.base = out.at(0, phase.y, phase.x);
    task.rows = (unit.frame_in.height - phase.y + layer.stride[0] - 1) / layer.stride[0];
    task.width = (width - phase.x + layer.stride[1] - 1) / layer.stride[1];
    task.in_step = task.in_row_step = 1;
    task.out_step = layer.stride[1];
    task.out_row_step = layer.stride[0];
    task.accumulate = accumulate;
    if (task.rows > 0 && task.width > 0) kernels_->conv(task);
  }
}

/*! One image of a convolution, and of the one before it if they are a pair. */
void Training::backward_conv_image(const Unit& unit, const Unit* before, int64_t image,
                                   const float* data, Gathered* mine, bool data_wanted) {
  const auto jobs = [this](const Unit& of) { return convolutions_[of.conv].forward.jobs.size(); };
  Map gradient = before_normalisation(unit, image, mine);
  if (unit.layer.bias) add_bias_gradient(unit, gradient, &mine->bias[0]);
  const Map in = view(unit.in, image, unit.frame_in, &mine->in, data);
  float* weights = mine->weights.data();
  weight_gradient(unit, in, gradient, weights, 0, jobs(unit));
  const Unit& first = before == nullptr ? unit : *before;
  if (before != nullptr) {
    const Frame& frame = first.frame_gradient;
    const Map middle = frame.map(mine->middle.data());
    data_gradient(unit, gradient, middle, false, 0, 1);
    frame.clear_halo(middle, 0, frame.height);
    if (first.layer.bias) add_bias_gradient(first, middle, &mine->bias[1]);
    const Map first_in = view(first.in, image, first.frame_in, &mine->in, data);
    weights += (convolutions_[unit.conv].forward.source.size() + 15) / 16 * 16;
    weight_gradient(first, first_in, middle, weights, 0, jobs(first));
    gradient = middle;
  }
  if (is_data(first.in) && !data_wanted) return;
  data_gradient(first, gradient, gradients(first.in, image), !first.share.first, 0, 1);
  if (first.share.last) finish_gradient(first.in, image, &mine->sums[0]);
}

/*! A convolution of vectors: the threads share its jobs. */
void Training::backward_conv_vectors(const Unit& unit, const float* data, const Worker& worker) {
  Gathered* mine = &gathered_[worker.index()];
  const Map gradient = before_normalisation(unit, 0, mine);
  const Map in = view(unit.in, 0, unit.frame_in, &mine->in, data);
  if (unit.layer.bias && worker.index() == 0) add_bias_gradient(unit, gradient, &mine->bias[0]);
  const size_t jobs = convolutions_[unit.conv].forward.jobs.size();
  weight_gradient(unit, in, gradient, gathered_[0].weights.data(), worker.begin(jobs),
                  worker.end(jobs));
  data_gradient(unit, gradient, gradients(unit.in, 0), !unit.share.first, worker.index(),
                worker.count());
  worker.wait();
  if (unit.share.last && worker.index() == 0) finish_gradient(unit.in, 0, &mine->sums[0]);
}

void Training::backward_pointwise(const Unit& unit, int64_t image, Gathered* mine,
                                  bool data_wanted) {
  const Map from = gradients(unit.out, image);
  const Store& out = stores_[unit.out];
  const int width = width_of(unit.out);
  for (const bool second : {false, true}) {
    const int store = second ? unit.in2 : unit.in;
    const Share& share = second ? unit.share2 : unit.share;
    if (store < 0 || (is_data(store) && !data_wanted)) continue;
    if (!share.in_place) {
      const Map to = gradients(store, image);
      for (int b = 0; b < out.frame.blocks; ++b) {
        kernels_->affine(from.at(b, 0, 0), from.row, nullptr, nullptr,
                         share.first ? nullptr : to.at(b, 0, 0), to.row, nullptr, nullptr, false, 0,
                         0, to.at(b, 0, 0), to.row, out.frame.height, width);
      }
    }
  }
  // only now, when nothing reads the gradient as it came any more, may it be masked in place
  for (const bool second : {false, true}) {
    const int store = second ? unit.in2 : unit.in;
    const Share& share = second ? unit.share2 : unit.share;
    if (store < 0 || is_data(store) || !share.last) continue;
    finish_gradient(store, image, &mine->sums[second]);
  }
}

void Training::backward_max_pool(const Unit& unit, int64_t image, const float* data,
                                 Gathered* mine, bool data_wanted) {
  if (is_data(unit.in) && !data_wanted) return;
  const Layer& layer = unit.layer;
  const Frame &in_frame = stores_[unit.in].frame, &frame = stores_[unit.out].frame;
  const Map in = view(unit.in, image, in_frame, &mine->in, data);
  const Map given = gradients(unit.out, image), to = gradients(unit.in, image);
  for (int b = 0; b < frame.blocks; ++b) {
    for (int y = 0; unit.share.first && y < in_frame.height; ++y) {
      std::memset(to.at(b, y, 0), 0, static_cast<size_t>(in_frame.width) * kLanes * sizeof(float));
    }
    for (int y = 0; y < frame.height; ++y) {
      const int top = std::max(y * layer.stride[0] - layer.pad[0], 0);
      const int bottom =
          std::min(y * layer.stride[0] - layer.pad[0] + layer.kernel[0], in_frame.height);
      for (int x = 0; x < frame.width; ++x) {
        const int left = std::max(x * layer.stride[1] - layer.pad[1], 0);
        const int right =
            std::min(x * layer.stride[1] - layer.pad[1] + layer.kernel[1], in_frame.width);
        float best[kLanes];
        int best_y[kLanes], best_x[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) {
          best[lane] = -INFINITY;
          best_y[lane] = top;
          best_x[lane] = left;
        }
        for (int iy = top; iy < bottom; ++iy) {
          for (int ix = left; ix < right; ++ix) {
            const float* from = in.at(b, iy, ix);
            for (int lane = 0; lane < kLanes; ++lane) {
              const bool better = from[lane] > best[lane];
              best[lane] = better ? from[lane] : best[lane];
              best_y[lane] = better ? iy : best_y[lane];
              best_x[lane] = better ? ix : best_x[lane];
            }
          }
        }
        const float* gradient = given.at(b, y, x);
        for (int lane = 0; lane < kLanes; ++lane) {
          to.at(b, best_y[lane], best_x[lane])[lane] += gradient[lane];
        }
      }
    }
  }
  if (unit.share.last) finish_gradient(unit.in, image, &mine->sums[0]);
}

void Training::backward_average(const Unit& unit, int64_t image, Gathered* mine,
                                bool data_wanted) {
  if (is_data(unit.in) && !data_wanted) return;
  const Frame& frame = stores_[unit.in].frame;
  const Map given = gradients(unit.out, image), to = gradients(unit.in, image);
  const float zeros[kLanes] = {};
  for (int b = 0; b < frame.blocks; ++b) {
    float each[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      each[lane] = given.at(b, 0, 0)[lane] / (static_cast<float>(frame.height) * frame.width);
    }
    // to = 0 * to [+ to] + each: a gradient that is first is not to be read, so from itself times 0
    for (int y = 0; unit.share.first && y < frame.height; ++y) {
      std::memset(to.at(b, y, 0), 0, static_cast<size_t>(frame.width) * kLanes * sizeof(float));
    }
    const float ones[kLanes] = {1, 1, 1, 1, 1, 1, 1, 1};
    kernels_->affine(to.at(b, 0, 0), to.row, ones, each, nullptr, 0, nullptr, zeros, false, 0, 0,
                     to.at(b, 0, 0), to.row, frame.height, frame.width);
  }
  if (unit.share.last) finish_gradient(unit.in, image, &mine->sums[0]);
}

/*! Sum up the gradients that so many threads hold, and give them to the parameter. */
void Training::reduce_weights(const Unit& unit, size_t place, int threads, float* gradient,
                              const Worker& worker) const {
  if (gradient == nullptr) return;
  const std::vector<int>& source = convolutions_[unit.conv].forward.source;
  for (size_t k = worker.begin(source.size()); k < worker.end(source.size()); ++k) {
    if (source[k] < 0) continue;
    float sum = gathered_[0].weights.data()[place + k];
    for (int t = 1; t < threads; ++t) sum += gathered_[t].weights.data()[place + k];
    gradient[source[k]] = sum;
  }
}

void Training::backward_unit(int number, const float* data, float* const* parameter_gradients,
                             bool data_wanted, const Worker& worker) {
  const Unit& unit = units_[number];
  const Unit* before = number > 0 && units_[number - 1].paired ? &units_[number - 1] : nullptr;
  Gathered* mine = &gathered_[worker.index()];
  const Unit& first = before == nullptr ? unit : *before;
  std::fill_n(mine->sums[0].begin(), 2 * lanes_of(first.in), 0.0);
  if (unit.in2 >= 0) std::fill_n(mine->sums[1].begin(), 2 * lanes_of(unit.in2), 0.0);
  const bool vectors = stores_[unit.in].vector;
  size_t second_weights = 0, weights = 0;
  if (unit.what == What::kConv) {
    weights = second_weights = (convolutions_[unit.conv].forward.source.size() + 15) / 16 * 16;
    if (before != nullptr) weights += convolutions_[before->conv].forward.source.size();
    std::memset(mine->weights.data(), 0, weights * sizeof(float));
    for (std::vector<double>& sums : mine->bias) std::fill(sums.begin(), sums.end(), 0.0);
  }
  if (vectors && unit.what == What::kConv) {
    worker.wait();  // all add to the first thread's
    backward_conv_vectors(unit, data, worker);
  } else if (vectors) {
    if (worker.index() == 0) backward_pointwise(unit, 0, mine, data_wanted);
  } else {
    for (int64_t image = worker.begin(batch_); image < static_cast<int64_t>(worker.end(batch_));
         ++image) {
      switch (unit.what) {
        case What::kConv:
          backward_conv_image(unit, before, image, data, mine, data_wanted);
          break;
        case What::kPointwise:
          backward_pointwise(unit, image, mine, data_wanted);
          break;
        case What::kMaxPool:
          backward_max_pool(unit, image, data, mine, data_wanted);
          break;
        case What::kAverage:
          backward_average(unit, image, mine, data_wanted);
          break;
      }
    }
  }
  worker.wait();
  if (unit.what != What::kConv) return;
  const int threads = vectors ? 1 : worker.count();
  float* const* gradient = parameter_gradients + unit.layer.parameter;
  reduce_weights(unit, 0, threads, gradient[0], worker);
  if (unit.layer.bias) reduce_bias(unit, 0, gradient[1], worker);
  if (before == nullptr) return;
  gradient = parameter_gradients + before->layer.parameter;
  reduce_weights(*before, second_weights, threads, gradient[0], worker);
  if (before->layer.bias) reduce_bias(*before, 1, gradient[1], worker);
}

void Training::backward(int64_t batch, const float* data, const float* const* parameters,
                        const float* result_gradient, float* data_gradient,
                        float* const* parameter_gradients, int threads) {
  if (!has_forward_ || batch != batch_) {
    throw SpanError("there is no forward pass of this batch to go back from");
  }
  threads = std::max(threads, 1);
  prepare(batch, threads);
  gradients_.reserve(gradient_floats_ * batch);
  packed_backward_.reserve(backward_floats_);
  if (data_gradient != nullptr) data_gradient_.reserve(image_floats(stores_[0].frame) * batch);
  size_t widest = gradient_scratch_;
  for (const Store& store : stores_) {
    if (store.vector) widest = std::max<size_t>(widest, store.frame.blocks * kLanes * batch + 16);
  }
  for (int t = 0; t < threads; ++t) {
    gathered_[t].gradient.reserve(widest);
    gathered_[t].middle.reserve(middle_floats_);
    gathered_[t].weights.reserve(weight_floats_);
  }
  run_team(threads, [&](const Worker& worker) {
    pack_all(parameters, true, worker);
    take_result_gradient(result_gradient, worker);
    worker.wait();
    if (result_share_.last) {
      settle(store_of_[program_.result()], 0, parameters, parameter_gradients, worker);
      worker.wait();
    }
    for (int u = static_cast<int>(units_.size()) - 1; u >= 0; --u) {
      const Unit& unit = units_[u];
      backward_unit(u, data, parameter_gradients, data_gradient != nullptr, worker);
      const Unit& first = u > 0 && units_[u - 1].paired ? units_[--u] : unit;
      if (first.share.last) settle(first.in, 0, parameters, parameter_gradients, worker);
      if (first.in2 >= 0 && first.share2.last) {
        settle(first.in2, 1, parameters, parameter_gradients, worker);
      }
      worker.wait();
    }
    if (data_gradient != nullptr) give_data_gradient(data_gradient, worker);
  });
}

}  // namespace igc
