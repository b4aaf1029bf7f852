/*!
 * As much of CUDA as src_operator/ uses, on the CPU: one block after the other, its threads as
 * contexts that take turns at barriers and shuffles. For tests where there is no GPU.
 */
#ifndef IGC_TESTS_CUDA_RUNTIME_H_
#define IGC_TESTS_CUDA_RUNTIME_H_

#include <math.h>
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#define IGC_CUDA_STAND_IN
#define __global__
#define __device__
#define __host__
#define __shared__ static  // only one block is alive
#define __launch_bounds__(...)

using std::max;
using std::min;

struct dim3 {
  explicit dim3(unsigned x) : x(x) {}
  unsigned x;
};

struct alignas(8) uint2 {
  unsigned x, y;
};

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

struct Index {
  unsigned x;
};

inline Index threadIdx, blockIdx, blockDim, gridDim;

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess };

inline int cudaDevice = 5;

inline cudaError_t cudaGetDevice(int* device) {
  *device = cudaDevice;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) {
  cudaDevice = device;
  return cudaSuccess;
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return ""; }
inline cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t) {
  std::memset(memory, value, bytes);
  return cudaSuccess;
}

namespace stand_in {

struct Place {
  jmp_buf at;
};

inline jmp_buf scheduler;
inline std::vector<ucontext_t> starts;  // where threads begin
inline std::vector<Place> waits;        // where they wait
enum State : char { kNew, kWaiting, kDone };
inline std::vector<State> states;
inline const std::function<void()>* kernel;
inline std::vector<char> passed;  // what a lane passes to others, 8 bytes each
inline std::vector<std::array<unsigned, 6>> fragments;  // what it multiplies

[[noreturn]] inline void run_kernel() {
  (*kernel)();
  states[threadIdx.x] = kDone;
  _longjmp(scheduler, 1);
}

/*! Let the current thread go on until it waits or ends. */
inline void resume() {
  if (_setjmp(scheduler) != 0) return;
  const unsigned me = threadIdx.x;
  if (states[me] == kNew) setcontext(&starts[me]);
  _longjmp(waits[me].at, 1);  // unlike swapcontext, this is no call of the system
}

/*! Run `body` for each thread of each block. */
inline void run(dim3 blocks, unsigned threads, const std::function<void()>& body) {
  constexpr size_t kStack = 64 * 1024;
  static std::vector<char> stacks;
  stacks.resize(threads * kStack);
  starts.resize(threads);
  waits.resize(threads);
  passed.resize(threads * 8);
  fragments.resize(threads);
  kernel = &body;
  gridDim = {blocks.x};
  blockDim = {threads};
  for (unsigned block = 0; block < blocks.x; ++block) {
    blockIdx = {block};
    states.assign(threads, kNew);
    for (unsigned k = 0; k < threads && block == 0; ++k) {  // later blocks begin there too
      getcontext(&starts[k]);
      starts[k].uc_stack.ss_sp = stacks.data() + k * kStack;
      starts[k].uc_stack.ss_size = kStack;
      starts[k].uc_link = nullptr;
      makecontext(&starts[k], run_kernel, 0);
    }
    for (bool any = true; any;) {
      any = false;
      for (unsigned k = 0; k < threads; ++k) {
        if (states[k] == kDone) continue;
        threadIdx = {k};
        resume();
        any = any || states[k] != kDone;
      }
    }
  }
}

template <typename... Parameters, size_t... kPlaces>
void call(void (*kernel)(Parameters...), void** arguments, std::index_sequence<kPlaces...>) {
  kernel(*static_cast<Parameters*>(arguments[kPlaces])...);
}

}  // namespace stand_in

template <typename... Parameters>
cudaError_t cudaLaunchKernel(void (*kernel)(Parameters...), dim3 blocks, dim3 threads,
                             void** arguments, size_t, cudaStream_t) {
  stand_in::run(blocks, threads.x, [&] {
    stand_in::call(kernel, arguments, std::index_sequence_for<Parameters...>());
  });
  return cudaSuccess;
}

/*! Let the block's other threads come to here. */
inline void __syncthreads() {
  const unsigned me = threadIdx.x;
  stand_in::states[me] = stand_in::kWaiting;
  if (_setjmp(stand_in::waits[me].at) == 0) _longjmp(stand_in::scheduler, 1);
}

/*! Take the value of the lane whose number has other bits in `mask`. All threads must come here. */
template <typename Value>
Value __shfl_xor_sync(unsigned, Value value, int mask) {
  const unsigned me = threadIdx.x;
  std::memcpy(stand_in::passed.data() + me * 8, &value, sizeof(value));
  __syncthreads();
  std::memcpy(&value, stand_in::passed.data() + (me ^ static_cast<unsigned>(mask)) * 8,
              sizeof(value));
  __syncthreads();
  return value;
}

#endif  // IGC_TESTS_CUDA_RUNTIME_H_
