/*! The activations that kernels end with. */
#ifndef IGC_OPERATOR_CUDA_ACTIVATION_H_
#define IGC_OPERATOR_CUDA_ACTIVATION_H_

#include <cuda_runtime.h>

#include "../igconv.h"

namespace igc::cuda {

/*! NaN stays NaN. */
template <typename Item>
__device__ inline Item activated(Item number, int activation) {
  if (activation == IGC_NO_ACTIVATION || number != number) return number;
  const Item positive = number > Item(0) ? number : Item(0);
  return activation == IGC_RELU6 && positive > Item(6) ? Item(6) : positive;
}

/*! Whether there is such an activation. */
inline bool is_activation(int activation) {
  return activation >= IGC_NO_ACTIVATION && activation <= IGC_RELU6;
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_ACTIVATION_H_
