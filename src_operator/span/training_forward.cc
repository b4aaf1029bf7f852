/*! The forward pass of a training step. */
#include "training.h"

#include <algorithm>
#include <cmath>

#include "pool.h"
#include "transfer.h"

namespace igc {

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
  const Frame &in_frame = stores_[unit.in].frame, &frame = stores_[unit.out].frame;
  max_pool(unit.layer, in_frame, view(unit.in, image, in_frame, &mine->in, data), frame,
           values(unit.out, image), 0, frame.height);
}

void Training::forward_average(const Unit& unit, int64_t image, const float* data,
                               Gathered* mine) {
  const Frame& frame = stores_[unit.in].frame;
  average(kernels_, frame, view(unit.in, image, frame, &mine->in, data), values(unit.out, image));
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
      const double kept = norm.momentum * moving[k][c];
      moving[k][c] = static_cast<float>(kept + (1 - norm.momentum) * found[k]);
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
      Map pixel = map;
      pixel.base += n * kLanes;
      from_lanes(pixel, slot, 1, 1, result + n * slot.size(), 0, 1);
    }
    return;
  }
  const int64_t floats = static_cast<int64_t>(frame.height) * frame.width * slot.size();
  for (size_t image = worker.begin(batch_); image < worker.end(batch_); ++image) {
    from_lanes(view(store, image, frame, &mine->in, data), slot, frame.height, frame.width,
               result + image * floats, 0, frame.height);
  }
}

void Training::forward(int64_t batch, const float* data, const float* const* parameters,
                       float* const* states, float* result, int threads) {
  has_forward_ = false;
  if (batch < 1) throw SpanError("a training step needs at least one image");
  check_batch(batch);
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

}  // namespace igc
