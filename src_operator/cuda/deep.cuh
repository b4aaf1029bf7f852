/*!
 * The primary convolution of groups of many channels, 3x3 at stride 1 padded by 1, by the matrix
 * units: for each tap a product of weights and pixels that are moved by it. And its weights'
 * gradient.
 */
#ifndef IGC_OPERATOR_CUDA_DEEP_H_
#define IGC_OPERATOR_CUDA_DEEP_H_

#include <algorithm>
#include <cstdint>

#include "activation.cuh"
#include "async.cuh"
#include "by_channel.cuh"
#include "matrix_units.cuh"
#include "unit_sums.cuh"
#include "wide.cuh"

namespace igc::cuda {

constexpr int kDeepTaps = 9;
constexpr int kDeepThreads = kPixelWarps * kLanes;       // of `convolve_deep`: 32 channels
constexpr int kDeepGradientThreads = kDeepTaps * kLanes;  // of `deep_gradient`: a warp for each tap

/*! The tiles of maps: pixels of one image that follow each other, over its rows. */
struct DeepTiles {
  int height, width;

  IGC_HOST_DEVICE int plane() const { return height * width; }
  IGC_HOST_DEVICE int of_image() const { return (plane() + kTilePixels - 1) / kTilePixels; }
  /*! A row of shared memory: a map's, with a zero on each side. */
  IGC_HOST_DEVICE int line() const { return width + 2; }
  /*! The rows that a tile needs at most: those that it is in, one above, one below. */
  IGC_HOST_DEVICE int rows() const {
    const int most = (kTilePixels - 2) / width + 2;
    return (most < height ? most : height) + 2;
  }
  IGC_HOST_DEVICE int pixels() const { return rows() * line(); }
};

/*! One tile: its pixels, and where they lie in shared memory. */
struct DeepTile {
  __device__ DeepTile(const DeepTiles& tiles, int which)
      : tiles(tiles), first(which * kTilePixels) {
    count = min(kTilePixels, tiles.plane() - first);
    top = first / tiles.width - 1;
  }

  /*! Where a pixel lies; one that is not there, and counts for nothing, where the first does. */
  __device__ int place(int pixel) const {
    const int at = first + (pixel < count ? pixel : 0);
    const int y = at / tiles.width;
    return (y - top) * tiles.line() + at - y * tiles.width + 1;
  }

  DeepTiles tiles;
  int first, count;
  int top;  // the map's row that is the first one in shared memory
};

/*! How far from a pixel lies what a tap of the window reads. */
__device__ inline int moved_by(const DeepTiles& tiles, int tap) {
  return (tap / 3 - 1) * tiles.line() + tap % 3 - 1;
}

/*!
 * Copy kChannels channels of a tile's rows to shared memory, a line of kLine numbers for each
 * pixel; zeros beyond the map and from `channels` on. By all of kThreads threads.
 */
template <int kChannels, int kLine, int kThreads, typename T>
__device__ inline void fetch_pixels(const DeepTile& tile, const T* data, int channels, T* to) {
  const DeepTiles& tiles = tile.tiles;
  const int64_t plane = tiles.plane();
  for (int i = static_cast<int>(threadIdx.x); i < tiles.pixels(); i += kThreads) {
    const int row = i / tiles.line();
    const int y = tile.top + row;
    const int x = i - row * tiles.line() - 1;
    const bool inside = y >= 0 && y < tiles.height && x >= 0 && x < tiles.width;
    const T* const from = data + (inside ? y * tiles.width + x : 0);
    constexpr int kTogether = 4 / static_cast<int>(sizeof(T));  // one word of shared memory
#pragma unroll 4
    for (int k = 0; k < kChannels; k += kTogether) {
      if constexpr (kTogether == 1) {
        const bool there = inside && k < channels;
        copy_async<4>(to + i * kLine + k, from + (there ? k * plane : 0), there);
      } else {
        Numbers<T, kTogether> numbers = {};
#pragma unroll
        for (int m = 0; m < kTogether; ++m) {
          if (inside && k + m < channels) numbers.at[m] = from[(k + m) * plane];
        }
        *reinterpret_cast<Numbers<T, kTogether>*>(to + i * kLine + k) = numbers;
      }
    }
  }
}

/*! One call of `convolve_deep`. */
struct DeepConvolution {
  int groups, entering, leaving;  // channels of a group
  DeepTiles tiles;
  int64_t images;

  IGC_HOST_DEVICE int parts() const { return (leaving + kUnitSide - 1) / kUnitSide; }
  template <typename T>
  IGC_HOST_DEVICE int steps() const {
    return (entering + kUnitDepth<T> - 1) / kUnitDepth<T>;
  }
  int64_t blocks() const { return images * tiles.of_image() * groups * parts(); }
};

/*! A step's weights, for each tap 32 lines, as `pack_deep` has them. */
template <typename T>
constexpr int kDeepWeights = kDeepTaps * kUnitSide * kUnitDepth<T>;

/*! The shared memory of a block of `convolve_deep`. */
template <typename T>
size_t deep_bytes(const DeepTiles& tiles) {
  const int step = (kDeepTaps * kUnitSide + tiles.pixels()) * kUnitLine<T>;
  return std::max(step * sizeof(T), kUnitSide * kPixelLine * sizeof(float));
}

/*! What is packed for it: a group convolution's weights, or with `back` those of the way back. */
struct DeepWeights {
  int groups, leaving, entering;  // as stored
  bool back;

  IGC_HOST_DEVICE int rows() const { return back ? entering : leaving; }
  IGC_HOST_DEVICE int columns() const { return back ? leaving : entering; }
  IGC_HOST_DEVICE int parts() const { return (rows() + kUnitSide - 1) / kUnitSide; }
  template <typename T>
  IGC_HOST_DEVICE int64_t count() const {
    const int steps = (columns() + kUnitDepth<T> - 1) / kUnitDepth<T>;
    return static_cast<int64_t>(groups) * parts() * steps * kDeepWeights<T>;
  }
};

/*! Give each group, part, step, tap, row and entering channel its weight; 0 where there is none. */
template <typename T>
__device__ inline void pack_deep(int64_t index, const DeepWeights& w, const T* weight, T* packed) {
  if (index >= w.count<T>()) return;
  const int column_in = static_cast<int>(index % kUnitDepth<T>);
  const int row_in = static_cast<int>(index / kUnitDepth<T> % kUnitSide);
  const int tap = static_cast<int>(index / (kUnitDepth<T> * kUnitSide) % kDeepTaps);
  const int64_t block = index / kDeepWeights<T>;
  const int steps = (w.columns() + kUnitDepth<T> - 1) / kUnitDepth<T>;
  const int column = static_cast<int>(block % steps) * kUnitDepth<T> + column_in;
  const int row = static_cast<int>(block / steps % w.parts()) * kUnitSide + row_in;
  const int64_t group = block / steps / w.parts();
  T value = {};
  if (row < w.rows() && column < w.columns()) {
    const int64_t out = group * w.leaving + (w.back ? column : row);
    const int in = w.back ? row : column;
    value = weight[(out * w.entering + in) * kDeepTaps + (w.back ? kDeepTaps - 1 - tap : tap)];
  }
  packed[index] = value;
}

/*! A block has 32 output channels of a group, for the pixels of a tile. `to`: of `out`. */
template <typename T>
__global__ void __launch_bounds__(kDeepThreads, kUnitThreads / kDeepThreads)
    convolve_deep(DeepConvolution p, const T* __restrict__ data, const T* __restrict__ packed,
                  const float* bias, int activation, Layout to, T* __restrict__ out) {
  constexpr int kDepth = kUnitDepth<T>;
  constexpr int kLine = kUnitLine<T>;
  extern __shared__ uint4 asked_memory[];
  T* const weights = reinterpret_cast<T*>(asked_memory);
  T* const pixels = weights + kDeepTaps * kUnitSide * kLine;
  const int lane = threadIdx.x % kLanes;
  const int warp = threadIdx.x / kLanes;
  const int parts = p.parts();
  const int part = static_cast<int>(blockIdx.x % parts);
  const int group = static_cast<int>(blockIdx.x / parts % p.groups);
  const int64_t which = blockIdx.x / parts / p.groups;
  const int64_t image = which / p.tiles.of_image();
  const DeepTile tile(p.tiles, static_cast<int>(which - image * p.tiles.of_image()));
  const int64_t plane = p.tiles.plane();
  const T* from = data + (image * p.groups + group) * p.entering * plane;
  const int steps = p.steps<T>();
  packed += (static_cast<int64_t>(group) * parts + part) * steps * kDeepWeights<T>;

  UnitSums sum = {};
  const int my_pixel = warp * kUnitSide;
  const T* mine[2];  // what this lane loads of each 16 pixels
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    mine[j] = pixels + tile.place(my_pixel + 16 * j + lane % 8 + lane / 16 * 8) * kLine +
              lane / 8 % 2 * kWord<T>;
  }
  for (int step = 0; step < steps; ++step) {
    if (step > 0) __syncthreads();  // the step before has been used
    for (int i = static_cast<int>(threadIdx.x); i < kDeepWeights<T> / kWord<T>;
         i += kDeepThreads) {
      constexpr int kWords = kDepth / kWord<T>;  // of a line
      copy_async<16>(weights + i / kWords * kLine + i % kWords * kWord<T>, packed + i * kWord<T>,
                     true);
    }
    fetch_pixels<kDepth, kLine, kDeepThreads>(tile, from, p.entering - step * kDepth, pixels);
    end_batch();
    packed += kDeepWeights<T>;
    from += kDepth * plane;
    wait_for_copies<0>();
    __syncthreads();
    for (int tap = 0; tap < kDeepTaps; ++tap) {
      const T* const left = weights + tap * kUnitSide * kLine;
      const int moved = moved_by(p.tiles, tap) * kLine;
      const auto rows = [&](int k, int i, unsigned (&found)[4]) {
        load_rows<kLine>(left + 16 * i * kLine + k, found);
      };
      const auto columns = [&](int k, int j, unsigned (&found)[4]) {
        load_matrices<false>(mine[j] + moved + k, found);
      };
      add_step<T>(rows, columns, sum);
    }
  }
  __syncthreads();

  float* const results = reinterpret_cast<float*>(asked_memory);
  store_sums(sum, results + my_pixel);
  __syncthreads();
  for (int k = warp; k < kUnitSide; k += kPixelWarps) {
    const int in_group = part * kUnitSide + k;
    if (in_group >= p.leaving) break;
    const float more = bias == nullptr ? 0.0f : bias[group * p.leaving + in_group];
    T* const line =
        out + image * to.image + (group * p.leaving + in_group) * to.channel + tile.first;
    for (int pixel = lane; pixel < tile.count; pixel += kLanes) {
      line[pixel] = narrow<T>(activated(results[k * kPixelLine + pixel] + more, activation));
    }
  }
}

/*! One call of `deep_gradient`. */
struct DeepGradient {
  int groups, entering, leaving;  // channels of a group
  DeepTiles tiles;
  int64_t images;
  int slices;
  bool add;  // to what is there

  IGC_HOST_DEVICE int row_parts() const { return (leaving + kUnitSide - 1) / kUnitSide; }
  IGC_HOST_DEVICE int column_parts() const { return (entering + kUnitSide - 1) / kUnitSide; }
  IGC_HOST_DEVICE int64_t units() const {
    return static_cast<int64_t>(groups) * row_parts() * column_parts();
  }
  int64_t blocks() const { return units() * slices; }
};

/*! From one row of gradients in shared memory to the next, and from one pixel to the next. */
template <typename T>
constexpr int kHeadLine = kTilePixels + kWord<T>;
constexpr int kDeepLine = kUnitSide + 8;

template <typename T>
size_t deep_gradient_bytes(const DeepTiles& tiles) {
  const int numbers = kUnitSide * kHeadLine<T> + tiles.pixels() * kDeepLine;
  return numbers * sizeof(T) + kTilePixels * sizeof(int);
}

/*! A block has 32 times 32 weights of a group, with all taps, and a slice of the tiles. */
template <typename T>
__global__ void __launch_bounds__(kDeepGradientThreads, 2)
    deep_gradient(DeepGradient p, const T* __restrict__ head, const T* __restrict__ data,
                  float* __restrict__ partial) {
  constexpr int kLine = kHeadLine<T>;
  extern __shared__ uint4 asked_memory[];
  T* const heads = reinterpret_cast<T*>(asked_memory);
  T* const pixels = heads + kUnitSide * kLine;
  int* const places = reinterpret_cast<int*>(pixels + p.tiles.pixels() * kDeepLine);
  const int lane = threadIdx.x % kLanes;
  const int tap = threadIdx.x / kLanes;
  int64_t block = blockIdx.x;
  const int first_column = static_cast<int>(block % p.column_parts()) * kUnitSide;
  block /= p.column_parts();
  const int first_row = static_cast<int>(block % p.row_parts()) * kUnitSide;
  block /= p.row_parts();
  const int group = static_cast<int>(block % p.groups);
  const int slice = static_cast<int>(block / p.groups);
  const int64_t plane = p.tiles.plane();
  const int moved = moved_by(p.tiles, tap);
  UnitSums sum = {};
  for (int64_t which = slice; which < p.images * p.tiles.of_image(); which += p.slices) {
    const int64_t image = which / p.tiles.of_image();
    const DeepTile tile(p.tiles, static_cast<int>(which - image * p.tiles.of_image()));
    const int64_t unit = image * p.groups + group;
    const T* const from = head + (unit * p.leaving + first_row) * plane + tile.first;
    __syncthreads();  // the tile before has been used
    for (int i = static_cast<int>(threadIdx.x); i < kUnitSide * kTilePixels;
         i += kDeepGradientThreads) {
      const int row = i / kTilePixels, pixel = i % kTilePixels;
      const bool there = first_row + row < p.leaving && pixel < tile.count;
      copy_numbers<1>(heads + row * kLine + pixel, from + (there ? row * plane + pixel : 0), there);
    }
    fetch_pixels<kUnitSide, kDeepLine, kDeepGradientThreads>(
        tile, data + (unit * p.entering + first_column) * plane, p.entering - first_column,
        pixels);
    if (static_cast<int>(threadIdx.x) < kTilePixels) {
      places[threadIdx.x] = tile.place(static_cast<int>(threadIdx.x)) * kDeepLine;
    }
    end_batch();
    wait_for_copies<0>();
    __syncthreads();
    for (int first = 0; first < tile.count; first += kUnitDepth<T>) {
      const auto rows = [&](int k, int i, unsigned (&found)[4]) {
        load_rows<kLine>(heads + 16 * i * kLine + first + k, found);
      };
      const auto columns = [&](int k, int j, unsigned (&found)[4]) {
        const int* const place = places + first + k;
        const T* const of_tap = pixels + moved * kDeepLine + 16 * j;
        if constexpr (sizeof(T) == 2) {
          load_matrices<true>(of_tap + place[lane % 16] + lane / 16 * 8, found);
        } else {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            found[i] = bits_of(of_tap[place[lane % 4 + i % 2 * 4] + i / 2 * 8 + lane / 4]);
          }
        }
      };
      add_step<T>(rows, columns, sum);
    }
  }
  partial += static_cast<int64_t>(slice) * p.groups * p.leaving * p.entering * kDeepTaps;
  for_sums(sum, [&](int i, int j, float number) {
    const int row = first_row + i;
    const int column = first_column + j;
    if (row >= p.leaving || column >= p.entering) return;
    const int64_t channel = static_cast<int64_t>(group) * p.leaving + row;
    float* const to = partial + (channel * p.entering + column) * kDeepTaps + tap;
    *to = p.add ? *to + number : number;
  });
}

/*! Whether these kernels are for a 3x3 convolution of groups of so many channels. */
template <typename T>
bool fits_deep(int entering, int leaving, const DeepTiles& tiles) {
  constexpr int kLeastChannels = 16;
  constexpr int kMostWidth = 1024;  // far more than shared memory holds
  if (std::min(entering, leaving) < kLeastChannels || tiles.width > kMostWidth) return false;
  return by_units<T>() && tiles.plane() > 0 &&
         std::max(deep_bytes<T>(tiles), deep_gradient_bytes<T>(tiles)) <= kAskedBytes;
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_DEEP_H_
