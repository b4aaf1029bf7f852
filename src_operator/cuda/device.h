/*! The device that a call is for, and what its launches came to. */
#ifndef IGC_OPERATOR_CUDA_DEVICE_H_
#define IGC_OPERATOR_CUDA_DEVICE_H_

#include <cuda_runtime.h>

namespace igc::cuda {

/*!
 * Makes a device the thread's current one, and afterwards the one that was: this library has a CUDA
 * runtime of its own, but that choice is the driver's, which the caller's runtime shares.
 */
class OnDevice {
 public:
  explicit OnDevice(int device) {
    result_ = cudaGetDevice(&before_);
    if (result_ == cudaSuccess) result_ = cudaSetDevice(device);
    if (result_ != cudaSuccess) cudaGetLastError();  // or the next call would find it
  }

  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  ~OnDevice() {
    if (result_ == cudaSuccess) cudaSetDevice(before_);
  }

  /*! NULL, or why the device cannot be used. */
  const char* wrong() const {
    return result_ == cudaSuccess ? nullptr : cudaGetErrorString(result_);
  }

  /*! NULL, or why the launches since then failed. */
  static const char* launched() {
    const cudaError_t result = cudaGetLastError();
    return result == cudaSuccess ? nullptr : cudaGetErrorString(result);
  }

 private:
  cudaError_t result_;
  int before_ = 0;
};

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_DEVICE_H_
