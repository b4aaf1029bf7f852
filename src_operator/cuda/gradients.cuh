/*!
 * The gradients of both weights. A warp has a few weights and a slice of the strips; its lanes'
 * sums are added in a fixed order, then those of the slices: the same bits each time.
 */
#ifndef IGC_OPERATOR_CUDA_GRADIENTS_H_
#define IGC_OPERATOR_CUDA_GRADIENTS_H_

#include <algorithm>
#include <cstdint>

#include "convolve.cuh"
#include "launch.cuh"
#include "mix.cuh"
#include "numbers.cuh"
#include "places.cuh"
#include "weights.cuh"

namespace igc::cuda {

/*! What one pass over some images adds to. */
struct Slices {
  /*!
   * So many that the units times the slices fill a large GPU, with so many blocks on each
   * multiprocessor; none has less than one tile.
   */
  Slices(int64_t units, int64_t tiles, int blocks_aimed = 4) : units(units) {
    const int64_t warps = int64_t{kMultiprocessors} * kWarpsOfBlock * blocks_aimed;
    count = static_cast<int>(
        std::clamp<int64_t>(warps / std::max<int64_t>(units, 1), 1, std::max<int64_t>(tiles, 1)));
  }

  /*! Each block's warps have neighbouring units of one slice. */
  IGC_HOST_DEVICE int64_t blocks_of_slice() const {
    return (units + kWarpsOfBlock - 1) / kWarpsOfBlock;
  }
  int64_t blocks() const { return blocks_of_slice() * count; }

  static constexpr int kWarpsOfBlock = 4;
  int64_t units;
  int count;
  bool add = false;  // to what the images before gave
};

/*!
 * Sum each of 32 * kEach numbers over a warp: lane l is left with the numbers from l * kEach on, in
 * front. In each step a lane gives half of what it has and keeps the other half.
 */
template <int kEach, typename Item>
__device__ inline void sum_over_warp(Item (&sum)[kEach * kLanes], int lane) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    const bool upper = (lane & distance) != 0;
    const int count = distance * kEach;
#pragma unroll
    for (int i = 0; i < kEach * kLanes / 2; ++i) {
      if (i >= count) break;
      const Item give = upper ? sum[i] : sum[i + count];
      const Item keep = upper ? sum[i + count] : sum[i];
      sum[i] = keep + __shfl_xor_sync(0xffffffffu, give, distance);
    }
  }
}

template <typename Item>
__device__ inline void put(Item* to, Item sum, bool add) {
  *to = add ? *to + sum : sum;
}

/*!
 * The secondary weights': each is a product of two channels over all pixels. A unit is an octet of
 * a group's output channels times an octet of its mixed ones.
 */
template <typename T>
__global__ void __launch_bounds__(Slices::kWarpsOfBlock* kLanes, 3)
    secondary_gradient(Mix p, Slices slices, const T* __restrict__ head,
                       const T* __restrict__ primary, ItemOf<T>* __restrict__ partial) {
  using Item = ItemOf<T>;
  constexpr int kCount = kStrip<Item>;
  const int lane = threadIdx.x % kLanes;
  const int slice = static_cast<int>(blockIdx.x / slices.blocks_of_slice());
  const int64_t unit = blockIdx.x % slices.blocks_of_slice() * Slices::kWarpsOfBlock +
                       threadIdx.x / kLanes;
  if (unit >= slices.units) return;
  const int columns = (p.entering + kOctet - 1) / kOctet;
  const int column = static_cast<int>(unit % columns) * kOctet;
  const int row = static_cast<int>(unit / columns % p.octets) * kOctet;
  const int group = static_cast<int>(unit / columns / p.octets);
  const int plane = static_cast<int>(p.maps.plane());
  const int64_t mixed_channels = static_cast<int64_t>(p.groups) * p.entering;
  Item sum[kOctet * kOctet] = {};
  int of_head[kOctet], of_primary[kOctet];  // an image has less than 2^31 numbers
#pragma unroll
  for (int i = 0; i < kOctet; ++i) {
    of_head[i] = p.after(group * p.leaving + min(row + i, p.leaving - 1)) * plane;
    of_primary[i] = p.before(group * p.entering + min(column + i, p.entering - 1)) * plane;
  }
  const int64_t jump = static_cast<int64_t>(slices.count) * kLanes;
  with_constant(p.maps.whole, [&](auto whole) {
    for (int64_t strip = static_cast<int64_t>(slice) * kLanes + lane; strip < p.maps.strips;
         strip += jump) {
      const Place place(p.maps, strip, kCount);
      const int64_t line = static_cast<int64_t>(place.y) * p.maps.width;
      const T* const from = head + place.image * p.filters * plane + line;
      const T* const other = primary + place.image * mixed_channels * plane + line;
      Strip<Item> heads[kOctet];
#pragma unroll
      for (int i = 0; i < kOctet; ++i) {
        heads[i] = read_strip(from + of_head[i], place.x, p.maps.width, decltype(whole)::value);
      }
#pragma unroll
      for (int j = 0; j < kOctet; ++j) {
        const Strip<Item> mixed =
            read_strip(other + of_primary[j], place.x, p.maps.width, decltype(whole)::value);
#pragma unroll
        for (int i = 0; i < kOctet; ++i) {
#pragma unroll
          for (int k = 0; k < kCount; ++k) {
            sum[i * kOctet + j] += heads[i].at[k] * mixed.at[k];
          }
        }
      }
    }
  });
  partial += static_cast<int64_t>(slice) * p.groups * p.leaving * p.entering;
  sum_over_warp<kOctet * kOctet / kLanes>(sum, lane);
#pragma unroll
  for (int k = 0; k < kOctet * kOctet / kLanes; ++k) {
    const int i = (lane * (kOctet * kOctet / kLanes) + k) / kOctet;
    const int j = (lane * (kOctet * kOctet / kLanes) + k) % kOctet;
    if (row + i < p.leaving && column + j < p.entering) {
      const int64_t weight =
          (static_cast<int64_t>(group) * p.leaving + row + i) * p.entering + column + j;
      put(partial + weight, sum[k], slices.add);
    }
  }
}

/*! How many blocks of it a multiprocessor has registers for, in 32 bits. */
constexpr int gradient_blocks(int members) { return members < 4 ? 7 : 5; }

/*!
 * The primary weights'. A unit is a run of a group's output channels and one of its entering ones,
 * with all taps (3x3), or one tap.
 */
template <typename T, Window kWindow, int kMembers>
__global__ void __launch_bounds__(Slices::kWarpsOfBlock* kLanes,
                                  sizeof(T) == 8 ? 1 : gradient_blocks(kMembers))
    primary_gradient(Maps maps, Primary p, PrimaryWeights w, Slices slices,
                     const T* __restrict__ gradient, const T* __restrict__ data,
                     ItemOf<T>* __restrict__ partial) {
  using Item = ItemOf<T>;
  constexpr int kCount = kStrip<Item>;
  constexpr int kTaps = kWindow == kAny ? 1 : 9;
  const int lane = threadIdx.x % kLanes;
  const int slice = static_cast<int>(blockIdx.x / slices.blocks_of_slice());
  int64_t unit = blockIdx.x % slices.blocks_of_slice() * Slices::kWarpsOfBlock +
                 threadIdx.x / kLanes;
  if (unit >= slices.units) return;
  int tap = 0;
  if (kWindow == kAny) {
    tap = static_cast<int>(unit % w.taps);
    unit /= w.taps;
  }
  const int runs = (w.leaving + kMembers - 1) / kMembers;
  const int entering = static_cast<int>(unit % w.entering);
  const int first = static_cast<int>(unit / w.entering % runs) * kMembers;
  const int group = static_cast<int>(unit / w.entering / runs);
  Item sum[kMembers][kTaps] = {};
  const int64_t tiles = maps.tiles();
  for (int64_t tile = slice; tile < tiles; tile += slices.count) {
    const int64_t strip = tile * kLanes + lane;
    const bool inside = strip < maps.strips;
    const Place place(maps, inside ? strip : 0, kCount);
    const T* map =
        data + ((place.image * w.groups + group) * w.entering + entering) * p.plane();
    Strip<Item> heads[kMembers];
#pragma unroll
    for (int m = 0; m < kMembers; ++m) {
      const int64_t channel =
          (place.image * w.groups + group) * w.leaving + min(first + m, w.leaving - 1);
      const T* line = gradient + (channel * maps.height + place.y) * maps.width;
      heads[m] = inside ? read_strip(line, place.x, maps.width, maps.whole) : Strip<Item>{};
    }
    if constexpr (kWindow != kAny) {
      using Rows = WindowRows<kWindow, T>;
      const Rows rows(p, place.y, place.x, inside);
      with_constant(p.whole, [&](auto whole) {
        typename Rows::Numbers numbers;
        if (Rows::kRows > 1) rows.template read<decltype(whole)::value>(map, 0, p.width, numbers);
#pragma unroll
        for (int tap = 0; tap < kTaps; ++tap) {
          const int i = Rows::row_of(tap), j = Rows::column_of(tap);
          if (Rows::kRows == 1 && j == 0) {
            rows.template read<decltype(whole)::value>(map, i, p.width, numbers);
          }
#pragma unroll
          for (int m = 0; m < kMembers; ++m) {
#pragma unroll
            for (int k = 0; k < kCount; ++k) {
              sum[m][i * 3 + j] +=
                  heads[m].at[k] * numbers[i % Rows::kRows][j + k * Rows::kStride];
            }
          }
        }
      });
    } else {
      const int row = place.y * p.stride[0] + tap / p.kernel[1] - p.pad[0];
      if (!inside || row < 0 || row >= p.height) continue;
#pragma unroll
      for (int k = 0; k < kCount; ++k) {
        const int column = (place.x + k) * p.stride[1] + tap % p.kernel[1] - p.pad[1];
        if (column < 0 || column >= p.width) continue;
        const Item number = widen(map[static_cast<int64_t>(row) * p.width + column]);
#pragma unroll
        for (int m = 0; m < kMembers; ++m) sum[m][0] += heads[m].at[k] * number;
      }
    }
  }
  partial += static_cast<int64_t>(slice) * w.groups * w.leaving * w.entering * w.taps;
  constexpr int kEach = (kMembers * kTaps + kLanes - 1) / kLanes;
  Item all[kEach * kLanes] = {};
#pragma unroll
  for (int m = 0; m < kMembers; ++m) {
#pragma unroll
    for (int i = 0; i < kTaps; ++i) all[m * kTaps + i] = sum[m][i];
  }
  sum_over_warp<kEach>(all, lane);
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    const int m = (lane * kEach + k) / kTaps;
    const int i = (lane * kEach + k) % kTaps;
    if (m < kMembers && first + m < w.leaving) {
      const int64_t channel = static_cast<int64_t>(group) * w.leaving + first + m;
      put(partial + (channel * w.entering + entering) * w.taps + tap + i, all[k], slices.add);
    }
  }
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_GRADIENTS_H_
