/*! Copies to shared memory that go on while a block computes; synchronous before sm_80. */
#ifndef IGC_OPERATOR_CUDA_ASYNC_H_
#define IGC_OPERATOR_CUDA_ASYNC_H_

#include <cuda_runtime.h>

#include <cstring>

namespace igc::cuda {

/*! Copy 4, 8 or 16 aligned bytes from global to shared memory; zeros where not `valid`. */
template <int kBytes>
__device__ inline void copy_async(void* to, const void* from, bool valid) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  const int bytes = valid ? kBytes : 0;
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from),
                 "r"(bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(address), "l"(from),
                 "n"(kBytes), "r"(bytes)
                 : "memory");
  }
#else
  struct alignas(kBytes) Word {
    unsigned part[kBytes / 4];
  };
  *static_cast<Word*>(to) = valid ? *static_cast<const Word*>(from) : Word{};
#endif
}

/*! Copy `kVector` numbers to shared memory, zeros where not `valid`. */
template <int kVector, typename T>
__device__ inline void copy_numbers(T* to, const T* from, bool valid) {
  constexpr int kBytes = kVector * static_cast<int>(sizeof(T));
  if constexpr (kBytes < 4) {
    *to = valid ? *from : T{};  // less than what an asynchronous copy moves
  } else {
    copy_async<kBytes>(to, from, valid);
  }
}

/*! End a batch of copies. */
__device__ inline void end_batch() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/*! Wait until at most the last `kBatches` batches of this thread are under way. */
template <int kBatches>
__device__ inline void wait_for_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kBatches) : "memory");
#endif
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_ASYNC_H_
