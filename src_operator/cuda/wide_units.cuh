/*! The products of wide groups by the matrix units. */
#ifndef IGC_OPERATOR_CUDA_WIDE_UNITS_H_
#define IGC_OPERATOR_CUDA_WIDE_UNITS_H_

#include <algorithm>
#include <cstdint>

#include "activation.cuh"
#include "async.cuh"
#include "mix.cuh"
#include "unit_sums.cuh"
#include "wide.cuh"

namespace igc::cuda {

constexpr int kUnitStages = 4;  // steps in shared memory

/*!
 * Load 16 columns of a warp's right side from `right` on, as `add_halves` takes them. `kAlong`:
 * columns lie along a step, else along pixels.
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

/*! One call of `wide_mix_units`: out = weights * in, group by group. */
struct UnitMix {
  int groups;
  Rows in, out;
  int parts;  // blocks that share a group's rows
  int depth;  // in.count, rounded up as weights are packed
  Pixels from, pixels;  // of what enters, where they may be one map; of what leaves

  int64_t blocks() const {
    return (pixels.count + kTilePixels - 1) / kTilePixels * groups * parts;
  }
};

/*! The threads of a block that has so many output channels. */
IGC_HOST_DEVICE constexpr int unit_threads(int rows) {
  return rows / kUnitSide * kPixelWarps * kLanes;
}

/*! The numbers of one step, and of all that are in shared memory at a time. */
template <typename T>
IGC_HOST_DEVICE constexpr int mix_stage(int rows) {
  return rows * kUnitLine<T> + kUnitDepth<T> * kPixelLine;
}
template <typename T>
IGC_HOST_DEVICE constexpr int mix_numbers(int rows) {
  return kUnitStages * mix_stage<T>(rows);
}

/*!
 * The shared memory of a block: behind the steps lie the channels of the rows that leave and, for
 * each row that enters, where it begins in an image.
 */
template <typename T>
constexpr size_t mix_bytes(int rows, int depth) {
  return mix_numbers<T>(rows) * sizeof(T) + (rows + depth) * sizeof(int);
}

/*!
 * A block has kRows output channels, for the pixels of a tile. `kVector`, `kOut`: 8 (in 16 bits) or
 * 4 where the maps that enter, or leave, are whole, aligned vectors, else 1.
 */
template <typename T, int kRows, int kVector, int kOut>
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
  const Lanes lanes(p.from, tile, lane);
  int64_t base[Lanes::kEach];
#pragma unroll
  for (int i = 0; i < Lanes::kEach; ++i) {
    base[i] = lanes.at[i].offset(p.from, p.in.channels);
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
  find_offsets(p.in, p.from, group, 0, p.depth, offsets);
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
  store_sums(sum, results + my_row * kPixelLine + my_pixel);
  __syncthreads();
  using Leaving = Columns<kOut>;
  const Leaving to(p.pixels, tile, lane);
  int64_t begin[Leaving::kEach];
#pragma unroll
  for (int i = 0; i < Leaving::kEach; ++i) begin[i] = to.at[i].offset(p.pixels, p.out.channels);
  for (int k = warp * Leaving::kDown + lane / Leaving::kAcross; k < kRows;
       k += kWarps * Leaving::kDown) {
    const int channel = leaving[k];
    if (channel < 0) break;
    const float bias = finish.bias == nullptr ? 0.0f : finish.bias[channel];
    const int64_t line = static_cast<int64_t>(channel) * p.pixels.plane;
    const float* const from = results + k * kPixelLine + to.first;
#pragma unroll
    for (int i = 0; i < Leaving::kEach; ++i) {
      if (!to.inside[i]) continue;
      using Vector = Numbers<T, kOut>;
      Vector numbers;
      Vector more = {};
      if (finish.residual != nullptr) {
        more = *reinterpret_cast<const Vector*>(finish.residual + line + begin[i]);
      }
      constexpr int kRead = kOut < 4 ? kOut : 4;
#pragma unroll
      for (int v = 0; v < kOut; v += kRead) {
        const auto sums = *reinterpret_cast<const Numbers<float, kRead>*>(
            from + i * Leaving::kAcross * kOut + v);
#pragma unroll
        for (int w = 0; w < kRead; ++w) {
          const float number = sums.at[w] + bias + widen(more.at[v + w]);
          numbers.at[v + w] = narrow<T>(activated(number, finish.activation));
        }
      }
      *reinterpret_cast<Vector*>(out + line + begin[i]) = numbers;
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

/*! A block has so many rows and columns of the weights; its threads, and its shared memory. */
constexpr int kUnitSquare = 64;
constexpr int kSquareThreads = kUnitSquare / kUnitSide * (kUnitSquare / kUnitSide) * kLanes;
template <typename T>
constexpr int kSquareNumbers = kUnitStages * 2 * kUnitSquare * kUnitLine<T>;

/*! `kVector` as in `wide_mix_units`. Both sides lie along pixels, as the matrix units take them. */
template <typename T, int kVector>
__global__ void __launch_bounds__(kSquareThreads, kUnitThreads / kSquareThreads)
    wide_gradient_units(UnitGradient p, const T* __restrict__ head, const T* __restrict__ data,
                        float* __restrict__ partial) {
  constexpr int kDepth = kUnitDepth<T>;
  constexpr int kSize = kUnitSquare * kUnitLine<T>;
  constexpr int kWarps = kUnitSquare / kUnitSide;  // of a side
  constexpr int kVectors = kDepth / kVector;       // of a row
  constexpr int kLines = kSquareThreads / kVectors;
  extern __shared__ uint4 asked_memory[];
  T* const shared = reinterpret_cast<T*>(asked_memory);
  __shared__ int row_offsets[kUnitSquare], column_offsets[kUnitSquare];
  const int warp = threadIdx.x / kLanes;
  int64_t block = blockIdx.x;
  const int first_column = static_cast<int>(block % p.column_parts) * kUnitSquare;
  block /= p.column_parts;
  const int first_row = static_cast<int>(block % p.row_parts) * kUnitSquare;
  block /= p.row_parts;
  const int group = static_cast<int>(block % p.groups);
  const int slice = static_cast<int>(block / p.groups);
  const int64_t first = slice * p.slice;
  const int64_t last = min(first + p.slice, p.pixels.count);
  const int64_t steps = first < last ? (last - first + kDepth - 1) / kDepth : 0;
  const int my_pixel = threadIdx.x % kVectors * kVector;
  const int my_line = threadIdx.x / kVectors;
  PixelPlace place(p.pixels, min(first + my_pixel, p.pixels.count - 1));

  find_offsets(p.rows, p.pixels, group, first_row, kUnitSquare, row_offsets);
  find_offsets(p.columns, p.pixels, group, first_column, kUnitSquare, column_offsets);
  __syncthreads();
  const auto fetch_side = [&](const Rows& rows, const T* from, const int* offsets, T* to,
                              bool there) {
    const T* const base = there ? from + place.offset(p.pixels, rows.channels) : from;
#pragma unroll
    for (int j = 0; j < kUnitSquare / kLines; ++j) {
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
  for_sums(sum, [&](int i, int j, float number) {
    const int row = first_row + my_row + i;
    const int column = first_column + my_column + j;
    if (row >= p.rows.count || column >= p.columns.count) return;
    float* const to = partial + static_cast<int64_t>(row) * p.columns.count + column;
    *to = p.add ? *to + number : number;
  });
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_WIDE_UNITS_H_
