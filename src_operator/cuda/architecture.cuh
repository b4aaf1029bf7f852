/*! Which of this library's code a device runs. */
#ifndef IGC_OPERATOR_CUDA_ARCHITECTURE_H_
#define IGC_OPERATOR_CUDA_ARCHITECTURE_H_

#include <cuda_runtime.h>

#include <algorithm>

namespace igc::cuda {

/*!
 * The architecture whose code a device runs, as __CUDA_ARCH__ has it: the newest that it is not
 * older than, or 0.
 */
inline int architecture_of(int device) {
#ifndef __CUDA_ARCH_LIST__
#error "nvcc 11.5 or newer is needed: this one does not tell which GPUs it compiles for"
#endif
  constexpr int kArchitectures[] = {__CUDA_ARCH_LIST__};
  int major = 0, minor = 0, newest = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  for (const int architecture : kArchitectures) {
    if (architecture <= major * 100 + minor * 10) newest = std::max(newest, architecture);
  }
  return newest;
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_ARCHITECTURE_H_
