/*!
 * The plain reference of span.h: the same functions, by their definitions. Maps are NCHW in double
 * precision, one loop a dimension, one thread; nothing is fused, packed or skipped. Tests hold the
 * kernels against it; it is no fallback.
 *
 * `isa`, `version` and `threads` change nothing. `states` may be the arrays of `parameters`.
 */
#ifndef IGC_OPERATOR_SPAN_REFERENCE_H_
#define IGC_OPERATOR_SPAN_REFERENCE_H_

#include <cstddef>
#include <cstdint>

extern "C" {

typedef struct igc_span_reference igc_span_reference;

igc_span_reference* igc_span_reference_create(const char* program, int64_t channels,
                                              int64_t height, int64_t width, const char* isa,
                                              char* error, size_t error_bytes);
void igc_span_reference_destroy(igc_span_reference* span);
const char* igc_span_reference_supports(const char* program, int64_t channels);
void igc_span_reference_output_shape(const igc_span_reference* span, int64_t shape[3]);
int igc_span_reference_parameter_count(const igc_span_reference* span);
int igc_span_reference_parameter_shape(const igc_span_reference* span, int index,
                                       int64_t shape[4]);
int igc_span_reference_parameter_is_state(const igc_span_reference* span, int index);
const char* igc_span_reference_infer(igc_span_reference* span, int64_t batch, const float* data,
                                     const float* const* parameters, uint64_t version,
                                     float* result, int threads);
const char* igc_span_reference_forward(igc_span_reference* span, int64_t batch, const float* data,
                                       const float* const* parameters, float* const* states,
                                       float* result, int threads);
const char* igc_span_reference_backward(igc_span_reference* span, int64_t batch, const float* data,
                                        const float* const* parameters,
                                        const float* result_gradient, float* data_gradient,
                                        float* const* parameter_gradients, int threads);
void igc_span_reference_release(igc_span_reference* span);
size_t igc_span_reference_bytes(const igc_span_reference* span);
const char* igc_span_reference_isas(void);
}

#endif  // IGC_OPERATOR_SPAN_REFERENCE_H_
