/*! What src_operator/cuda/ has for each number type; found by `functions_of`. */
#ifndef IGC_OPERATOR_CUDA_PASSES_DECLARED_H_
#define IGC_OPERATOR_CUDA_PASSES_DECLARED_H_

#include <cuda_runtime.h>

#include <cstdint>

#include "../igconv.h"

namespace igc::cuda {

/*! The functions of one type; arguments have been checked, arrays are memory of the GPU. */
struct Functions {
  int64_t (*forward_bytes)(const igc_block& block, int64_t images);
  int64_t (*backward_bytes)(const igc_block& block, int64_t images);
  void (*forward)(const igc_block& block, const void* data, const void* primary_weight,
                  const void* secondary_weight, const igc_finish& finish, void* out,
                  void* workspace, int64_t workspace_bytes, cudaStream_t stream);
  void (*backward)(const igc_block& block, const void* head, const void* data,
                   const void* primary_weight, const void* secondary_weight, void* data_gradient,
                   void* primary_gradient, void* secondary_gradient, void* workspace,
                   int64_t workspace_bytes, cudaStream_t stream);
  // of one convolution: the block's primary one or, where it has none, the 1x1 one
  int64_t (*single_bytes)(const igc_block& block, bool backward);
  void (*single_forward)(const igc_block& block, const void* data, const void* weight, void* out,
                         void* workspace, cudaStream_t stream);
  void (*single_backward)(const igc_block& block, const void* head, const void* data,
                          const void* weight, void* data_gradient, void* weight_gradient,
                          void* workspace, cudaStream_t stream);
};

extern const Functions kFloat32, kFloat64, kFloat16, kBfloat16;

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_PASSES_DECLARED_H_
