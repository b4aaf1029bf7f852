/*!
 * What a warp adds up by the matrix units: 32 rows times 32 columns, in float32. Numbers of 16 bits
 * are taken as they are. Those of float32 are cut in two (`split`), and three products of what they
 * are cut into are added up.
 */
#ifndef IGC_OPERATOR_CUDA_UNIT_SUMS_H_
#define IGC_OPERATOR_CUDA_UNIT_SUMS_H_

#include "launch.cuh"
#include "matrix_units.cuh"
#include "wide.cuh"

namespace igc::cuda {

constexpr int kUnitSide = 32;   // rows and columns of a warp
constexpr int kUnitThreads = 512;  // a multiprocessor's, with 128 registers each

/*! Numbers of 16 bytes: of a row that the matrix units load, or of the padding behind each. */
template <typename T>
constexpr int kWord = 16 / static_cast<int>(sizeof(T));

/*! Of a step: entering channels, or pixels. */
template <typename T>
constexpr int kUnitDepth = 4 * kWord<T>;

/*! From one row that lies along a step to the next; eight of them begin in different banks. */
template <typename T>
constexpr int kUnitLine = kUnitDepth<T> + kWord<T>;

/*! From one row of a tile's pixels to the next, likewise; and the warps along them. */
constexpr int kPixelLine = kTilePixels + 8;
constexpr int kPixelWarps = kTilePixels / kUnitSide;

/*! The sums of a warp: halves of its rows, quarters of its columns, as `multiply_add` has them. */
using UnitSums = float[2][4][4];

/*! Load 16 rows of a warp's left side, which lie along a step, kLine numbers apart. */
template <int kLine, typename T>
__device__ inline void load_rows(const T* left, unsigned (&found)[4]) {
  const int lane = threadIdx.x % kLanes;
  load_matrices<false>(left + lane % 16 * kLine + lane / 16 * kWord<T>, found);
}

/*!
 * Add the products of a step, of 16 bits. `rows(k, i, found)` loads the i-th 16 rows from column k
 * of the left side on, `columns(k, j, found)` the j-th 16 columns from row k of the right side on:
 * of eight columns the upper and the lower half, then of the next eight.
 */
template <typename T, typename Rows, typename Columns>
__device__ inline void add_halves(Rows rows, Columns columns, UnitSums& sum) {
  constexpr int kTaken = 2 * kWord<T>;  // by one product of matrices
#pragma unroll
  for (int k = 0; k < kUnitDepth<T>; k += kTaken) {
    unsigned left[2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i) rows(k, i, left[i]);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      unsigned right[4];
      columns(k, j, right);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        multiply_add<T>(left[i], right[0], right[1], sum[i][2 * j]);
        multiply_add<T>(left[i], right[2], right[3], sum[i][2 * j + 1]);
      }
    }
  }
}

/*!
 * Add the products of a step, of float32: of the high pieces, and of each high piece with the other
 * side's low one; what two low ones would add is less than float32 rounds off. The units cut their
 * sums instead of rounding them, so a step's are summed up for themselves and then added.
 */
template <typename Rows, typename Columns>
__device__ inline void add_floats(Rows rows, Columns columns, UnitSums& sum) {
  constexpr int kTaken = 2 * kWord<float>;
  constexpr int kTimes = kUnitDepth<float> / kTaken;
  unsigned high[kTimes][2][4], low[kTimes][2][4];
#pragma unroll
  for (int s = 0; s < kTimes; ++s) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      unsigned left[4];
      rows(s * kTaken, i, left);
#pragma unroll
      for (int k = 0; k < 4; ++k) split(left[k], high[s][i][k], low[s][i][k]);
    }
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    float part[2][2][4] = {};
#pragma unroll
    for (int s = 0; s < kTimes; ++s) {
      unsigned right[4], above[4], below[4];
      columns(s * kTaken, j, right);
#pragma unroll
      for (int k = 0; k < 4; ++k) split(right[k], above[k], below[k]);
      const auto add = [&](const unsigned (&of_rows)[2][4], const unsigned (&of_columns)[4]) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          multiply_add<float>(of_rows[i], of_columns[0], of_columns[1], part[i][0]);
          multiply_add<float>(of_rows[i], of_columns[2], of_columns[3], part[i][1]);
        }
      };
      add(low[s], above);
      add(high[s], below);
      add(high[s], above);
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int k = 0; k < 4; ++k) sum[i][2 * j + half][k] += part[i][half][k];
      }
    }
  }
}

template <typename T, typename Rows, typename Columns>
__device__ inline void add_step(Rows rows, Columns columns, UnitSums& sum) {
  if constexpr (sizeof(T) == 2) {
    add_halves<T>(rows, columns, sum);
  } else {
    add_floats(rows, columns, sum);
  }
}

/*! Call `call` with row, column and value of each of a lane's sums. */
template <typename Call>
__device__ inline void for_sums(const UnitSums& sum, Call call) {
  const int lane = threadIdx.x % kLanes;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        call(16 * i + 8 * (k / 2) + lane / 4, 8 * j + lane % 4 * 2 + k % 2, sum[i][j][k]);
      }
    }
  }
}

/*! Store a warp's sums in shared memory, in rows of a tile's pixels. */
__device__ inline void store_sums(const UnitSums& sum, float* to) {
  const int lane = threadIdx.x % kLanes;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        using Pair = Numbers<float, 2>;
        const int row = 16 * i + 8 * half + lane / 4;
        *reinterpret_cast<Pair*>(to + row * kPixelLine + 8 * j + lane % 4 * 2) = {
            {sum[i][j][2 * half], sum[i][j][2 * half + 1]}};
      }
    }
  }
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_UNIT_SUMS_H_
