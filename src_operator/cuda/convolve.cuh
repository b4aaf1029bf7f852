/*! A group convolution's sums for one strip: the core of all kernels that have a primary one. */
#ifndef IGC_OPERATOR_CUDA_CONVOLVE_H_
#define IGC_OPERATOR_CUDA_CONVOLVE_H_

#include <cstdint>
#include <type_traits>

#include "numbers.cuh"
#include "../reorder.h"

namespace igc::cuda {

/*! What is known of the window when a kernel is compiled. */
enum Window {
  kNone,   // there is no primary convolution
  kThree,  // 3x3 at stride 1, padded by 1
  kAny,
};

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

/*! The rows of the data that a 3x3 window reads; outside of the map, those of its border. */
struct WindowRows {
  __device__ WindowRows(const Primary& p, int y) {
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      const int row = y + i - 1;
      inside[i] = row >= 0 && row < p.height;
      offset[i] = static_cast<int64_t>(min(max(row, 0), p.height - 1)) * p.width;
    }
  }

  int64_t offset[3];
  bool inside[3];  // where not, zeros are what counts
};

/*! Read what a row of a 3x3 window needs for a strip: from one pixel before to one behind it. */
template <typename T>
__device__ inline void read_window(const T* row, int x, int width, bool whole,
                                   ItemOf<T> (&numbers)[kStrip<ItemOf<T>> + 2]) {
  using Item = ItemOf<T>;
  constexpr int kCount = kStrip<Item>;
  const Strip<Item> strip = read_strip(row, x, width, whole);
#pragma unroll
  for (int j = 0; j < kCount; ++j) numbers[1 + j] = strip.at[j];
  numbers[0] = x > 0 ? widen(row[x - 1]) : Item(0);
  numbers[kCount + 1] = x + kCount < width ? widen(row[x + kCount]) : Item(0);
}

/*! Add the products of a strip at (y, x) of the output to `sum`, for kMembers output channels. */
template <Window kWindow, int kMembers, typename T>
__device__ inline void convolve(const Primary& p, const T* data, const ItemOf<T>* packed, int y,
                                int x, ItemOf<T> (&sum)[kMembers][kStrip<ItemOf<T>>]) {
  using Item = ItemOf<T>;
  constexpr int kCount = kStrip<Item>;
  const int64_t plane = p.plane();
  if constexpr (kWindow == kThree) {
    constexpr int kStep = packed_step(9, kMembers);
    const WindowRows rows(p, y);
    with_constant(p.whole, [&](auto whole) {
      for (int c = 0; c < p.entering; ++c, data += plane, packed += kStep) {
        Item numbers[3][kCount + 2];
#pragma unroll
        for (int i = 0; i < 3; ++i) {  // all are under way before the first is used
          read_window(data + rows.offset[i], x, p.width, decltype(whole)::value, numbers[i]);
        }
        Strip<Item> weights[kStep / kCount];
#pragma unroll
        for (int i = 0; i < kStep / kCount; ++i) {
          weights[i] = reinterpret_cast<const Strip<Item>*>(packed)[i];
        }
#pragma unroll
        for (int i = 0; i < 3; ++i) {
#pragma unroll
          for (int k = 0; k < kCount + 2; ++k) {
            numbers[i][k] = rows.inside[i] ? numbers[i][k] : Item(0);
          }
#pragma unroll
          for (int j = 0; j < 3; ++j) {
#pragma unroll
            for (int m = 0; m < kMembers; ++m) {
#pragma unroll
              for (int k = 0; k < kCount; ++k) {
                const int place = (i * 3 + j) * kMembers + m;
                sum[m][k] += weights[place / kCount].at[place % kCount] * numbers[i][j + k];
              }
            }
          }
        }
      }
    });
  } else {
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
            for (int k = 0; k < kCount; ++k) sum[m][k] += weight * numbers[k];
          }
        }
      }
    }
  }
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_CONVOLVE_H_
