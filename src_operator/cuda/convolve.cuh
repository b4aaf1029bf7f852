/*! A group convolution's sums for one strip: the core of all kernels that have a primary one. */
#ifndef IGC_OPERATOR_CUDA_CONVOLVE_H_
#define IGC_OPERATOR_CUDA_CONVOLVE_H_

#include <cstdint>
#include <type_traits>

#include "launch.cuh"
#include "numbers.cuh"
#include "../reorder.h"

namespace igc::cuda {

constexpr int kOctet = 8;  // output channels of a 1x1 convolution that a warp computes at a time

/*! What is known of the window when a kernel is compiled. */
enum Window {
  kNone,   // there is no primary convolution
  kThree,  // 3x3 at stride 1, padded by 1
  kTwo,    // 3x3 at stride 2, padded by 1
  kAny,
};

IGC_HOST_DEVICE constexpr int stride_of(Window window) { return window == kTwo ? 2 : 1; }

/*! The columns of the data that 3x3 windows read for a strip, from one before its first pixel. */
template <Window kWindow, typename Item>
constexpr int kColumns = (kStrip<Item> - 1) * stride_of(kWindow) + 3;

/*! A group convolution's input and window. */
struct Primary {
  int entering;       // channels of a group
  int height, width;  // of the data
  int kernel[2], stride[2], pad[2];
  bool whole;  // as in Maps, for the data

  IGC_HOST_DEVICE int64_t plane() const { return static_cast<int64_t>(height) * width; }
  IGC_HOST_DEVICE int taps() const { return kernel[0] * kernel[1]; }
};

/*!
 * The packed weights of `members` output channels that read the same input channel: for each tap
 * those of all members, then as much as makes the whole a multiple of 16 bytes in float32.
 */
IGC_HOST_DEVICE constexpr int packed_step(int taps, int members) {
  return (taps * members + 3) / 4 * 4;
}

/*! Call `run` with a condition as a constant. */
template <typename Run>
__device__ inline void with_constant(bool condition, Run run) {
  if (condition) {
    run(std::true_type());
  } else {
    run(std::false_type());
  }
}

/*!
 * What a lane reads of each map for the 3x3 windows of its strip at (y, x) of the output, and of
 * kOut - 1 below it: three rows and one more for each, and in each the strips under its own and
 * their neighbours to both sides. Neighbours are taken from the lanes beside it, as a warp's strips
 * follow each other; only at the ends of a warp they are read. All lanes of a warp have to come to
 * the constructor and to `read`, one with nothing to do with any strip that there is and `wanted`
 * false.
 */
template <Window kWindow, typename T, int kOut = 1>
struct WindowRows {
  using Item = ItemOf<T>;
  static_assert(kOut == 1 || kWindow == kThree, "only at stride 1");
  static constexpr int kAll = kOut + 2;
  // how many rows are read at a time: for 9 columns of three there are not enough registers
  static constexpr int kRows = kWindow == kTwo ? 1 : kAll;
  using Numbers = Item[kRows][kColumns<kWindow, Item>];
  static constexpr int kCount = kStrip<Item>;
  static constexpr int kStride = stride_of(kWindow);

  __device__ WindowRows(const Primary& p, int y, int x, bool wanted = true)
      : x(x * kStride) {
    y *= kStride;
#pragma unroll
    for (int i = 0; i < kAll; ++i) {
      there[i] = wanted && (i == 1 || (i == 0 ? y > 0 : y + i - 1 < p.height));
    }
    middle = y * p.width + this->x;  // an image has less than 2^31 numbers
    const int lane = threadIdx.x % kLanes;
    first = lane == 0;
    last = lane == kLanes - 1;
    left = x > 0;
    right = kWindow == kThree && x + kCount < p.width;
    alone = (first && left) || (last && right);
    beside = first ? -1 : kCount;
  }

  /*!
   * The order in which to use taps: all rows' middle columns first, which need no other lane, so
   * that the compiler lets none of the rows be read late; with one row at a time its columns.
   */
  __device__ static constexpr int row_of(int tap) { return kRows > 1 ? tap % 3 : tap / 3; }
  __device__ static constexpr int column_of(int tap) {
    return kRows > 1 ? (tap / 3 + 1) % 3 : tap % 3;
  }

  /*! Read kRows from the one `which` on; what is outside of the map is 0. */
  template <bool kWhole>
  __device__ void read(const T* map, int which, int width, Numbers& numbers) const {
    Strip<Item> strips[kRows][kStride];
    Item end[kRows];
    map += middle;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {  // all are under way before the first is used
      const T* start = map + (there[which + i] ? (which + i - 1) * width : 0);
      strips[i][0] = read_strip(start, 0, width - x, kWhole);
      if constexpr (kWindow == kTwo) {
        strips[i][1] = x + kCount < width ? read_strip(start, kCount, width - x, kWhole)
                                          : Strip<Item>{};
      }
      end[i] = alone ? widen(start[beside]) : Item(0);
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int k = 0; k < kCount * kStride; ++k) {
        numbers[i][1 + k] = there[which + i] ? strips[i][k / kCount].at[k % kCount] : Item(0);
      }
      const Item edge = there[which + i] ? end[i] : Item(0);
      const Item before = __shfl_up_sync(0xffffffffu, numbers[i][kCount * kStride], 1);
      numbers[i][0] = first ? edge : left ? before : Item(0);
      if constexpr (kWindow == kThree) {
        const Item behind = __shfl_down_sync(0xffffffffu, numbers[i][1], 1);
        numbers[i][kCount + 1] = last ? edge : right ? behind : Item(0);
      }
    }
  }

  int x, middle;     // the first pixel: in its row of the data, and in its map
  bool there[kAll];  // the rows, from the one above; of others zeros are what counts
  bool left, right;  // whether the row goes on there
  bool first, last;  // of the warp's lanes
  bool alone;        // whether to read a neighbour
  int beside;        // which
};

/*!
 * Add the products of a strip at (y, x) of the output, and of those below it, to `sum`, for kMembers
 * output channels. All lanes of a warp have to come here, with the same channels.
 */
template <Window kWindow, int kMembers, typename T, int kOut>
__device__ inline void convolve(const Primary& p, const T* data, const ItemOf<T>* packed, int y,
                                int x, ItemOf<T> (&sum)[kOut][kMembers][kStrip<ItemOf<T>>]) {
  using Item = ItemOf<T>;
  constexpr int kCount = kStrip<Item>;
  const int64_t plane = p.plane();
  if constexpr (kWindow != kAny) {
    constexpr int kStep = packed_step(9, kMembers);
    using Rows = WindowRows<kWindow, T, kOut>;
    const Rows rows(p, y, x);
    with_constant(p.whole, [&](auto whole) {
      for (int c = 0; c < p.entering; ++c, data += plane, packed += kStep) {
        typename Rows::Numbers numbers;
        if (Rows::kRows > 1) rows.template read<decltype(whole)::value>(data, 0, p.width, numbers);
        Strip<Item> weights[kStep / kCount];
        const auto fetch = [&](int i) {
          weights[i] = reinterpret_cast<const Strip<Item>*>(packed)[i];
        };
        if (Rows::kRows > 1) {
#pragma unroll
          for (int i = 0; i < kStep / kCount; ++i) fetch(i);
        }
#pragma unroll
        for (int tap = 0; tap < 9; ++tap) {
          const int i = Rows::row_of(tap), j = Rows::column_of(tap);
          if (Rows::kRows == 1 && j == 0) {
            rows.template read<decltype(whole)::value>(data, i, p.width, numbers);
          }
#pragma unroll
          for (int m = 0; m < kMembers; ++m) {
            const int place = (i * 3 + j) * kMembers + m;
            if (Rows::kRows == 1 && place % kCount == 0) fetch(place / kCount);
#pragma unroll
            for (int o = 0; o < kOut; ++o) {
#pragma unroll
              for (int k = 0; k < kCount; ++k) {
                sum[o][m][k] += weights[place / kCount].at[place % kCount] *
                                numbers[i % Rows::kRows + o][j + k * Rows::kStride];
              }
            }
          }
        }
      }
    });
  } else {
    static_assert(kOut == 1, "only of 3x3");
    const int step = packed_step(p.taps(), kMembers);
    for (int c = 0; c < p.entering; ++c, data += plane, packed += step) {
      for (int i = 0; i < p.kernel[0]; ++i) {
        const int row = y * p.stride[0] + i - p.pad[0];
        if (row < 0 || row >= p.height) continue;
        const T* line = data + static_cast<int64_t>(row) * p.width;
        for (int j = 0; j < p.kernel[1]; ++j) {
          Item numbers[kCount];
#pragma unroll
          for (int k = 0; k < kCount; ++k) {
            const int column = (x + k) * p.stride[1] + j - p.pad[1];
            numbers[k] = column >= 0 && column < p.width ? widen(line[column]) : Item(0);
          }
#pragma unroll
          for (int m = 0; m < kMembers; ++m) {
            const Item weight = packed[(i * p.kernel[1] + j) * kMembers + m];
#pragma unroll
            for (int k = 0; k < kCount; ++k) sum[0][m][k] += weight * numbers[k];
          }
        }
      }
    }
  }
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_CONVOLVE_H_
