/*! The backward pass of a training step. */
#include "training.h"

#include <algorithm>
#include <cmath>

#include "pool.h"
#include "transfer.h"

namespace igc {

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
    to_lanes(gradient + image * plane * slot.size(), slot, frame.height, frame.width, map, 0,
             frame.height);
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
    from_lanes(gradients(0, image), slot, frame.height, frame.width,
               gradient + image * plane * slot.size(), 0, frame.height);
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
    if (to_gamma != nullptr) {
      to_gamma[c] = norm.fix_gamma ? 0 : static_cast<float>(second * inverse);
    }
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
  // an average makes one pixel of a vector from each image
  const bool one_pixel = unit.what == What::kAverage && !stores_[unit.in].vector;
  const int width = one_pixel ? 1 : width_of(unit.out);
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
  const Map from = before_normalisation(unit, image, mine);
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
  const Frame &in_frame = stores_[unit.in].frame, &frame = stores_[unit.out].frame;
  const Map in = view(unit.in, image, in_frame, &mine->in, data);
  const Map given = before_normalisation(unit, image, mine), to = gradients(unit.in, image);
  for (int b = 0; b < frame.blocks; ++b) {
    for (int y = 0; unit.share.first && y < in_frame.height; ++y) {
      std::memset(to.at(b, y, 0), 0, static_cast<size_t>(in_frame.width) * kLanes * sizeof(float));
    }
  }
  max_pool_gradient(unit.layer, in_frame, in, frame, given, to);
  if (unit.share.last) finish_gradient(unit.in, image, &mine->sums[0]);
}

void Training::backward_average(const Unit& unit, int64_t image, Gathered* mine,
                                bool data_wanted) {
  if (is_data(unit.in) && !data_wanted) return;
  const Frame& frame = stores_[unit.in].frame;
  const Map given = before_normalisation(unit, image, mine), to = gradients(unit.in, image);
  for (int b = 0; b < frame.blocks; ++b) {
    float each[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      each[lane] = given.at(b, 0, 0)[lane] / (static_cast<float>(frame.height) * frame.width);
    }
    // a gradient that is the first begins from zeros
    for (int y = 0; unit.share.first && y < frame.height; ++y) {
      std::memset(to.at(b, y, 0), 0, static_cast<size_t>(frame.width) * kLanes * sizeof(float));
    }
    const float ones[kLanes] = {1, 1, 1, 1, 1, 1, 1, 1};
    kernels_->affine(to.at(b, 0, 0), to.row, ones, each, nullptr, 0, nullptr, nullptr, false, 0, 0,
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
  // where nothing but permutations lies between them, the result's gradient goes there too
  if (data_gradient != nullptr || is_data(store_of_[program_.result()])) {
    data_gradient_.reserve(image_floats(stores_[0].frame) * batch);
  }
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
