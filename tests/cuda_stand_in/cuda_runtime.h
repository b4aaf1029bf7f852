/*!
 * As much of CUDA as src_operator/igconv_cuda.cu uses, on the CPU: one block after the other, its
 * threads as contexts that take turns at __syncthreads(). For tests where there is no GPU.
 */
#ifndef IGC_TESTS_CUDA_RUNTIME_H_
#define IGC_TESTS_CUDA_RUNTIME_H_

#include <ucontext.h>

#include <cstddef>
#include <cstring>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __shared__ static  // only one block is alive

struct dim3 {
  explicit dim3(unsigned x) : x(x) {}
  unsigned x;
};

struct Index {
  unsigned x;
};

inline Index threadIdx, blockIdx, blockDim, gridDim;

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess };

inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return ""; }
inline cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t) {
  std::memset(memory, value, bytes);
  return cudaSuccess;
}

namespace stand_in {

inline ucontext_t scheduler;
inline std::vector<ucontext_t> contexts;
inline const std::function<void()>* kernel;

inline void run_kernel() { (*kernel)(); }

/*! What `kernel<<<blocks, threads, 0, stream>>>(...)` becomes, with the call as `body`. */
inline void launch(dim3 blocks, unsigned threads, const std::function<void()>& body) {
  constexpr size_t kStack = 64 * 1024;
  static std::vector<char> stacks;
  stacks.resize(threads * kStack);
  contexts.resize(threads);
  kernel = &body;
  gridDim = {blocks.x};
  blockDim = {threads};
  for (unsigned block = 0; block < blocks.x; ++block) {
    blockIdx = {block};
    std::vector<bool> alive(threads, true);
    for (unsigned k = 0; k < threads; ++k) {
      getcontext(&contexts[k]);
      contexts[k].uc_stack.ss_sp = stacks.data() + k * kStack;
      contexts[k].uc_stack.ss_size = kStack;
      contexts[k].uc_link = &scheduler;
      makecontext(&contexts[k], run_kernel, 0);
    }
    for (bool any = true; any;) {
      any = false;
      for (unsigned k = 0; k < threads; ++k) {
        if (!alive[k]) continue;
        threadIdx = {k};
        alive[k] = false;  // unless it comes back from __syncthreads
        swapcontext(&scheduler, &contexts[k]);
        if (threadIdx.x == threads) alive[k] = any = true;
      }
    }
  }
}

}  // namespace stand_in

/*! Let the block's other threads come to here. */
inline void __syncthreads() {
  const unsigned me = threadIdx.x;
  threadIdx.x = blockDim.x;  // tells the scheduler that this thread goes on
  swapcontext(&stand_in::contexts[me], &stand_in::scheduler);
}

#endif  // IGC_TESTS_CUDA_RUNTIME_H_
