/*! The products of wide groups in float32, by the arithmetic units: each sum is exact float32. */
#ifndef IGC_OPERATOR_CUDA_WIDE_FLOAT_H_
#define IGC_OPERATOR_CUDA_WIDE_FLOAT_H_

#include <cstdint>

#include "activation.cuh"
#include "async.cuh"
#include "mix.cuh"
#include "wide.cuh"

namespace igc::cuda {

constexpr int kSide = 8;          // a thread has kSide rows times kSide columns of sums
constexpr int kRowsOfWarp = 16;   // two threads across, sixteen along the pixels
constexpr int kMostRowWarps = 8;  // of a block
constexpr int kDepth = 8;         // of a step: entering channels, or pixels
constexpr int kStages = 4;        // steps in shared memory

/*! One call of `wide_mix`: out = weights * in, group by group. */
struct WideMix {
  int groups;
  Rows in, out;
  int warps, parts;  // of a block, and the blocks that share a group's rows
  int depth;         // in.count, rounded up as weights are packed
  Pixels pixels;

  IGC_HOST_DEVICE int rows_of_block() const { return warps * kRowsOfWarp; }
  int64_t blocks() const {
    return (pixels.count + kTilePixels - 1) / kTilePixels * groups * parts;
  }
};

/*! Add the products of a column of rows and one of columns to a thread's sums. */
__device__ inline void add_products(const Strip<float> (&left)[2], const Strip<float> (&right)[2],
                                    float (&sum)[kSide][kSide]) {
#pragma unroll
  for (int i = 0; i < kSide; ++i) {
#pragma unroll
    for (int j = 0; j < kSide; ++j) sum[i][j] += left[i / 4].at[i % 4] * right[j / 4].at[j % 4];
  }
}

/*! `kVector`: 4 where maps are whole, aligned strips, else 1. */
template <int kVector>
__global__ void __launch_bounds__(kMostRowWarps* kLanes, 2)
    wide_mix(WideMix p, const float* __restrict__ data, const float* __restrict__ weights,
             Finish<float> finish, float* __restrict__ out) {
  using Lanes = Columns<kVector>;
  alignas(16) __shared__ float left[kStages][kDepth][kMostRowWarps * kRowsOfWarp];
  alignas(16) __shared__ float right[kStages][kDepth][kTilePixels];
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
  // a step's weights are two words for each lane of a block's warp
  const int rows = p.rows_of_block();
  const int words = rows / 4;
  const int my_depth = static_cast<int>(threadIdx.x) / words;
  const int my_word = static_cast<int>(threadIdx.x) % words * 4;
  const int all_rows = rows * p.parts;
  const float* const packed =
      weights + (static_cast<int64_t>(group) * p.depth + my_depth) * all_rows + part * rows +
      my_word;
  const int steps = p.depth / kDepth;

  const auto fetch = [&](int step) {
    if (step < steps) {
      const int stage = step % kStages;
      copy_async<16>(&left[stage][my_depth][my_word],
                     packed + static_cast<int64_t>(step) * kDepth * all_rows, true);
      for (int k = warp; k < kDepth; k += p.warps) {
        const int row = step * kDepth + k;
        const bool there = row < p.in.count;
        const float* const line = data + p.in.offset(p.pixels, group, there ? row : 0);
#pragma unroll
        for (int i = 0; i < Lanes::kEach; ++i) {
          copy_async<4 * kVector>(&right[stage][k][columns.first + i * Lanes::kAcross * kVector],
                                  line + base[i], there && columns.inside[i]);
        }
      }
    }
    end_batch();
  };

  float sum[kSide][kSide] = {};
  // neighbouring lanes have the same pixels: the reads of both are then one
  const int my_row = warp * kRowsOfWarp + lane % 2 * kSide;
  const int my_pixel = lane / 2 * 4;
#pragma unroll
  for (int step = 0; step < kStages - 1; ++step) fetch(step);
  for (int step = 0; step < steps; ++step) {
    wait_for_copies<kStages - 2>();
    __syncthreads();
    fetch(step + kStages - 1);  // to where all have done with the step before
    const int stage = step % kStages;
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      Strip<float> of_rows[2], of_pixels[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        of_rows[i] = *reinterpret_cast<const Strip<float>*>(&left[stage][k][my_row + 4 * i]);
        of_pixels[i] = *reinterpret_cast<const Strip<float>*>(
            &right[stage][k][my_pixel + kTilePixels / 2 * i]);
      }
      add_products(of_rows, of_pixels, sum);
    }
  }

  PixelPlace places[kSide / kVector];
  bool inside[kSide / kVector];
#pragma unroll
  for (int i = 0; i < kSide / kVector; ++i) {
    const int pixel = i * kVector;
    const int64_t at = tile * kTilePixels + pixel / 4 * (kTilePixels / 2) + my_pixel + pixel % 4;
    inside[i] = at < p.pixels.count;
    places[i] = inside[i] ? PixelPlace(p.pixels, at) : PixelPlace();
  }
#pragma unroll
  for (int j = 0; j < kSide; ++j) {
    const int row = part * rows + my_row + j;
    if (row >= p.out.count) return;
    const int channel = p.out.map(group * p.out.count + row);
    const float bias = finish.bias == nullptr ? 0.0f : finish.bias[channel];
#pragma unroll
    for (int i = 0; i < kSide / kVector; ++i) {
      if (!inside[i]) continue;
      const int64_t at = places[i].offset(p.pixels, p.out.channels) +
                         static_cast<int64_t>(channel) * p.pixels.plane;
      float numbers[kVector];
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        const float more = finish.residual == nullptr ? 0.0f : finish.residual[at + k];
        numbers[k] = activated(sum[j][i * kVector + k] + bias + more, finish.activation);
      }
      if constexpr (kVector == 4) {
        *reinterpret_cast<Strip<float>*>(out + at) = {
            {numbers[0], numbers[1], numbers[2], numbers[3]}};
      } else {
        out[at] = numbers[0];
      }
    }
  }
}

/*! One call of `wide_gradient`: rows of the head times rows of the data, over all pixels. */
struct WideGradient {
  int groups;
  Rows rows, columns;     // of the head, of what entered
  int down, across;       // octets of a block: rows, columns
  int row_parts, column_parts;
  int slices;
  int64_t slice;  // pixels of one; a multiple of kDepth
  bool add;       // to what is there
  Pixels pixels;

  int64_t blocks() const {
    return static_cast<int64_t>(slices) * groups * row_parts * column_parts;
  }
  int threads() const {
    return rounded_up(std::max(rounded_up(down, 2) * across, 2 * kLanes), kLanes);
  }
};

/*!
 * The gradient of weights. Channels lie along pixels in memory; a step's kDepth pixels of each are
 * turned on their way to shared memory.
 */
template <int kMostThreads>
__global__ void __launch_bounds__(kMostThreads, 2)
    wide_gradient(WideGradient p, const float* __restrict__ head, const float* __restrict__ data,
                  float* __restrict__ partial) {
  constexpr int kLine = 16 * kSide + 4;  // kDepth lines of four rows are then in different banks
  alignas(16) __shared__ float left[kStages][kDepth][kLine];
  alignas(16) __shared__ float right[kStages][kDepth][kLine];
  __shared__ int row_offsets[16 * kSide], column_offsets[16 * kSide];
  int64_t block = blockIdx.x;
  const int column_part = static_cast<int>(block % p.column_parts);
  block /= p.column_parts;
  const int row_part = static_cast<int>(block % p.row_parts);
  block /= p.row_parts;
  const int group = static_cast<int>(block % p.groups);
  const int slice = static_cast<int>(block / p.groups);
  const int first_row = row_part * p.down * kSide;
  const int first_column = column_part * p.across * kSide;
  const int64_t first = slice * p.slice;
  const int64_t last = min(first + p.slice, p.pixels.count);
  const int my_pixel = threadIdx.x % kDepth;
  const int my_line = threadIdx.x / kDepth;
  const int lines = blockDim.x / kDepth;
  const int64_t steps = first < last ? (last - first + kDepth - 1) / kDepth : 0;
  PixelPlace place(p.pixels, min(first + my_pixel, p.pixels.count - 1));

  find_offsets(p.rows, p.pixels, group, first_row, p.down * kSide, row_offsets);
  find_offsets(p.columns, p.pixels, group, first_column, p.across * kSide, column_offsets);
  __syncthreads();
  const auto fetch_side = [&](const Rows& rows, const float* from, const int* offsets, int octets,
                              float (&to)[kDepth][kLine], bool there) {
    const float* const base = there ? from + place.offset(p.pixels, rows.channels) : from;
#pragma unroll 4
    for (int i = my_line; i < octets * kSide; i += lines) {
      const bool valid = there && offsets[i] >= 0;
      copy_async<4>(&to[my_pixel][i], base + (valid ? offsets[i] : 0), valid);
    }
  };
  const auto fetch = [&](int64_t step) {  // in turn: `place` goes on with each
    if (step < steps) {
      const int stage = static_cast<int>(step % kStages);
      const bool there = first + step * kDepth + my_pixel < last;
      fetch_side(p.rows, head, row_offsets, p.down, left[stage], there);
      fetch_side(p.columns, data, column_offsets, p.across, right[stage], there);
      place.place += kDepth;
      while (place.place >= p.pixels.plane) {
        place.place -= p.pixels.plane;
        ++place.image;
      }
    }
    end_batch();
  };

  float sum[kSide][kSide] = {};
  // neighbouring threads have the same columns, as in `wide_mix`
  const int pair = static_cast<int>(threadIdx.x) / 2;
  const int own = pair / p.across * 2 + static_cast<int>(threadIdx.x) % 2;
  const bool active = own < p.down;
  const int down = active ? own : 0;
  const int across = pair % p.across;
#pragma unroll
  for (int step = 0; step < kStages - 1; ++step) fetch(step);
  for (int64_t step = 0; step < steps; ++step) {
    wait_for_copies<kStages - 2>();
    __syncthreads();
    fetch(step + kStages - 1);
    const int stage = static_cast<int>(step % kStages);
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      Strip<float> of_rows[2], of_columns[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        of_rows[i] = *reinterpret_cast<const Strip<float>*>(&left[stage][k][down * kSide + 4 * i]);
        of_columns[i] = *reinterpret_cast<const Strip<float>*>(
            &right[stage][k][across * 4 + p.across * 4 * i]);
      }
      add_products(of_rows, of_columns, sum);
    }
  }
  if (!active) return;
  partial += (static_cast<int64_t>(slice) * p.groups + group) * p.rows.count * p.columns.count;
#pragma unroll
  for (int i = 0; i < kSide; ++i) {
    const int row = first_row + down * kSide + i;
    if (row >= p.rows.count) return;
#pragma unroll
    for (int j = 0; j < kSide; ++j) {
      const int column = first_column + across * 4 + j / 4 * (p.across * 4) + j % 4;
      if (column >= p.columns.count) continue;
      float* const to = partial + static_cast<int64_t>(row) * p.columns.count + column;
      *to = p.add ? *to + sum[i][j] : sum[i][j];
    }
  }
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_WIDE_FLOAT_H_
