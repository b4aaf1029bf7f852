/*! The primary convolution alone, and its data gradient. */
#ifndef IGC_OPERATOR_CUDA_PRIMARY_H_
#define IGC_OPERATOR_CUDA_PRIMARY_H_

#include <cstdint>

#include "activation.cuh"
#include "by_channel.cuh"
#include "convolve.cuh"
#include "launch.cuh"
#include "numbers.cuh"
#include "places.cuh"
#include "weights.cuh"

namespace igc::cuda {

/*!
 * The blocks of `convolve_alone` that fit a multiprocessor in 32 bits, where the compiler left to
 * itself may stop at one less.
 */
template <typename T>
IGC_HOST_DEVICE constexpr int blocks_alone(int members, int rows) {
  if (sizeof(T) == 8) return 1;
  return members * rows < 4 ? 4 : 3;
}

/*!
 * A warp for each tile and unit; units, which read the same data, are neighbours. `maps`: of rows of
 * the output, or of kRows of them one below the other; `to`: of `out`.
 */
template <typename T, Window kWindow, int kMembers, int kRows>
__global__ void __launch_bounds__(kThreads, blocks_alone<T>(kMembers, kRows))
    convolve_alone(Maps maps, Primary p, Units units, int groups, int leaving,
                   const T* __restrict__ data, const ItemOf<T>* __restrict__ packed,
                   const ItemOf<T>* bias, int activation, Layout to, T* __restrict__ out) {
  using Item = ItemOf<T>;
  constexpr int kCount = kStrip<Item>;
  const int64_t warp = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kLanes;
  const int unit = static_cast<int>(warp % units.count);
  const int64_t tile = warp / units.count;
  if (tile >= maps.tiles()) return;
  const int64_t strip = tile * kLanes + threadIdx.x % kLanes;
  const bool inside = strip < maps.strips;
  const Place place(maps, inside ? strip : 0, kCount);
  const int group = unit / units.runs;
  const int first = unit % units.runs * kMembers;
  const int y = place.y * kRows;
  Item sum[kRows][kMembers][kCount] = {};
  convolve<kWindow, kMembers>(
      p, data + (place.image * groups + group) * p.entering * p.plane(),
      packed + static_cast<int64_t>(unit) * p.entering * packed_step(p.taps(), kMembers), y,
      place.x, sum);
  if (!inside) return;
  out += place.image * to.image + static_cast<int64_t>(y) * maps.width;
#pragma unroll
  for (int m = 0; m < kMembers; ++m) {
    if (first + m >= leaving) return;
    const int channel = group * leaving + first + m;
    const Item more = bias == nullptr ? Item(0) : bias[channel];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (i > 0 && y + i >= p.height) break;  // with several rows both maps have as many
      Strip<Item> result;
#pragma unroll
      for (int k = 0; k < kCount; ++k) result.at[k] = activated(sum[i][m][k] + more, activation);
      write_strip(out + channel * to.channel + i * maps.width, place.x, maps.width, maps.whole,
                  result);
    }
  }
}

/*!
 * The data gradient of 3x3 windows at stride 2, padded by 1: a lane has a strip of the gradient
 * that arrives, and computes two rows of two strips below it. `to`: the data gradient.
 */
template <typename T, int kMembers>
__global__ void __launch_bounds__(kThreads)
    spread_two(Maps maps, Maps to, Units units, int groups, int leaving, int entering,
               const T* __restrict__ gradient, const ItemOf<T>* __restrict__ packed,
               T* __restrict__ data_gradient) {
  using Item = ItemOf<T>;
  constexpr int kCount = kStrip<Item>;
  constexpr int kTaps = 9;
  constexpr int kStep = packed_step(kTaps, kMembers);
  const int lane = threadIdx.x % kLanes;
  const int64_t warp = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kLanes;
  const int unit = static_cast<int>(warp % units.count);
  const int64_t tile = warp / units.count;
  if (tile >= maps.tiles()) return;
  const int64_t strip = tile * kLanes + lane;
  const bool inside = strip < maps.strips;
  const Place place(maps, inside ? strip : 0, kCount);
  const int group = unit / units.runs;
  const int first = unit % units.runs * kMembers;
  const bool below = place.y + 1 < maps.height;
  const bool right = place.x + kCount < maps.width;
  const bool alone = right && lane == kLanes - 1;  // the neighbour is not of this warp
  const int64_t plane = maps.plane();
  const T* map = gradient + (place.image * groups + group) * leaving * plane +
                 static_cast<int64_t>(place.y) * maps.width;
  packed += static_cast<int64_t>(unit) * leaving * kStep;
  Item sum[kMembers][2][2 * kCount] = {};
  with_constant(maps.whole, [&](auto whole) {
    for (int c = 0; c < leaving; ++c, map += plane, packed += kStep) {
      Item numbers[2][kCount + 1];  // of this row and the next
      Item end[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const T* row = map + (i == 1 && below ? maps.width : 0);
        const Strip<Item> read = read_strip(row, place.x, maps.width, decltype(whole)::value);
        end[i] = alone ? widen(row[place.x + kCount]) : Item(0);
#pragma unroll
        for (int k = 0; k < kCount; ++k) {
          numbers[i][k] = i == 0 || below ? read.at[k] : Item(0);
        }
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const Item behind = __shfl_down_sync(0xffffffffu, numbers[i][0], 1);
        numbers[i][kCount] = lane < kLanes - 1 ? behind : end[i];
        if (!right || (i == 1 && !below)) numbers[i][kCount] = 0;
      }
      Strip<Item> weights;
#pragma unroll
      for (int at = 0; at < kTaps; ++at) {
        const int tap = kTaps - 1 - at;  // as `pack_primary_back` has them
        const int i = tap / 3, j = tap % 3;
#pragma unroll
        for (int m = 0; m < kMembers; ++m) {
          const int in_step = at * kMembers + m;
          if (in_step % kCount == 0) {
            weights = reinterpret_cast<const Strip<Item>*>(packed)[in_step / kCount];
          }
          // the middle tap leads to the even rows, the others to the odd ones, the first of them
          // from the next row; and so do columns
#pragma unroll
          for (int k = 0; k < kCount; ++k) {
            sum[m][i == 1 ? 0 : 1][2 * k + (j == 1 ? 0 : 1)] +=
                weights.at[in_step % kCount] * numbers[i == 0 ? 1 : 0][k + (j == 0 ? 1 : 0)];
          }
        }
      }
    }
  });
  if (!inside) return;
#pragma unroll
  for (int m = 0; m < kMembers; ++m) {
    if (first + m >= entering) return;
    T* out = data_gradient +
             ((place.image * groups + group) * entering + first + m) * to.plane();
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int y = 2 * place.y + i;
      if (y >= to.height) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int x = 2 * place.x + half * kCount;
        if (x >= to.width) continue;
        Strip<Item> result;
#pragma unroll
        for (int k = 0; k < kCount; ++k) result.at[k] = sum[m][i][half * kCount + k];
        write_strip(out + static_cast<int64_t>(y) * to.width, x, to.width, to.whole, result);
      }
    }
  }
}

/*!
 * The data gradient of any window: a thread for each strip of it. `to`: all its channels' maps, one
 * below the other.
 */
template <typename T>
__global__ void __launch_bounds__(kThreads)
    spread_primary(Maps maps, Maps to, Primary p, PrimaryWeights w, const T* __restrict__ gradient,
                   const T* __restrict__ weight, T* __restrict__ data_gradient) {
  using Item = ItemOf<T>;
  constexpr int kCount = kStrip<Item>;
  const int64_t strip = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (strip >= to.strips) return;
  const Place place(to, strip, kCount);
  const int channel = place.y / p.height;
  const int y = place.y - channel * p.height;
  const int group = channel / w.entering;
  const int entering = channel - group * w.entering;
  const int64_t plane = maps.plane();
  const int64_t first = static_cast<int64_t>(group) * w.leaving;
  const T* const map = gradient + (place.image * w.groups * w.leaving + first) * plane;
  const T* const weights = weight + (first * w.entering + entering) * w.taps;
  Item sum[kCount] = {};
  for (int i = 0; i < p.kernel[0]; ++i) {
    const int row = y + p.pad[0] - i;
    if (row < 0 || row % p.stride[0] != 0 || row / p.stride[0] >= maps.height) continue;
    const T* const line = map + static_cast<int64_t>(row / p.stride[0]) * maps.width;
    for (int j = 0; j < p.kernel[1]; ++j) {
      // of the first pixel: where the window's tap lies, in steps of the stride and what is left
      const int column = place.x + p.pad[1] - j;
      int step = column >= 0 ? column / p.stride[1] : -((-column + p.stride[1] - 1) / p.stride[1]);
      int left = column - step * p.stride[1];
#pragma unroll
      for (int k = 0; k < kCount; ++k) {
        if (left == 0 && step >= 0 && step < maps.width) {
          for (int m = 0; m < w.leaving; ++m) {
            sum[k] += widen(weights[m * w.entering * w.taps + i * p.kernel[1] + j]) *
                      widen(line[m * plane + step]);
          }
        }
        if (++left == p.stride[1]) {
          left = 0;
          ++step;
        }
      }
    }
  }
  Strip<Item> result;
#pragma unroll
  for (int k = 0; k < kCount; ++k) result.at[k] = sum[k];
  const int64_t begin = (place.image * to.height + place.y) * to.width;
  write_strip(data_gradient + begin, place.x, to.width, to.whole, result);
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_PRIMARY_H_
