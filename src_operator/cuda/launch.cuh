/*! How kernels are launched. */
#ifndef IGC_OPERATOR_CUDA_LAUNCH_H_
#define IGC_OPERATOR_CUDA_LAUNCH_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace igc::cuda {

/*! The lanes of a warp, and the threads of a block where nothing else is said. */
constexpr int kLanes = 32;
constexpr int kThreads = 256;

/*! Work is cut into pieces for so many multiprocessors, an H100's; on others it is right, too. */
constexpr int kMultiprocessors = 132;

/*! A type, as a parameter that arguments are converted to. */
template <typename T>
struct As {
  using type = T;
};

/*!
 * The shared memory that a block may take without asking, and what kernels ask for that take more:
 * the same for all launches, as it is kept with the kernel, and what all GPUs from sm_80 on have.
 */
constexpr size_t kUnaskedBytes = 48 * 1024;
constexpr size_t kAskedBytes = 96 * 1024;

/*! Launch a kernel with so many bytes of shared memory, unless there is nothing to do. */
template <typename... Parameters>
void launch_with(size_t shared, void (*kernel)(Parameters...), int64_t blocks, int threads,
                 cudaStream_t stream, typename As<Parameters>::type... arguments) {
  if (blocks < 1) return;
  if (shared > kUnaskedBytes) {
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(kAskedBytes));
  }
  void* pointers[] = {const_cast<void*>(static_cast<const void*>(&arguments))...};
  cudaLaunchKernel(kernel, dim3(static_cast<unsigned>(blocks)),
                   dim3(static_cast<unsigned>(threads)), pointers, shared, stream);
}

/*! Launch a kernel without such memory. */
template <typename... Parameters>
void launch(void (*kernel)(Parameters...), int64_t blocks, int threads, cudaStream_t stream,
            typename As<Parameters>::type... arguments) {
  launch_with(0, kernel, blocks, threads, stream, arguments...);
}

/*! The blocks of kThreads threads that give each of `count` things a thread. */
inline int64_t blocks_for(int64_t count) { return (count + kThreads - 1) / kThreads; }

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_LAUNCH_H_
