/*!
 * Batch normalisation in training, with the activation and the permutation that follow it, on a
 * GPU, as plain C functions: MXNet's, whose running variance takes up the batch's biased one.
 *
 *   mean, variance  of a channel, over all images and pixels of the batch
 *   out             = activation((data - mean) / sqrt(variance + eps) * gamma + beta)
 *   running         = momentum * running + (1 - momentum) * that of the batch
 *
 * Present only in a library built with CUDA. Every sum has one fixed order.
 */
#ifndef IGC_OPERATOR_NORM_H_
#define IGC_OPERATOR_NORM_H_

#include <cstdint>

#include "igconv.h"

extern "C" {

/*! Data are dense: (batch, channels, pixels). Types and activations are those of igconv.h. */
typedef struct {
  int64_t batch, channels, pixels;
  int32_t type, activation;
  int64_t branch_factor;  // of the permutation behind the activation, divides channels; 1: none
} igc_norm_sizes;

/*! The bytes of workspace that both functions need; -1 where the sizes are wrong. */
int64_t igc_norm_workspace_cuda(const igc_norm_sizes* sizes);

/*!
 * Normalise, and find the new running statistics.
 *
 * gamma, beta and the running ones are (channels), float32 with 16 bits, else of data's type;
 * `saved` is (6, channels), of that type: four for the backward pass, new running mean, variance
 *
 * Returns NULL, or a text that says what is wrong.
 */
const char* igc_norm_forward_cuda(const igc_norm_sizes* sizes, double momentum, double eps,
                                  const void* data, const void* gamma, const void* beta,
                                  const void* running_mean, const void* running_variance,
                                  void* out, void* saved, void* workspace, int64_t workspace_bytes,
                                  int device, void* stream);

/*! The gradients from that of `out`, with what the forward pass has saved. */
const char* igc_norm_backward_cuda(const igc_norm_sizes* sizes, const void* out_gradient,
                                   const void* data, const void* saved, void* data_gradient,
                                   void* gamma_gradient, void* beta_gradient, void* workspace,
                                   int64_t workspace_bytes, int device, void* stream);
}

#endif  // IGC_OPERATOR_NORM_H_
