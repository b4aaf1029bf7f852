/*! The primary convolution alone, and its data gradient. */
#ifndef IGC_OPERATOR_CUDA_PRIMARY_H_
#define IGC_OPERATOR_CUDA_PRIMARY_H_

#include <cstdint>

#include "convolve.cuh"
#include "launch.cuh"
#include "numbers.cuh"
#include "places.cuh"
#include "weights.cuh"

namespace igc::cuda {

/*! A warp for each tile and unit; units, which read the same data, are neighbours. */
template <typename T, Window kWindow, int kMembers>
__global__ void __launch_bounds__(kThreads)
    convolve_alone(Maps maps, Primary p, Units units, int groups, int leaving,
                   const T* __restrict__ data, const ItemOf<T>* __restrict__ packed,
                   T* __restrict__ out) {
  using Item = ItemOf<T>;
  constexpr int kCount = kStrip<Item>;
  const int64_t warp = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kLanes;
  const int unit = static_cast<int>(warp % units.count);
  const int64_t strip = warp / units.count * kLanes + threadIdx.x % kLanes;
  if (strip >= maps.strips) return;
  const Place place(maps, strip, kCount);
  const int group = unit / units.runs;
  const int first = unit % units.runs * kMembers;
  Item sum[kMembers][kCount] = {};
  convolve<kWindow, kMembers>(
      p, data + (place.image * groups + group) * p.entering * p.plane(),
      packed + static_cast<int64_t>(unit) * p.entering * packed_step(p.taps(), kMembers), place.y,
      place.x, sum);
#pragma unroll
  for (int m = 0; m < kMembers; ++m) {
    if (first + m >= leaving) return;
    const int64_t channel = (place.image * groups + group) * leaving + first + m;
    Strip<Item> result;
#pragma unroll
    for (int k = 0; k < kCount; ++k) result.at[k] = sum[m][k];
    write_strip(out + (channel * maps.height + place.y) * maps.width, place.x, maps.width,
                maps.whole, result);
  }
}

/*! The data gradient at any stride: a thread for each element of it. */
template <typename T>
__global__ void spread_primary(Maps maps, Primary p, PrimaryWeights w, int64_t images,
                               const T* __restrict__ gradient, const T* __restrict__ weight,
                               T* __restrict__ data_gradient) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t channels = static_cast<int64_t>(w.groups) * w.entering;
  if (index >= images * channels * p.plane()) return;
  const int x = static_cast<int>(index % p.width);
  const int y = static_cast<int>(index / p.width % p.height);
  const int channel = static_cast<int>(index / p.plane() % channels);
  const int64_t image = index / p.plane() / channels;
  const int group = channel / w.entering;
  const int entering = channel % w.entering;
  ItemOf<T> sum = 0;
  for (int k = 0; k < w.leaving; ++k) {
    const int64_t leaving = static_cast<int64_t>(group) * w.leaving + k;
    const T* map = gradient + (image * w.groups * w.leaving + leaving) * maps.plane();
    const T* kernel = weight + (leaving * w.entering + entering) * w.taps;
    for (int i = 0; i < p.kernel[0]; ++i) {
      const int row = y + p.pad[0] - i;
      if (row < 0 || row % p.stride[0] != 0 || row / p.stride[0] >= maps.height) continue;
      for (int j = 0; j < p.kernel[1]; ++j) {
        const int column = x + p.pad[1] - j;
        if (column < 0 || column % p.stride[1] != 0) continue;
        if (column / p.stride[1] >= maps.width) continue;
        sum += widen(kernel[i * p.kernel[1] + j]) *
               widen(map[static_cast<int64_t>(row / p.stride[0]) * maps.width +
                         column / p.stride[1]]);
      }
    }
  }
  data_gradient[index] = narrow<T>(sum);
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_PRIMARY_H_
