/*! The slices of weights' gradients, added up in a fixed order. */
#ifndef IGC_OPERATOR_CUDA_SUMS_H_
#define IGC_OPERATOR_CUDA_SUMS_H_

#include <cstdint>

#include "launch.cuh"
#include "numbers.cuh"

namespace igc::cuda {

constexpr int kSummed = 4;  // weights of a thread, where slices are few

/*! The slices of a gradient, which may be NULL. */
template <typename T>
struct Sums {
  IGC_HOST_DEVICE bool few() const { return slices < 16; }
  /*! Where not few, the threads that share the slices of a weight. */
  static constexpr int kSharing = kThreads / kLanes;
  IGC_HOST_DEVICE int of_block() const { return few() ? kThreads * kSummed : kLanes; }
  IGC_HOST_DEVICE int64_t blocks() const {
    return gradient == nullptr ? 0 : (weights + of_block() - 1) / of_block();
  }

  int64_t weights;
  int slices;
  const ItemOf<T>* partial;
  T* gradient;
};

/*! Add up the slices of a block's weights. */
template <typename T>
__device__ inline void add_up(const Sums<T>& of, int64_t block) {
  const int64_t begin = block * of.of_block();
  const auto put = [&](int64_t index, double sum) {
    of.gradient[index] = narrow<T>(static_cast<ItemOf<T>>(sum));
  };
  if (of.few()) {
    double sum[kSummed] = {};
#pragma unroll 4
    for (int slice = 0; slice < of.slices; ++slice) {
      const ItemOf<T>* const partial = of.partial + slice * of.weights;
#pragma unroll
      for (int k = 0; k < kSummed; ++k) {
        const int64_t index = begin + k * kThreads + threadIdx.x;
        if (index < of.weights) sum[k] += partial[index];
      }
    }
#pragma unroll
    for (int k = 0; k < kSummed; ++k) {
      const int64_t index = begin + k * kThreads + threadIdx.x;
      if (index < of.weights) put(index, sum[k]);
    }
    return;
  }
  __shared__ double sums[Sums<T>::kSharing][kLanes];
  const int which = static_cast<int>(threadIdx.x) % kLanes;
  const int share = static_cast<int>(threadIdx.x) / kLanes;
  const int64_t index = begin + which;
  double sum = 0;
  if (index < of.weights) {
    for (int slice = share; slice < of.slices; slice += Sums<T>::kSharing) {
      sum += of.partial[slice * of.weights + index];
    }
  }
  sums[share][which] = sum;
  __syncthreads();
  if (share > 0 || index >= of.weights) return;
  for (int other = 1; other < Sums<T>::kSharing; ++other) sum += sums[other][which];
  put(index, sum);
}

/*! Add up the slices of each weight of two arrays. */
template <typename T>
__global__ void __launch_bounds__(kThreads) add_slices(Sums<T> first, Sums<T> second) {
  const int64_t block = blockIdx.x;
  if (block < first.blocks()) {
    add_up(first, block);
  } else {
    add_up(second, block - first.blocks());
  }
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_SUMS_H_
