/*! The number types on a GPU, and the vectors that one access moves. */
#ifndef IGC_OPERATOR_CUDA_NUMBERS_H_
#define IGC_OPERATOR_CUDA_NUMBERS_H_

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace igc::cuda {

/*! What a number is computed in: 16 bits in float32. */
template <typename T>
struct ComputedIn {
  using type = float;
};
template <>
struct ComputedIn<double> {
  using type = double;
};
template <typename T>
using ItemOf = typename ComputedIn<T>::type;

__device__ inline float widen(__half number) { return __half2float(number); }
__device__ inline float widen(__nv_bfloat16 number) { return __bfloat162float(number); }
__device__ inline float widen(float number) { return number; }
__device__ inline double widen(double number) { return number; }

template <typename T>
__device__ inline T narrow(ItemOf<T> number) {
  return number;
}
template <>
__device__ inline __half narrow<__half>(float number) {
  return __float2half_rn(number);
}
template <>
__device__ inline __nv_bfloat16 narrow<__nv_bfloat16>(float number) {
  return __float2bfloat16_rn(number);
}

/*! How many neighbouring pixels of a row one lane of a warp computes: a strip. */
template <typename Item>
constexpr int kStrip = 16 / static_cast<int>(sizeof(Item));

/*! The numbers of a strip, or as many weights: one access of 16 bytes. */
template <typename Item>
struct alignas(16) Strip {
  Item at[kStrip<Item>];
};

/*! A strip as it is stored: 16 bytes, or 8 where numbers have 16 bits. */
template <typename T>
struct alignas(sizeof(T) * kStrip<ItemOf<T>>) Stored {
  T at[kStrip<ItemOf<T>>];
};

/*! Read the strip at `x` of a row. `whole`: rows are made of whole, aligned strips. */
template <typename T>
__device__ inline Strip<ItemOf<T>> read_strip(const T* row, int x, int width, bool whole) {
  constexpr int kCount = kStrip<ItemOf<T>>;
  Strip<ItemOf<T>> strip;
  if (whole) {
    const Stored<T> stored = *reinterpret_cast<const Stored<T>*>(row + x);
#pragma unroll
    for (int j = 0; j < kCount; ++j) strip.at[j] = widen(stored.at[j]);
  } else {
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      strip.at[j] = x + j < width ? widen(row[x + j]) : ItemOf<T>(0);
    }
  }
  return strip;
}

template <typename T>
__device__ inline void write_strip(T* row, int x, int width, bool whole,
                                   const Strip<ItemOf<T>>& strip) {
  constexpr int kCount = kStrip<ItemOf<T>>;
  if (whole) {
    Stored<T> stored;
#pragma unroll
    for (int j = 0; j < kCount; ++j) stored.at[j] = narrow<T>(strip.at[j]);
    *reinterpret_cast<Stored<T>*>(row + x) = stored;
  } else {
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      if (x + j < width) row[x + j] = narrow<T>(strip.at[j]);
    }
  }
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_NUMBERS_H_
