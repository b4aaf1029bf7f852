/*!
 * A run of layers as one function on plain memory: what the native operator `InterleavedSpan`
 * computes. Nothing here knows MXNet, so that the kernels can be built, tested and used without it.
 *
 * The layers are a table, the program: one statement a layer, parted by ';'. Statement number i
 * (from 1) makes tensor i; tensor 0 is the data; the last one is the result. Numbers are parted by
 * blanks. Tensors are named by their numbers.
 *
 *   conv x channels kh kw sh sw ph pw groups bias   convolution; bias is 0 or 1
 *   permute x b                out[:, j*b + i] = x[:, i*(C/b) + j], as in reorder.h
 *   bn x eps momentum fix      batch normalisation; fix 1 takes gamma as 1
 *   relu x                     values that are no numbers stay so, here and in clip
 *   clip x low high
 *   add x y
 *   maxpool x kh kw sh sw ph pw        padding never wins; sizes are rounded down
 *   avgpool x kh kw sh sw ph pw        the window must cover the whole map
 *   globalpool x               the average over the map
 *   dense x outputs bias       flattens x (of a map of 1 x 1) and multiplies
 *
 * After an average or a dense layer every image is one pixel: no window larger than that follows,
 * and nothing that reads a map again. Every tensor but the last is read by some statement.
 *
 * Parameters, float32, in the order of the statements that have them:
 *
 *   conv    weight (channels, C / groups, kh, kw) [, bias (channels)]
 *   bn      gamma, beta, moving mean, moving variance (each C)
 *   dense   weight (outputs, C) [, bias (outputs)]
 *
 * Arrays are dense NCHW (the result of `dense` is (N, outputs)). Each function returns NULL, or a
 * text that says what is wrong, which lives until the next call with that span.
 */
#ifndef IGC_OPERATOR_SPAN_H_
#define IGC_OPERATOR_SPAN_H_

#include <cstddef>
#include <cstdint>

extern "C" {

typedef struct igc_span igc_span;

/*!
 * Plan a program for maps of one size.
 *
 * isa            "avx512", "avx2", "portable", or NULL for the best that this processor has; with
 *                " measured" behind it, see igc_span_measurements
 * error          where the reason goes when NULL is returned; `error_bytes` long
 */
igc_span* igc_span_create(const char* program, int64_t channels, int64_t height, int64_t width,
                          const char* isa, char* error, size_t error_bytes);

void igc_span_destroy(igc_span* span);

/*! Tell whether a program can be planned for data of so many channels, whatever the map's size. */
const char* igc_span_supports(const char* program, int64_t channels);

/*! The shape of the result for one image: channels, height, width (1 and 1 after `dense`). */
void igc_span_output_shape(const igc_span* span, int64_t shape[3]);

int igc_span_parameter_count(const igc_span* span);

/*! The shape of parameter number `index`: `ndim` (1 to 4) sizes. Returns ndim. */
int igc_span_parameter_shape(const igc_span* span, int index, int64_t shape[4]);

/*! 1 for a moving mean or variance, which is an auxiliary state and has no gradient; else 0. */
int igc_span_parameter_is_state(const igc_span* span, int index);

/*!
 * Evaluate: batch normalisation by the moving mean and variance. Nothing but `result` is written.
 *
 * version        a number that changes whenever a parameter does. What was packed from the
 *                parameters is used again while it stays the same; 0 packs anew in any case.
 * threads        how many threads work; OpenMP may give fewer, and the last bits of a training step
 *                depend on how many there were
 */
const char* igc_span_infer(igc_span* span, int64_t batch, const float* data,
                           const float* const* parameters, uint64_t version, float* result,
                           int threads);

/*!
 * The forward pass of training: batch normalisation by the batch's statistics. What the backward
 * pass needs is kept in the span until the next forward pass.
 *
 * states         as `parameters`, of which only moving means and variances are used: each becomes
 *                momentum * itself + (1 - momentum) * batch statistic (the variance is the biased
 *                one). NULL leaves them alone.
 */
const char* igc_span_forward(igc_span* span, int64_t batch, const float* data,
                             const float* const* parameters, float* const* states, float* result,
                             int threads);

/*!
 * The backward pass of the last `igc_span_forward`, with its data and parameters. Gradients are
 * overwritten.
 *
 * result_gradient      as the result
 * data_gradient        NULL when it is not wanted
 * parameter_gradients  as `parameters`; entries that are NULL are not wanted
 */
const char* igc_span_backward(igc_span* span, int64_t batch, const float* data,
                              const float* const* parameters, const float* result_gradient,
                              float* data_gradient, float* const* parameter_gradients,
                              int threads);

/*! Give back the memory that is kept between calls (it is taken again when it is needed). */
void igc_span_release(igc_span* span);

/*! Bytes kept between calls: activations, packed weights, workspace. */
size_t igc_span_bytes(const igc_span* span);

/*! The instruction sets that this library can use here, best first: "avx512 avx2 portable". */
const char* igc_span_isas(void);

/*!
 * What the inner loops of the last span that was created as "... measured" have done, in this
 * process and since the last call: a line for each kind of call, of words parted by tabs.
 *
 *   kernel way taps step inputs outputs width calls nanoseconds multiply-adds bytes
 *
 * inputs is the channels of a group, with what fills lanes up; outputs the blocks of a call; width
 * the pixels of a row. Times are summed over threads. Multiply-adds are those carried out, on empty
 * lanes too; bytes are those of maps and weights, each counted once a call. The text lives until
 * the next call.
 */
const char* igc_span_measurements(void);
}

#endif  // IGC_OPERATOR_SPAN_H_
