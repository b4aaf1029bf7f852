/*!
 * As much of CUDA as src_operator/ uses, on the CPU: one block after the other, its threads as
 * contexts that take turns at barriers and shuffles; those of a cluster take turns at its barriers,
 * where each block keeps the shared memory that its launch asks for, but not its kernel's own. For
 * tests where there is no GPU.
 */
#ifndef IGC_TESTS_CUDA_RUNTIME_H_
#define IGC_TESTS_CUDA_RUNTIME_H_

#include <math.h>
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#define IGC_CUDA_STAND_IN
#define __global__
#define __device__
#define __host__
#define __shared__ thread_local  // only one block is alive; `extern` goes with it
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
inline int cudaLargestCluster = 0;  // that was launched since a test made it 0

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
enum State : char { kNew, kReady, kAtWarp, kAtBlock, kAtCluster, kDone };
inline std::vector<State> states;
inline const std::function<void()>* kernel;

/*! What a lane passes to others, by turns here and there. */
struct Passed {
  char bytes[2][8];
  unsigned turn;
};
inline std::vector<Passed> passed;

constexpr unsigned kLanes = 32;
constexpr size_t kShared = 48 * 1024;  // what needs no asking
constexpr size_t kMostShared = 99 * 1024;  // the least that GPUs with matrix units have
constexpr char kUnset = '\xff';        // shared memory that nobody has written: a NaN

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

/*! Let the current thread wait in this state. */
inline void wait(State state) {
  const unsigned me = threadIdx.x;
  states[me] = state;
  if (_setjmp(waits[me].at) == 0) _longjmp(scheduler, 1);
}

inline bool all_in(State state, unsigned first, unsigned last, bool or_done) {
  for (unsigned k = first; k < last; ++k) {
    if (states[k] != state && !(or_done && states[k] == kDone)) return false;
  }
  return true;
}

/*! Let those go on for whom all others have come: a warp's lanes, or all threads that there are. */
inline bool release(unsigned threads) {
  bool any = false;
  for (unsigned first = 0; first < threads; first += kLanes) {
    const unsigned last = min(first + kLanes, threads);
    if (!all_in(kAtWarp, first, last, false)) continue;
    std::fill(states.begin() + first, states.begin() + last, kReady);
    any = true;
  }
  if (!any && all_in(kAtBlock, 0, threads, true)) {
    for (State& state : states) {
      if (state == kDone) continue;
      state = kReady;
      any = true;
    }
  }
  if (!any && !all_in(kAtCluster, 0, threads, true)) {
    std::fputs("a shuffle or barrier to which some threads do not come\n", stderr);
    std::abort();
  }
  return any;
}

}  // namespace stand_in

namespace igc::cuda {
/*! The shared memory that a launch asks for, and what must stay as it is behind it. */
inline thread_local uint4 asked_memory[stand_in::kMostShared / sizeof(uint4) + 64];
}  // namespace igc::cuda

namespace stand_in {

/*! A block of a cluster, while others run. */
struct Block {
  std::vector<ucontext_t> starts;
  std::vector<Place> waits;
  std::vector<State> states;
  std::vector<Passed> passed;
  std::vector<char> stacks, memory;

  /*! Change places with the block that runs. */
  void swap() {
    starts.swap(stand_in::starts);
    waits.swap(stand_in::waits);
    states.swap(stand_in::states);
    passed.swap(stand_in::passed);
  }

  void begin(unsigned threads) {
    constexpr size_t kStack = 64 * 1024;
    states.assign(threads, kNew);
    passed.assign(threads, {});
    if (starts.size() == threads) return;  // the next block's threads begin there too
    stacks.resize(threads * kStack);
    starts.resize(threads);
    waits.resize(threads);
    for (unsigned k = 0; k < threads; ++k) {
      getcontext(&starts[k]);
      starts[k].uc_stack.ss_sp = stacks.data() + k * kStack;
      starts[k].uc_stack.ss_size = kStack;
      starts[k].uc_link = nullptr;
      makecontext(&starts[k], run_kernel, 0);
    }
  }
};

/*! Run the block that is in place until all its threads are done, or wait for their cluster. */
inline void run_block(unsigned threads) {
  do {
    for (unsigned k = 0; k < threads; ++k) {
      if (states[k] != kNew && states[k] != kReady) continue;
      threadIdx = {k};
      resume();
    }
  } while (release(threads));
}

/*! Run `body` for each thread of each block. */
inline void run(dim3 blocks, unsigned threads, unsigned cluster, size_t shared,
                const std::function<void()>& body) {
  static std::map<std::pair<unsigned, unsigned>, Block> places;  // by threads, place in a cluster
  char* const memory = reinterpret_cast<char*>(igc::cuda::asked_memory);
  constexpr size_t kBytes = sizeof(igc::cuda::asked_memory);
  kernel = &body;
  gridDim = {blocks.x};
  blockDim = {threads};
  if (blocks.x % cluster != 0) std::abort();
  cudaLargestCluster = max(cudaLargestCluster, static_cast<int>(cluster));
  for (unsigned first = 0; first < blocks.x; first += cluster) {
    for (unsigned k = 0; k < cluster; ++k) {
      Block& block = places[{threads, k}];
      block.begin(threads);
      if (shared > 0 && cluster > 1) block.memory.assign(kBytes, kUnset);
    }
    if (shared > 0 && cluster == 1) std::fill(memory, memory + kBytes, kUnset);
    unsigned done = 0;
    while (done < cluster) {
      done = 0;
      for (unsigned k = 0; k < cluster; ++k) {
        Block& block = places[{threads, k}];
        blockIdx = {first + k};
        block.swap();
        if (shared > 0 && cluster > 1) std::copy(block.memory.begin(), block.memory.end(), memory);
        // the barrier lets all go on: the others have come there, or will when it is their turn
        std::replace(states.begin(), states.end(), kAtCluster, kReady);
        run_block(threads);
        done += all_in(kDone, 0, threads, false);
        for (size_t at = shared; shared > 0 && at < kBytes; ++at) {
          if (memory[at] != kUnset) std::abort();
        }
        if (shared > 0 && cluster > 1) std::copy(memory, memory + kBytes, block.memory.begin());
        block.swap();
      }
      if (done > 0 && done < cluster) std::abort();  // a barrier to which some blocks do not come
    }
  }
}

template <typename... Parameters, size_t... kPlaces>
void call(void (*kernel)(Parameters...), void** arguments, std::index_sequence<kPlaces...>) {
  kernel(*static_cast<Parameters*>(arguments[kPlaces])...);
}

}  // namespace stand_in

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };

namespace stand_in {
inline std::map<void (*)(), size_t> asked;  // the shared memory that a kernel may have
}

template <typename... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute, int bytes) {
  if (static_cast<size_t>(bytes) > stand_in::kMostShared) std::abort();
  stand_in::asked[reinterpret_cast<void (*)()>(kernel)] = static_cast<size_t>(bytes);
  return cudaSuccess;
}

template <typename... Parameters>
cudaError_t cudaLaunchKernel(void (*kernel)(Parameters...), dim3 blocks, dim3 threads,
                             void** arguments, size_t shared, cudaStream_t) {
  const size_t more = stand_in::asked[reinterpret_cast<void (*)()>(kernel)];
  if (shared > max(more, stand_in::kShared)) std::abort();
  stand_in::run(blocks, threads.x, 1, shared, [&] {
    stand_in::call(kernel, arguments, std::index_sequence_for<Parameters...>());
  });
  return cudaSuccess;
}

/*! Let the block's other threads come to here. */
inline void __syncthreads() { stand_in::wait(stand_in::kAtBlock); }

namespace stand_in {

/*! Take the value of another lane; all lanes of the warp must come here. */
template <typename Value>
Value exchange(Value value, unsigned from) {
  const unsigned me = threadIdx.x;
  // a lane that is here again has seen all others come to the turn between, behind their reads
  const unsigned turn = passed[me].turn++ % 2;
  std::memcpy(passed[me].bytes[turn], &value, sizeof(value));
  wait(kAtWarp);
  std::memcpy(&value, passed[from].bytes[turn], sizeof(value));
  return value;
}

}  // namespace stand_in

/*! Take the value of the lane whose number has other bits in `mask`. */
template <typename Value>
Value __shfl_xor_sync(unsigned, Value value, int mask) {
  return stand_in::exchange(value, threadIdx.x ^ static_cast<unsigned>(mask));
}

/*! Take the value of the lane so many before, or behind; the outermost ones keep theirs. */
template <typename Value>
Value __shfl_up_sync(unsigned, Value value, unsigned distance) {
  const bool none = threadIdx.x % stand_in::kLanes < distance;
  return stand_in::exchange(value, none ? threadIdx.x : threadIdx.x - distance);
}
template <typename Value>
Value __shfl_down_sync(unsigned, Value value, unsigned distance) {
  const bool none = threadIdx.x % stand_in::kLanes + distance >= stand_in::kLanes;
  return stand_in::exchange(value, none ? threadIdx.x : threadIdx.x + distance);
}

#endif  // IGC_TESTS_CUDA_RUNTIME_H_
