/*!
 * The products of wide groups by the matrix units; sums are float32. Numbers of 16 bits are taken as
 * they are. Those of float32 are cut in two (`split`), and three products of the pieces are added up.
 */
#ifndef IGC_OPERATOR_CUDA_WIDE_UNITS_H_
#define IGC_OPERATOR_CUDA_WIDE_UNITS_H_

#include <algorithm>
#include <cstdint>

#include "activation.cuh"
#include "async.cuh"
#include "matrix_units.cuh"
#include "mix.cuh"
#include "wide.cuh"

namespace igc::cuda {

constexpr int kUnitSide = 32;   // a warp has so many rows times so many columns of sums
constexpr int kUnitStages = 4;  // steps in shared memory

/*! Numbers of 16 bytes: of a row that the matrix units load, or of the padding behind each. */
template <typename T>
constexpr int kWord = 16 / static_cast<int>(sizeof(T));

/*! Of a step: entering channels, or pixels. */
template <typename T>
constexpr int kUnitDepth = 4 * kWord<T>;

/*! From one row that lies along a step to the next; eight of them begin in different banks. */
template <typename T>
constexpr int kUnitLine = kUnitDepth<T> + kWord<T>;

/*! From one row of pixels to the next, likewise. */
constexpr int kPixelLine = kTilePixels + 8;

/*! The sums of a warp: halves of its rows, quarters of its columns, as `multiply_add` has them. */
using UnitSums = float[2][4][4];

/*!
 * Load 16 columns of a warp's right side, kWord rows from `right` on: of eight columns the upper and
 * the lower half, then of the next eight. `kAlong`: columns lie along a step, else along pixels.
 */
template <bool kAlong, typename T>
__device__ inline void load_columns(const T* right, unsigned (&found)[4]) {
  const int lane = threadIdx.x % kLanes;
  if constexpr (kAlong) {
    load_matrices<false>(
        right + (lane % 8 + lane / 16 * 8) * kUnitLine<T> + lane / 8 % 2 * kWord<T>, found);
  } else if constexpr (sizeof(T) == 2) {
    load_matrices<true>(right + lane % 16 * kPixelLine + lane / 16 * 8, found);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      found[i] = bits_of(right[(lane % 4 + i % 2 * 4) * kPixelLine + i / 2 * 8 + lane / 4]);
    }
  }
}

/*! Load 16 rows of a warp's left side, which lie along a step, kLine numbers from one to the next. */
template <int kLine, typename T>
__device__ inline void load_rows(const T* left, unsigned (&found)[4]) {
  const int lane = threadIdx.x % kLanes;
  load_matrices<false>(left + lane % 16 * kLine + lane / 16 * kWord<T>, found);
}

/*!
 * Add the products of a step, of 16 bits. `rows(k, i, found)` loads the i-th 16 rows from column k of
 * the left side on, `columns(k, j, found)` the j-th 16 columns from row k of the right side on, as
 * `load_columns` has them.
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

/*! One call of `wide_mix_units`: out = weights * in, group by group. */
struct UnitMix {
  int groups;
  Rows in, out;
  int parts;  // blocks that share a group's rows
  int depth;  // in.count, rounded up as weights are packed
  Pixels pixels;

  int64_t blocks() const {
    return (pixels.count + kTilePixels - 1) / kTilePixels * groups * parts;
  }
};

/*! Warps beside each other along a tile's pixels. */
constexpr int kPixelWarps = kTilePixels / kUnitSide;

/*! The threads of a block that has so many output channels. */
IGC_HOST_DEVICE constexpr int unit_threads(int rows) { return rows / kUnitSide * kPixelWarps * kLanes; }

/*! Threads whose registers a multiprocessor has, with 128 of them each. */
constexpr int kUnitThreads = 512;

/*! The shared memory of such a block in numbers, of one step and in all. */
template <typename T>
IGC_HOST_DEVICE constexpr int mix_stage(int rows) {
  return rows * kUnitLine<T> + kUnitDepth<T> * kPixelLine;
}
/*!
 * Behind the steps lie the channels of the rows that leave and, for each row that enters, where it
 * begins in an image.
 */
template <typename T>
IGC_HOST_DEVICE constexpr int mix_numbers(int rows) {
  return kUnitStages * mix_stage<T>(rows);
}
template <typename T>
constexpr size_t mix_bytes(int rows, int depth) {
  return mix_numbers<T>(rows) * sizeof(T) + (rows + depth) * sizeof(int);
}

/*!
 * A block has kRows output channels, for the pixels of a tile. `kVector`: 8 (in 16 bits) or 4 where
 * maps are whole, aligned vectors, else 1.
 */
template <typename T, int kRows, int kVector>
__global__ void __launch_bounds__(unit_threads(kRows), kUnitThreads / unit_threads(kRows))
    wide_mix_units(UnitMix p, const T* __restrict__ data, const T* __restrict__ weights,
                   Finish<T> finish, T* __restrict__ out) {
  using Lanes = Columns<kVector>;
  constexpr int kDepth = kUnitDepth<T>;
  constexpr int kWarps = unit_threads(kRows) / kLanes;
  constexpr int kLeft = kRows * kUnitLine<T>;
  extern __shared__ uint4 asked_memory[];
  T* const shared = reinterpret_cast<T*>(asked_memory);
  int* const leaving = reinterpret_cast<int*>(shared + mix_numbers<T>(kRows));
  int* const offsets = leaving + kRows;
  const int lane = threadIdx.x % kLanes;
  const int warp = threadIdx.x / kLanes;
  const int part = static_cast<int>(blockIdx.x % p.parts);
  const int group = static_cast<int>(blockIdx.x / p.parts % p.groups);
  const int64_t tile = blockIdx.x / p.parts / p.groups;
  const Lanes lanes(p.pixels, tile, lane);
  int64_t base[Lanes::kEach];
#pragma unroll
  for (int i = 0; i < Lanes::kEach; ++i) {
    base[i] = lanes.at[i].offset(p.pixels, p.in.channels);
  }
  // a step's weights are a word for each thread
  constexpr int kWords = kDepth / kWord<T>;  // of a row
  static_assert(kRows * kWords == kWarps * kLanes, "threads and words");
  const int left_row = static_cast<int>(threadIdx.x) / kWords;
  const int left_place = static_cast<int>(threadIdx.x) % kWords * kWord<T>;
  const int my_left = left_row * kUnitLine<T> + left_place;
  const int64_t row_of_all = (static_cast<int64_t>(group) * p.parts + part) * kRows + left_row;
  const T* const packed = weights + row_of_all * p.depth + left_place;
  const int steps = p.depth / kDepth;
  find_offsets(p.in, p.pixels, group, 0, p.depth, offsets);
  if (static_cast<int>(threadIdx.x) < kRows) {
    const int in_group = part * kRows + static_cast<int>(threadIdx.x);
    leaving[threadIdx.x] =
        in_group < p.out.count ? p.out.map(group * p.out.count + in_group) : -1;
  }
  __syncthreads();

  const auto fetch = [&](int step) {
    if (step < steps) {
      T* const left = shared + step % kUnitStages * mix_stage<T>(kRows);
      T* const right = left + kLeft;
      copy_async<16>(left + my_left, packed + step * kDepth, true);
      const int down = lane / Lanes::kAcross;
#pragma unroll
      for (int j = 0; j < kDepth; j += kWarps * Lanes::kDown) {
        const int k = j + warp * Lanes::kDown + down;
        const int offset = offsets[step * kDepth + k];
        const bool there = offset >= 0;
        const T* const line = data + (there ? offset : 0);
        T* const to = right + k * kPixelLine + lanes.first;
#pragma unroll
        for (int i = 0; i < Lanes::kEach; ++i) {
          copy_numbers<kVector>(to + i * Lanes::kAcross * kVector, line + base[i],
                                there && lanes.inside[i]);
        }
      }
    }
    end_batch();
  };

  UnitSums sum = {};
  const int my_row = warp / kPixelWarps * kUnitSide;
  const int my_pixel = warp % kPixelWarps * kUnitSide;
  const bool active = part * kRows + my_row < p.out.count;
#pragma unroll
  for (int step = 0; step < kUnitStages - 1; ++step) fetch(step);
  for (int step = 0; step < steps; ++step) {
    wait_for_copies<kUnitStages - 2>();
    __syncthreads();
    fetch(step + kUnitStages - 1);  // to where all have done with the step before
    const T* const stage = shared + step % kUnitStages * mix_stage<T>(kRows);
    const T* const left = stage + my_row * kUnitLine<T>;
    const T* const right = stage + kLeft + my_pixel;
    const auto rows = [&](int k, int i, unsigned (&found)[4]) {
      load_rows<kUnitLine<T>>(left + 16 * i * kUnitLine<T> + k, found);
    };
    const auto columns = [&](int k, int j, unsigned (&found)[4]) {
      load_columns<false>(right + k * kPixelLine + 16 * j, found);
    };
    if (active) add_step<T>(rows, columns, sum);
  }
  __syncthreads();

  // to shared memory first, so that rows are written as they lie
  float* const results = reinterpret_cast<float*>(asked_memory);
  static_assert(kRows * kPixelLine * sizeof(float) <= mix_numbers<T>(kRows) * sizeof(T), "room");
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = my_row + 16 * i + 8 * half + lane / 4;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        using Pair = Numbers<float, 2>;
        *reinterpret_cast<Pair*>(results + row * kPixelLine + my_pixel + 8 * j + lane % 4 * 2) = {
            {sum[i][j][2 * half], sum[i][j][2 * half + 1]}};
      }
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < Lanes::kEach; ++i) {
    base[i] = lanes.at[i].offset(p.pixels, p.out.channels);
  }
  for (int k = warp * Lanes::kDown + lane / Lanes::kAcross; k < kRows;
       k += kWarps * Lanes::kDown) {
    const int channel = leaving[k];
    if (channel < 0) break;
    const float bias = finish.bias == nullptr ? 0.0f : finish.bias[channel];
    const int64_t line = static_cast<int64_t>(channel) * p.pixels.plane;
    const float* const from = results + k * kPixelLine + lanes.first;
#pragma unroll
    for (int i = 0; i < Lanes::kEach; ++i) {
      if (!lanes.inside[i]) continue;
      using Vector = Numbers<T, kVector>;
      Vector numbers;
      Vector more = {};
      if (finish.residual != nullptr) {
        more = *reinterpret_cast<const Vector*>(finish.residual + line + base[i]);
      }
      constexpr int kRead = kVector < 4 ? kVector : 4;
#pragma unroll
      for (int v = 0; v < kVector; v += kRead) {
        const auto sums = *reinterpret_cast<const Numbers<float, kRead>*>(
            from + i * Lanes::kAcross * kVector + v);
#pragma unroll
        for (int w = 0; w < kRead; ++w) {
          const float number = sums.at[w] + bias + widen(more.at[v + w]);
          numbers.at[v + w] = narrow<T>(activated(number, finish.activation));
        }
      }
      *reinterpret_cast<Vector*>(out + line + base[i]) = numbers;
    }
  }
}

/*! One call of `wide_gradient_units`: rows of the head times rows of the data, over all pixels. */
struct UnitGradient {
  int groups;
  Rows rows, columns;  // of the head, of what entered
  int row_parts, column_parts;
  int slices;
  int64_t slice;  // pixels of one; a multiple of a step
  bool add;       // to what is there
  Pixels pixels;

  int64_t blocks() const {
    return static_cast<int64_t>(slices) * groups * row_parts * column_parts;
  }
};

/*! The threads of a block with a square of so many rows and columns, and its shared memory. */
IGC_HOST_DEVICE constexpr int square_threads(int side) { return side / kUnitSide * (side / kUnitSide) * kLanes; }
template <typename T>
constexpr int square_numbers(int side) {
  return kUnitStages * 2 * side * kUnitLine<T>;
}

/*! `kVector` as in `wide_mix_units`. Both sides lie along pixels, as the matrix units take them. */
template <typename T, int kSquare, int kVector>
__global__ void __launch_bounds__(square_threads(kSquare), kUnitThreads / square_threads(kSquare))
    wide_gradient_units(UnitGradient p, const T* __restrict__ head, const T* __restrict__ data,
                        float* __restrict__ partial) {
  constexpr int kDepth = kUnitDepth<T>;
  constexpr int kSize = kSquare * kUnitLine<T>;
  constexpr int kWarps = kSquare / kUnitSide;  // of a side
  constexpr int kVectors = kDepth / kVector;   // of a row
  constexpr int kLines = square_threads(kSquare) / kVectors;
  extern __shared__ uint4 asked_memory[];
  T* const shared = reinterpret_cast<T*>(asked_memory);
  __shared__ int row_offsets[kSquare], column_offsets[kSquare];
  const int lane = threadIdx.x % kLanes;
  const int warp = threadIdx.x / kLanes;
  int64_t block = blockIdx.x;
  const int first_column = static_cast<int>(block % p.column_parts) * kSquare;
  block /= p.column_parts;
  const int first_row = static_cast<int>(block % p.row_parts) * kSquare;
  block /= p.row_parts;
  const int group = static_cast<int>(block % p.groups);
  const int slice = static_cast<int>(block / p.groups);
  const int64_t first = slice * p.slice;
  const int64_t last = min(first + p.slice, p.pixels.count);
  const int64_t steps = first < last ? (last - first + kDepth - 1) / kDepth : 0;
  const int my_pixel = threadIdx.x % kVectors * kVector;
  const int my_line = threadIdx.x / kVectors;
  PixelPlace place(p.pixels, min(first + my_pixel, p.pixels.count - 1));

  find_offsets(p.rows, p.pixels, group, first_row, kSquare, row_offsets);
  find_offsets(p.columns, p.pixels, group, first_column, kSquare, column_offsets);
  __syncthreads();
  const auto fetch_side = [&](const Rows& rows, const T* from, const int* offsets, T* to,
                              bool there) {
    const T* const base = there ? from + place.offset(p.pixels, rows.channels) : from;
#pragma unroll
    for (int j = 0; j < kSquare / kLines; ++j) {
      const int i = j * kLines + my_line;
      const bool valid = there && offsets[i] >= 0;
      copy_numbers<kVector>(to + i * kUnitLine<T> + my_pixel, base + (valid ? offsets[i] : 0),
                            valid);
    }
  };
  const auto fetch = [&](int64_t step) {  // in turn: `place` goes on with each
    if (step < steps) {
      T* const left = shared + step % kUnitStages * (2 * kSize);
      const bool there = first + step * kDepth + my_pixel < last;
      fetch_side(p.rows, head, row_offsets, left, there);
      fetch_side(p.columns, data, column_offsets, left + kSize, there);
      place.place += kDepth;
      while (place.place >= p.pixels.plane) {
        place.place -= p.pixels.plane;
        ++place.image;
      }
    }
    end_batch();
  };

  UnitSums sum = {};
  // so that those of one row, and those of one column, share the multiprocessor's four schedulers
  const int my_row = warp / kWarps * kUnitSide;
  const int my_column = (warp + warp / kWarps) % kWarps * kUnitSide;
  const bool active =
      first_row + my_row < p.rows.count && first_column + my_column < p.columns.count;
#pragma unroll
  for (int step = 0; step < kUnitStages - 1; ++step) fetch(step);
  for (int64_t step = 0; step < steps; ++step) {
    wait_for_copies<kUnitStages - 2>();
    __syncthreads();
    fetch(step + kUnitStages - 1);  // to where all have done with the step before
    const T* const stage = shared + step % kUnitStages * (2 * kSize);
    const T* const left = stage + my_row * kUnitLine<T>;
    const T* const right = stage + kSize + my_column * kUnitLine<T>;
    const auto rows = [&](int k, int i, unsigned (&found)[4]) {
      load_rows<kUnitLine<T>>(left + 16 * i * kUnitLine<T> + k, found);
    };
    const auto columns = [&](int k, int j, unsigned (&found)[4]) {
      load_columns<true>(right + 16 * j * kUnitLine<T> + k, found);
    };
    if (active) add_step<T>(rows, columns, sum);
  }
  partial += (static_cast<int64_t>(slice) * p.groups + group) * p.rows.count * p.columns.count;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
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

#endif  // IGC_OPERATOR_CUDA_WIDE_UNITS_H_
