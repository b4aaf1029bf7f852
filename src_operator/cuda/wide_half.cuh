/*! The products of wide groups in 16 bits, by the matrix units; sums are float32. */
#ifndef IGC_OPERATOR_CUDA_WIDE_HALF_H_
#define IGC_OPERATOR_CUDA_WIDE_HALF_H_

#include <cstdint>

#include "activation.cuh"
#include "async.cuh"
#include "matrix_units.cuh"
#include "mix.cuh"
#include "wide.cuh"

namespace igc::cuda {

constexpr int kHalfThreads = 256;
constexpr int kHalfWarps = kHalfThreads / kLanes;
constexpr int kHalfDepth = 32;  // of a step: entering channels, or pixels
constexpr int kHalfPad = 8;     // rows of shared memory then begin in different banks

/*! One call of `wide_mix_half`: out = weights * in, group by group. */
struct HalfMix {
  int groups;
  Rows in, out;
  int parts;  // blocks that share a group's rows
  int depth;  // in.count, rounded up as weights are packed
  Pixels pixels;

  int64_t blocks() const {
    return (pixels.count + kTilePixels - 1) / kTilePixels * groups * parts;
  }
};

/*! Copy `kVector` numbers to shared memory, zeros where not `valid`. */
template <int kVector, typename T>
__device__ inline void copy_numbers(T* to, const T* from, bool valid) {
  if constexpr (kVector == 1) {
    *to = valid ? *from : T{};  // less than what an asynchronous copy moves
  } else {
    copy_async<kVector * static_cast<int>(sizeof(T))>(to, from, valid);
  }
}

/*!
 * A block has kRows output channels; its warps share them, 32 each, and the pixels of the tile.
 * `kVector`: 8 or 4 where maps are whole, aligned vectors, else 1.
 */
template <typename T, int kRows, int kVector>
__global__ void __launch_bounds__(kHalfThreads, 2)
    wide_mix_half(HalfMix p, const T* __restrict__ data, const T* __restrict__ weights,
                  Finish<T> finish, T* __restrict__ out) {
  using Lanes = Columns<kVector>;
  constexpr int kDown = kRows / 32;               // warps
  constexpr int kAcross = kHalfWarps / kDown;     // warps
  constexpr int kPixels = kTilePixels / kAcross;  // of a warp
  constexpr int kLeftLine = kHalfDepth + kHalfPad;
  constexpr int kRightLine = kTilePixels + kHalfPad;
  constexpr int kLeft = kRows * kLeftLine;
  constexpr int kRight = kHalfDepth * kRightLine;
  constexpr int kResult = kRows * kRightLine;
  alignas(16) __shared__ T shared[2 * (kLeft + kRight) > kResult ? 2 * (kLeft + kRight) : kResult];
  const int lane = threadIdx.x % kLanes;
  const int warp = threadIdx.x / kLanes;
  const int part = static_cast<int>(blockIdx.x % p.parts);
  const int group = static_cast<int>(blockIdx.x / p.parts % p.groups);
  const int64_t tile = blockIdx.x / p.parts / p.groups;
  const Lanes columns(p.pixels, tile, lane);
  int64_t base[Lanes::kEach];
#pragma unroll
  for (int i = 0; i < Lanes::kEach; ++i) {
    base[i] = columns.at[i].offset(p.pixels, p.in.channels);
  }
  const T* const packed =
      weights + (static_cast<int64_t>(group) * p.parts + part) * kRows * p.depth;
  const int steps = p.depth / kHalfDepth;

  const auto fetch = [&](int step) {
    if (step < steps) {
      T* const left = shared + step % 2 * (kLeft + kRight);
      T* const right = left + kLeft;
      for (int i = static_cast<int>(threadIdx.x); i < kRows * (kHalfDepth / 8);
           i += kHalfThreads) {
        const int row = i / (kHalfDepth / 8);
        const int k = i % (kHalfDepth / 8) * 8;
        copy_async<16>(left + row * kLeftLine + k,
                       packed + static_cast<int64_t>(row) * p.depth + step * kHalfDepth + k, true);
      }
      const int down = lane / Lanes::kAcross;
#pragma unroll
      for (int j = 0; j < kHalfDepth / (kHalfWarps * Lanes::kDown); ++j) {
        const int k = (j * kHalfWarps + warp) * Lanes::kDown + down;
        const int row = step * kHalfDepth + k;
        const bool there = row < p.in.count;
        const T* const line = data + p.in.offset(p.pixels, group, there ? row : 0);
        T* const to = right + k * kRightLine + columns.first;
#pragma unroll
        for (int i = 0; i < Lanes::kEach; ++i) {
          copy_numbers<kVector>(to + i * Lanes::kAcross * kVector, line + base[i],
                                there && columns.inside[i]);
        }
      }
    }
    end_batch();
  };

  float sum[2][kPixels / 8][4] = {};
  const int my_row = warp / kAcross * 32;
  const int my_pixel = warp % kAcross * kPixels;
  fetch(0);
  for (int step = 0; step < steps; ++step) {
    fetch(step + 1);
    wait_for_copies<1>();
    __syncthreads();
    const T* const left = shared + step % 2 * (kLeft + kRight);
    const T* const right = left + kLeft;
#pragma unroll
    for (int k = 0; k < kHalfDepth; k += 16) {
      unsigned of_rows[2][4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        load_matrices<false>(
            left + (my_row + 16 * i + lane % 16) * kLeftLine + k + lane / 16 * 8, of_rows[i]);
      }
#pragma unroll
      for (int j = 0; j < kPixels / 16; ++j) {
        unsigned of_pixels[4];  // of eight pixels, upper and lower half; of the next eight
        load_matrices<true>(right + (k + lane % 16) * kRightLine + my_pixel + 16 * j + lane / 16 * 8,
                            of_pixels);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          multiply_add<T>(of_rows[i], of_pixels[0], of_pixels[1], sum[i][2 * j]);
          multiply_add<T>(of_rows[i], of_pixels[2], of_pixels[3], sum[i][2 * j + 1]);
        }
      }
    }
    __syncthreads();  // the next but one step goes where this one was
  }

  // to shared memory first, so that rows are written as they lie
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = my_row + 16 * i + 8 * half + lane / 4;
      const int in_group = part * kRows + row;
      const bool there = in_group < p.out.count;
      const int channel = there ? p.out.map(group * p.out.count + in_group) : 0;
      const float bias = finish.bias == nullptr ? 0.0f : finish.bias[channel];
#pragma unroll
      for (int j = 0; j < kPixels / 8; ++j) {
        const int pixel = my_pixel + 8 * j + lane % 4 * 2;
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          float number = sum[i][j][2 * half + k] + bias;
          if (finish.residual != nullptr) {
            const int64_t at = tile * kTilePixels + pixel + k;
            if (there && at < p.pixels.count) {
              const PixelPlace place(p.pixels, at);
              number += widen(finish.residual[place.offset(p.pixels, p.out.channels) +
                                              static_cast<int64_t>(channel) * p.pixels.plane]);
            }
          }
          shared[row * kRightLine + pixel + k] = narrow<T>(activated(number, finish.activation));
        }
      }
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < Lanes::kEach; ++i) {
    base[i] = columns.at[i].offset(p.pixels, p.out.channels);
  }
  for (int k = warp * Lanes::kDown + lane / Lanes::kAcross; k < kRows;
       k += kHalfWarps * Lanes::kDown) {
    const int in_group = part * kRows + k;
    if (in_group >= p.out.count) break;
    T* const line = out + p.out.offset(p.pixels, group, in_group);
    const T* const from = shared + k * kRightLine + columns.first;
#pragma unroll
    for (int i = 0; i < Lanes::kEach; ++i) {
      if (!columns.inside[i]) continue;
      using Vector = Numbers<T, kVector>;
      *reinterpret_cast<Vector*>(line + base[i]) =
          *reinterpret_cast<const Vector*>(from + i * Lanes::kAcross * kVector);
    }
  }
}

/*! One call of `wide_gradient_half`: rows of the head times rows of the data, over all pixels. */
struct HalfGradient {
  int groups;
  Rows rows, columns;  // of the head, of what entered
  int row_parts, column_parts;
  int slices;
  int64_t slice;  // pixels of one; a multiple of kHalfDepth
  bool add;       // to what is there
  Pixels pixels;

  int64_t blocks() const {
    return static_cast<int64_t>(slices) * groups * row_parts * column_parts;
  }
};

constexpr int kHalfTile = 128;  // rows and columns of a block

/*! `kVector` as in `wide_mix_half`. Both sides lie along pixels, as the matrix units take them. */
template <typename T, int kVector>
__global__ void __launch_bounds__(kHalfThreads, 2)
    wide_gradient_half(HalfGradient p, const T* __restrict__ head, const T* __restrict__ data,
                       float* __restrict__ partial) {
  constexpr int kLine = kHalfDepth + kHalfPad;
  constexpr int kSize = kHalfTile * kLine;
  constexpr int kVectors = kHalfDepth / kVector;  // of a row
  constexpr int kLines = kHalfThreads / kVectors;
  alignas(16) __shared__ T shared[4 * kSize];
  __shared__ int row_offsets[kHalfTile], column_offsets[kHalfTile];
  const int lane = threadIdx.x % kLanes;
  const int warp = threadIdx.x / kLanes;
  int64_t block = blockIdx.x;
  const int first_column = static_cast<int>(block % p.column_parts) * kHalfTile;
  block /= p.column_parts;
  const int first_row = static_cast<int>(block % p.row_parts) * kHalfTile;
  block /= p.row_parts;
  const int group = static_cast<int>(block % p.groups);
  const int slice = static_cast<int>(block / p.groups);
  const int64_t first = slice * p.slice;
  const int64_t last = min(first + p.slice, p.pixels.count);
  const int64_t steps = first < last ? (last - first + kHalfDepth - 1) / kHalfDepth : 0;
  const int my_pixel = threadIdx.x % kVectors * kVector;
  const int my_line = threadIdx.x / kVectors;
  PixelPlace place(p.pixels, min(first + my_pixel, p.pixels.count - 1));

  find_offsets(p.rows, p.pixels, group, first_row, kHalfTile, row_offsets);
  find_offsets(p.columns, p.pixels, group, first_column, kHalfTile, column_offsets);
  __syncthreads();
  const auto fetch_side = [&](const Rows& rows, const T* from, const int* offsets, T* to,
                              bool there) {
    const T* const base = there ? from + place.offset(p.pixels, rows.channels) : from;
    constexpr int kTogether = kVector == 1 ? 8 : kHalfTile / kLines;  // what registers hold
#pragma unroll kTogether
    for (int j = 0; j < kHalfTile / kLines; ++j) {
      const int i = j * kLines + my_line;
      const bool valid = there && offsets[i] >= 0;
      copy_numbers<kVector>(to + i * kLine + my_pixel, base + (valid ? offsets[i] : 0), valid);
    }
  };
  const auto fetch = [&](int64_t step) {  // in turn: `place` goes on with each
    if (step < steps) {
      T* const left = shared + step % 2 * (2 * kSize);
      const bool there = first + step * kHalfDepth + my_pixel < last;
      fetch_side(p.rows, head, row_offsets, left, there);
      fetch_side(p.columns, data, column_offsets, left + kSize, there);
      place.place += kHalfDepth;
      while (place.place >= p.pixels.plane) {
        place.place -= p.pixels.plane;
        ++place.image;
      }
    }
    end_batch();
  };

  float sum[2][8][4] = {};
  const int my_row = warp / 2 * 32;
  const int my_column = warp % 2 * 64;
  fetch(0);
  for (int64_t step = 0; step < steps; ++step) {
    fetch(step + 1);
    wait_for_copies<1>();
    __syncthreads();
    const T* const left = shared + step % 2 * (2 * kSize);
    const T* const right = left + kSize;
#pragma unroll
    for (int k = 0; k < kHalfDepth; k += 16) {
      unsigned of_rows[2][4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        load_matrices<false>(left + (my_row + 16 * i + lane % 16) * kLine + k + lane / 16 * 8,
                             of_rows[i]);
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        unsigned of_columns[4];
        load_matrices<false>(right + (my_column + 16 * j + lane % 8 + lane / 16 * 8) * kLine + k +
                                 lane / 8 % 2 * 8,
                             of_columns);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          multiply_add<T>(of_rows[i], of_columns[0], of_columns[1], sum[i][2 * j]);
          multiply_add<T>(of_rows[i], of_columns[2], of_columns[3], sum[i][2 * j + 1]);
        }
      }
    }
    __syncthreads();  // the next but one step goes where this one was
  }
  partial += (static_cast<int64_t>(slice) * p.groups + group) * p.rows.count * p.columns.count;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int row = first_row + my_row + 16 * i + 8 * (k / 2) + lane / 4;
        const int column = first_column + my_column + 8 * j + lane % 4 * 2 + k % 2;
        if (row >= p.rows.count || column >= p.columns.count) continue;
        float* const to = partial + static_cast<int64_t>(row) * p.columns.count + column;
        *to = p.add ? *to + sum[i][j][k] : sum[i][j][k];
      }
    }
  }
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_WIDE_HALF_H_
