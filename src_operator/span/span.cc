/*! The C interface of spans. */
#include "span.h"

#include <cstring>
#include <exception>
#include <memory>
#include <string>

#include "inference.h"
#include "layout.h"
#include "measured.h"
#include "program.h"
#include "training.h"

struct igc_span {
  igc::Program program;
  igc::Layout layout;
  const igc::Kernels* kernels;
  int height, width;
  // each is planned when it is first needed
  std::unique_ptr<igc::Inference> inference;
  std::unique_ptr<igc::Training> training;
  std::string error;
};

namespace {

/*! Run something that may throw, and turn what it throws into a text. */
template <typename Work>
const char* guarded(std::string* error, const Work& work) {
  try {
    work();
    return nullptr;
  } catch (const std::exception& thrown) {
    *error = thrown.what();
    return error->c_str();
  }
}

igc::Inference& inference_of(igc_span* span) {
  if (span->inference == nullptr) {
    span->inference = std::make_unique<igc::Inference>(span->program, span->layout, span->height,
                                                       span->width, span->kernels);
  }
  return *span->inference;
}

igc::Training& training_of(igc_span* span) {
  if (span->training == nullptr) {
    span->training = std::make_unique<igc::Training>(span->program, span->layout, span->height,
                                                     span->width, span->kernels);
  }
  return *span->training;
}

/*! A window of one pixel takes a map of one as it is: strides, too, are for larger maps. */
void simplify(igc::Program* program, int height, int width) {
  const std::vector<igc::Shape> shapes = program->shapes(height, width);
  for (igc::Layer& layer : program->layers) {
    const igc::Shape& in = shapes[layer.x];
    if (in.height * in.width * layer.kernel[0] * layer.kernel[1] > 1) continue;
    layer.stride[0] = layer.stride[1] = 1;
    if (layer.kind == igc::Kind::kMaxPool) {
      layer.kind = igc::Kind::kPermute;
      layer.factor = 1;
    }
  }
}

}  // namespace

igc_span* igc_span_create(const char* program, int64_t channels, int64_t height, int64_t width,
                          const char* isa, char* error, size_t error_bytes) {
  std::string text;
  std::unique_ptr<igc_span> span;
  const char* wrong = guarded(&text, [&] {
    span = std::make_unique<igc_span>();
    constexpr int64_t kLargest = 1 << 15;
    if (height < 1 || width < 1 || height > kLargest || width > kLargest) {
      throw igc::SpanError("maps must have from 1 to 32768 rows and columns");
    }
    span->program = igc::parse_program(program, channels);
    simplify(&span->program, static_cast<int>(height), static_cast<int>(width));
    span->layout = igc::plan_layout(span->program);
    span->height = static_cast<int>(height);
    span->width = static_cast<int>(width);
    span->kernels = igc::kernels_named(isa == nullptr ? igc::kernel_names()[0] : isa);
    if (span->kernels == nullptr) {
      throw igc::SpanError(std::string("there are no kernels for ") + isa +
                           " here, only for: " + igc_span_isas());
    }
    inference_of(span.get());
  });
  if (wrong == nullptr) return span.release();
  if (error_bytes > 0) {
    std::strncpy(error, wrong, error_bytes - 1);
    error[error_bytes - 1] = '\0';
  }
  return nullptr;
}

void igc_span_destroy(igc_span* span) { delete span; }

const char* igc_span_supports(const char* program, int64_t channels) {
  static thread_local std::string error;
  return guarded(&error, [&] { igc::plan_layout(igc::parse_program(program, channels)); });
}

void igc_span_output_shape(const igc_span* span, int64_t shape[3]) {
  const igc::Shape last = span->program.shapes(span->height, span->width).back();
  shape[0] = last.channels;
  shape[1] = last.height;
  shape[2] = last.width;
}

int igc_span_parameter_count(const igc_span* span) {
  return static_cast<int>(span->program.parameters.size());
}

int igc_span_parameter_shape(const igc_span* span, int index, int64_t shape[4]) {
  const auto& sizes = span->program.parameters[index].shape;
  for (size_t k = 0; k < sizes.size(); ++k) shape[k] = sizes[k];
  return static_cast<int>(sizes.size());
}

int igc_span_parameter_is_state(const igc_span* span, int index) {
  return span->program.parameters[index].is_state;
}

const char* igc_span_infer(igc_span* span, int64_t batch, const float* data,
                           const float* const* parameters, uint64_t version, float* result,
                           int threads) {
  return guarded(&span->error, [&] {
    inference_of(span).run(batch, data, parameters, version, result, threads);
  });
}

const char* igc_span_forward(igc_span* span, int64_t batch, const float* data,
                             const float* const* parameters, float* const* states, float* result,
                             int threads) {
  return guarded(&span->error, [&] {
    training_of(span).forward(batch, data, parameters, states, result, threads);
  });
}

const char* igc_span_backward(igc_span* span, int64_t batch, const float* data,
                              const float* const* parameters, const float* result_gradient,
                              float* data_gradient, float* const* parameter_gradients,
                              int threads) {
  return guarded(&span->error, [&] {
    training_of(span).backward(batch, data, parameters, result_gradient, data_gradient,
                               parameter_gradients, threads);
  });
}

void igc_span_release(igc_span* span) {
  if (span->inference != nullptr) span->inference->release();
  if (span->training != nullptr) span->training->release();
}

size_t igc_span_bytes(const igc_span* span) {
  return (span->inference == nullptr ? 0 : span->inference->bytes()) +
         (span->training == nullptr ? 0 : span->training->bytes());
}

const char* igc_span_isas(void) {
  static const std::string names = [] {
    std::string text;
    for (const char* const* name = igc::kernel_names(); *name != nullptr; ++name) {
      text += (text.empty() ? "" : " ") + std::string(*name);
    }
    return text;
  }();
  return names.c_str();
}

const char* igc_span_measurements(void) {
  static std::string text;
  text = igc::take_measurements();
  return text.c_str();
}
