#include "reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "program.h"

namespace {

using igc::Kind;
using igc::Layer;
using igc::Shape;
using igc::SpanError;

/*! The statistics by which a batch normalisation normalised the last time. */
struct Moments {
  std::vector<double> mean, variance;
};

/*! A tensor (N, C, H, W). */
struct Tensor {
  int64_t batch = 0;
  Shape shape{0, 0, 0};
  std::vector<double> values;

  Tensor() = default;
  Tensor(int64_t n, const Shape& size)
      : batch(n),
        shape(size),
        values(static_cast<size_t>(n) * size.channels * size.height * size.width) {}

  int64_t pixels() const { return static_cast<int64_t>(shape.height) * shape.width; }
  size_t index(int64_t n, int64_t c, int64_t y, int64_t x) const {
    return static_cast<size_t>(((n * shape.channels + c) * shape.height + y) * shape.width + x);
  }
  double& at(int64_t n, int64_t c, int64_t y, int64_t x) { return values[index(n, c, y, x)]; }
  double at(int64_t n, int64_t c, int64_t y, int64_t x) const { return values[index(n, c, y, x)]; }
};

/*! Call f(n, c, y, x) for every element. */
template <typename F>
void for_each(const Tensor& tensor, F f) {
  for (int64_t n = 0; n < tensor.batch; ++n) {
    for (int c = 0; c < tensor.shape.channels; ++c) {
      for (int y = 0; y < tensor.shape.height; ++y) {
        for (int x = 0; x < tensor.shape.width; ++x) f(n, c, y, x);
      }
    }
  }
}

/*! Call f(y, x, tap) for every pixel of a map under the window of the output (row, column). */
template <typename F>
void for_window(const Layer& layer, const Shape& shape, int row, int column, F f) {
  for (int ky = 0; ky < layer.kernel[0]; ++ky) {
    for (int kx = 0; kx < layer.kernel[1]; ++kx) {
      const int y = row * layer.stride[0] - layer.pad[0] + ky;
      const int x = column * layer.stride[1] - layer.pad[1] + kx;
      if (y < 0 || y >= shape.height || x < 0 || x >= shape.width) continue;
      f(y, x, ky * layer.kernel[1] + kx);
    }
  }
}

/*! Call f(input channel, y, x, weight) for everything that a convolution's output depends on. */
template <typename F>
void for_field(const Layer& layer, const Shape& in, int channel, int row, int column, F f) {
  const int inputs = in.channels / layer.groups;  // of one group
  const int first = channel / (layer.channels / layer.groups) * inputs;
  const int taps = layer.kernel[0] * layer.kernel[1];
  for (int i = 0; i < inputs; ++i) {
    const size_t weights = (static_cast<size_t>(channel) * inputs + i) * taps;
    for_window(layer, in, row, column,
               [&](int y, int x, int tap) { f(first + i, y, x, weights + tap); });
  }
}

/*! The channel of the input that `permute` puts at a channel of its output. */
int permuted(const Layer& layer, int channel) {
  return channel % layer.factor * (layer.channels / layer.factor) + channel / layer.factor;
}

/*! The first pixel with the largest value under a window of `maxpool`. */
void find_maximum(const Layer& layer, const Tensor& in, int64_t n, int c, int row, int column,
                  int* y_of, int* x_of) {
  double largest = 0;
  bool any = false;
  for_window(layer, in.shape, row, column, [&](int y, int x, int) {
    const double value = in.at(n, c, y, x);
    if (any && !(value > largest)) return;
    any = true;
    largest = value;
    *y_of = y;
    *x_of = x;
  });
}

Moments moments_of(const Tensor& tensor) {
  Moments moments;
  const double count = static_cast<double>(tensor.batch) * tensor.pixels();
  moments.mean.resize(tensor.shape.channels);
  moments.variance.resize(tensor.shape.channels);
  for_each(tensor, [&](int64_t n, int c, int y, int x) {
    moments.mean[c] += tensor.at(n, c, y, x) / count;
  });
  for_each(tensor, [&](int64_t n, int c, int y, int x) {
    const double distance = tensor.at(n, c, y, x) - moments.mean[c];
    moments.variance[c] += distance * distance / count;
  });
  return moments;
}

/*! One layer forward. `p` are its parameters; `moments` are read by batch normalisation. */
Tensor forward_layer(const Layer& layer, const Shape& shape, const Tensor& in, const Tensor* other,
                     const float* const* p, const Moments& moments) {
  Tensor out(in.batch, shape);
  for_each(out, [&](int64_t n, int c, int y, int x) {
    double& value = out.at(n, c, y, x);
    switch (layer.kind) {
      case Kind::kConv:
      case Kind::kDense:  // a convolution over one pixel
        value = layer.bias ? p[1][c] : 0.0;
        for_field(layer, in.shape, c, y, x, [&](int i, int row, int column, size_t weight) {
          value += in.at(n, i, row, column) * p[0][weight];
        });
        break;
      case Kind::kPermute:
        value = in.at(n, permuted(layer, c), y, x);
        break;
      case Kind::kBatchNorm: {
        const double gamma = layer.fix_gamma ? 1.0 : p[0][c];
        const double scale = 1 / std::sqrt(moments.variance[c] + layer.eps);
        value = gamma * (in.at(n, c, y, x) - moments.mean[c]) * scale + p[1][c];
        break;
      }
      case Kind::kRelu:
        value = std::max(in.at(n, c, y, x), 0.0);
        break;
      case Kind::kClip:
        value = std::min<double>(std::max<double>(in.at(n, c, y, x), layer.low), layer.high);
        break;
      case Kind::kAdd:
        value = in.at(n, c, y, x) + other->at(n, c, y, x);
        break;
      case Kind::kMaxPool: {
        int row = 0, column = 0;
        find_maximum(layer, in, n, c, y, x, &row, &column);
        value = in.at(n, c, row, column);
        break;
      }
      case Kind::kAvgPool:
        for (int row = 0; row < in.shape.height; ++row) {
          for (int column = 0; column < in.shape.width; ++column) {
            value += in.at(n, c, row, column) / in.pixels();
          }
        }
        break;
    }
  });
  return out;
}

/*!
 * The gradient of batch normalisation by the batch's statistics, with respect to its input:
 * gamma / sigma * (g - mean(g) - z * mean(g * z)), where z is the normalised input.
 */
void backward_batch_norm(const Layer& layer, const Tensor& in, const Tensor& gradient,
                         const float* const* p, const Moments& moments, Tensor* in_gradient,
                         std::vector<double>* p_gradients) {
  const double count = static_cast<double>(in.batch) * in.pixels();
  std::vector<double>& sum = p_gradients[1];          // of g: the gradient of beta
  std::vector<double> sum_product(layer.channels);  // of g * z: the gradient of gamma
  const auto normalised = [&](int64_t n, int c, int y, int x) {
    return (in.at(n, c, y, x) - moments.mean[c]) / std::sqrt(moments.variance[c] + layer.eps);
  };
  for_each(in, [&](int64_t n, int c, int y, int x) {
    sum[c] += gradient.at(n, c, y, x);
    sum_product[c] += gradient.at(n, c, y, x) * normalised(n, c, y, x);
  });
  for_each(in, [&](int64_t n, int c, int y, int x) {
    const double gamma = layer.fix_gamma ? 1.0 : p[0][c];
    const double along = normalised(n, c, y, x) * sum_product[c] / count;
    in_gradient->at(n, c, y, x) += gamma / std::sqrt(moments.variance[c] + layer.eps) *
                                   (gradient.at(n, c, y, x) - sum[c] / count - along);
  });
  if (!layer.fix_gamma) p_gradients[0] = sum_product;
}

/*!
 * One layer backward: adds to the gradients of its inputs (`other` may be the same tensor as `in`)
 * and of its parameters.
 */
void backward_layer(const Layer& layer, const Tensor& in, const Tensor& gradient,
                    const float* const* p, const Moments& moments, Tensor* in_gradient,
                    Tensor* other_gradient, std::vector<double>* p_gradients) {
  if (layer.kind == Kind::kBatchNorm) {
    backward_batch_norm(layer, in, gradient, p, moments, in_gradient, p_gradients);
    return;
  }
  for_each(gradient, [&](int64_t n, int c, int y, int x) {
    const double g = gradient.at(n, c, y, x);
    switch (layer.kind) {
      case Kind::kConv:
      case Kind::kDense:
        for_field(layer, in.shape, c, y, x, [&](int i, int row, int column, size_t weight) {
          in_gradient->at(n, i, row, column) += g * p[0][weight];
          p_gradients[0][weight] += g * in.at(n, i, row, column);
        });
        if (layer.bias) p_gradients[1][c] += g;
        break;
      case Kind::kPermute:
        in_gradient->at(n, permuted(layer, c), y, x) += g;
        break;
      case Kind::kRelu:
        if (in.at(n, c, y, x) > 0) in_gradient->at(n, c, y, x) += g;
        break;
      case Kind::kClip:
        if (in.at(n, c, y, x) >= layer.low && in.at(n, c, y, x) <= layer.high) {
          in_gradient->at(n, c, y, x) += g;
        }
        break;
      case Kind::kAdd:
        in_gradient->at(n, c, y, x) += g;
        other_gradient->at(n, c, y, x) += g;
        break;
      case Kind::kMaxPool: {
        int row = 0, column = 0;
        find_maximum(layer, in, n, c, y, x, &row, &column);
        in_gradient->at(n, c, row, column) += g;
        break;
      }
      case Kind::kAvgPool:
        for (int row = 0; row < in.shape.height; ++row) {
          for (int column = 0; column < in.shape.width; ++column) {
            in_gradient->at(n, c, row, column) += g / in.pixels();
          }
        }
        break;
      case Kind::kBatchNorm:
        break;  // above
    }
  });
}

size_t elements(const std::vector<int64_t>& shape) {
  size_t count = 1;
  for (const int64_t size : shape) count *= static_cast<size_t>(size);
  return count;
}

}  // namespace

struct igc_span_reference {
  igc::Program program;
  std::vector<Shape> shapes;     // of the tensors
  std::vector<Tensor> tensors;   // of the last run
  std::vector<Moments> moments;  // of its batch normalisations, by layer
  bool trained = false;          // whether it was `forward`
  std::string error;
};

namespace {

void load(igc_span_reference* span, int64_t batch, const float* data) {
  span->tensors.assign(1, Tensor(batch, span->shapes[0]));
  std::vector<double>& values = span->tensors[0].values;
  std::copy(data, data + values.size(), values.begin());
}

void run(igc_span_reference* span, int64_t batch, const float* data,
         const float* const* parameters, bool training, float* result) {
  const std::vector<Layer>& layers = span->program.layers;
  span->trained = false;
  span->moments.assign(layers.size(), {});
  load(span, batch, data);
  for (size_t k = 0; k < layers.size(); ++k) {
    const Layer& layer = layers[k];
    const Tensor& in = span->tensors[layer.x];
    const Tensor* other = layer.y < 0 ? nullptr : &span->tensors[layer.y];
    const float* const* p = parameters + layer.parameter;
    if (layer.kind == Kind::kBatchNorm) {
      Moments& moments = span->moments[k];
      if (training) {
        moments = moments_of(in);
      } else {
        moments.mean.assign(p[2], p[2] + layer.channels);
        moments.variance.assign(p[3], p[3] + layer.channels);
      }
    }
    Tensor out = forward_layer(layer, span->shapes[k + 1], in, other, p, span->moments[k]);
    span->tensors.push_back(std::move(out));
  }
  const std::vector<double>& values = span->tensors.back().values;
  std::transform(values.begin(), values.end(), result,
                 [](double value) { return static_cast<float>(value); });
  span->trained = training;
}

void update_states(const igc_span_reference& span, const float* const* parameters,
                   float* const* states) {
  for (size_t k = 0; k < span.moments.size(); ++k) {
    const Layer& layer = span.program.layers[k];
    if (layer.kind != Kind::kBatchNorm) continue;
    const std::vector<double>* statistics[] = {&span.moments[k].mean, &span.moments[k].variance};
    for (int which = 0; which < 2; ++which) {
      const int number = layer.parameter + 2 + which;
      for (int c = 0; c < layer.channels; ++c) {
        const double before = parameters[number][c];
        const double now = (*statistics[which])[c];
        states[number][c] =
            static_cast<float>(layer.momentum * before + (1 - layer.momentum) * now);
      }
    }
  }
}

}  // namespace

igc_span_reference* igc_span_reference_create(const char* program, int64_t channels,
                                              int64_t height, int64_t width, const char*,
                                              char* error, size_t error_bytes) {
  try {
    if (height < 1 || width < 1 || height > 1 << 20 || width > 1 << 20) {
      throw SpanError("a map of " + std::to_string(height) + " x " + std::to_string(width) +
                      " pixels cannot be planned");
    }
    igc_span_reference span;
    span.program = igc::parse_program(program, channels);
    span.shapes = span.program.shapes(static_cast<int>(height), static_cast<int>(width));
    return new igc_span_reference(std::move(span));
  } catch (const std::exception& wrong) {
    if (error_bytes > 0) {
      std::strncpy(error, wrong.what(), error_bytes - 1);
      error[error_bytes - 1] = '\0';
    }
    return nullptr;
  }
}

void igc_span_reference_destroy(igc_span_reference* span) { delete span; }

const char* igc_span_reference_supports(const char* program, int64_t channels) {
  static thread_local std::string error;
  try {
    igc::parse_program(program, channels);
    return nullptr;
  } catch (const std::exception& wrong) {
    error = wrong.what();
    return error.c_str();
  }
}

void igc_span_reference_output_shape(const igc_span_reference* span, int64_t shape[3]) {
  const Shape& last = span->shapes.back();
  shape[0] = last.channels;
  shape[1] = last.height;
  shape[2] = last.width;
}

int igc_span_reference_parameter_count(const igc_span_reference* span) {
  return static_cast<int>(span->program.parameters.size());
}

int igc_span_reference_parameter_shape(const igc_span_reference* span, int index,
                                       int64_t shape[4]) {
  const std::vector<int64_t>& sizes = span->program.parameters[index].shape;
  std::copy(sizes.begin(), sizes.end(), shape);
  return static_cast<int>(sizes.size());
}

int igc_span_reference_parameter_is_state(const igc_span_reference* span, int index) {
  return span->program.parameters[index].is_state;
}

const char* igc_span_reference_infer(igc_span_reference* span, int64_t batch, const float* data,
                                     const float* const* parameters, uint64_t, float* result,
                                     int) {
  run(span, batch, data, parameters, false, result);
  return nullptr;
}

const char* igc_span_reference_forward(igc_span_reference* span, int64_t batch, const float* data,
                                       const float* const* parameters, float* const* states,
                                       float* result, int) {
  run(span, batch, data, parameters, true, result);
  if (states != nullptr) update_states(*span, parameters, states);
  return nullptr;
}

const char* igc_span_reference_backward(igc_span_reference* span, int64_t batch, const float* data,
                                        const float* const* parameters,
                                        const float* result_gradient, float* data_gradient,
                                        float* const* parameter_gradients, int) {
  if (!span->trained || span->tensors[0].batch != batch) {
    span->error = "a backward pass needs a forward pass of training with the same batch before it";
    return span->error.c_str();
  }
  static_cast<void>(data);  // the tensors were kept
  std::vector<Tensor> gradients;
  for (const Shape& shape : span->shapes) gradients.emplace_back(batch, shape);
  std::vector<std::vector<double>> found;
  for (const igc::Parameter& parameter : span->program.parameters) {
    found.emplace_back(elements(parameter.shape));
  }
  std::vector<double>& last = gradients.back().values;
  std::copy(result_gradient, result_gradient + last.size(), last.begin());
  for (size_t k = span->program.layers.size(); k-- > 0;) {
    const Layer& layer = span->program.layers[k];
    Tensor* other = layer.y < 0 ? nullptr : &gradients[layer.y];
    backward_layer(layer, span->tensors[layer.x], gradients[k + 1], parameters + layer.parameter,
                   span->moments[k], &gradients[layer.x], other, found.data() + layer.parameter);
  }
  const auto write = [](const std::vector<double>& values, float* out) {
    if (out == nullptr) return;
    for (size_t k = 0; k < values.size(); ++k) out[k] = static_cast<float>(values[k]);
  };
  write(gradients[0].values, data_gradient);
  for (size_t k = 0; k < found.size(); ++k) {
    if (!span->program.parameters[k].is_state) write(found[k], parameter_gradients[k]);
  }
  return nullptr;
}

void igc_span_reference_release(igc_span_reference* span) {
  span->trained = false;
  std::vector<Tensor>().swap(span->tensors);
}

size_t igc_span_reference_bytes(const igc_span_reference* span) {
  size_t bytes = 0;
  for (const Tensor& tensor : span->tensors) bytes += tensor.values.size() * sizeof(double);
  return bytes;
}

const char* igc_span_reference_isas(void) { return "reference"; }
