/*!
 * The 1x1 group convolution of wide groups, as products of matrices: weights times pixels. What the
 * kernels of all types share.
 */
#ifndef IGC_OPERATOR_CUDA_WIDE_H_
#define IGC_OPERATOR_CUDA_WIDE_H_

#include <algorithm>
#include <cstdint>

#include "launch.cuh"
#include "numbers.cuh"
#include "places.cuh"

namespace igc::cuda {

constexpr int kTilePixels = 128;  // a block's

/*! The pixels of all images' maps, one after the other. */
struct Pixels {
  int64_t count;
  int plane;  // of a map
};

/*! Channels of a group as rows of a matrix: which of an image's channels they are. */
struct Rows {
  int count;     // in a group
  int channels;  // of an image
  ChannelMap map;

  /*! Where a row begins in an image. */
  __device__ int64_t offset(const Pixels& pixels, int group, int row) const {
    return static_cast<int64_t>(map(group * count + row)) * pixels.plane;
  }
};

/*! Find, by all threads of a block, where `count` rows begin in an image; -1 beyond the last. */
__device__ inline void find_offsets(const Rows& rows, const Pixels& pixels, int group, int first,
                                    int count, int* offsets) {
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    const int row = first + i;
    // an image has less than 2^31 numbers
    offsets[i] = row < rows.count ? static_cast<int>(rows.offset(pixels, group, row)) : -1;
  }
}

/*! Where a pixel lies: image, and place in its map. */
struct PixelPlace {
  __device__ PixelPlace() : image(0), place(0) {}
  __device__ PixelPlace(const Pixels& pixels, int64_t pixel) {
    if (pixels.count <= INT32_MAX) {  // divisions in 32 bits are several times faster
      const uint32_t which = static_cast<uint32_t>(pixel) / static_cast<uint32_t>(pixels.plane);
      image = which;
      place = static_cast<int>(pixel - static_cast<int64_t>(which) * pixels.plane);
    } else {
      image = pixel / pixels.plane;
      place = static_cast<int>(pixel - image * pixels.plane);
    }
  }

  /*! Where it lies in an array with so many channels in an image, in the first of them. */
  __device__ int64_t offset(const Pixels& pixels, int channels) const {
    return image * channels * pixels.plane + place;
  }

  int64_t image;
  int place;
};

/*!
 * How the lanes of a warp share the pixels of a tile: `kVector` neighbouring ones, which lie in one
 * map, are one access.
 */
template <int kVector>
struct Columns {
  static constexpr int kVectors = kTilePixels / kVector;
  static constexpr int kAcross = kVectors < kLanes ? kVectors : kLanes;  // lanes of a row
  static constexpr int kDown = kLanes / kAcross;                         // rows of an access
  static constexpr int kEach = kVectors / kAcross;                       // accesses of a row

  __device__ Columns(const Pixels& pixels, int64_t tile, int lane) {
    first = lane % kAcross * kVector;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int64_t pixel = tile * kTilePixels + first + i * kAcross * kVector;
      inside[i] = pixel < pixels.count;
      at[i] = inside[i] ? PixelPlace(pixels, pixel) : PixelPlace();
    }
  }

  int first;  // pixel in the tile; of the others, kAcross * kVector further on each
  PixelPlace at[kEach];
  bool inside[kEach];
};

/*! Neighbouring numbers that one access moves. */
template <typename T, int kVector>
struct alignas(sizeof(T) * kVector) Numbers {
  T at[kVector];
};

/*! Matrices of weights, one for each group: what is packed for the products. */
struct Matrices {
  int groups, rows, columns;          // as stored
  bool turned;                        // whether packed as columns times rows
  int packed_rows, packed_columns;    // of a packed one; what is beyond is zero

  IGC_HOST_DEVICE int64_t count() const {
    return static_cast<int64_t>(groups) * packed_rows * packed_columns;
  }
};

constexpr int kPackTile = 32;
constexpr int kPackRows = kThreads / kPackTile;  // that a block's threads move at a time

/*! The blocks that `pack_matrices` takes. */
inline int64_t pack_blocks(const Matrices& m) {
  const int64_t down = (m.packed_rows + kPackTile - 1) / kPackTile;
  const int64_t across = (m.packed_columns + kPackTile - 1) / kPackTile;
  return m.groups * down * across;
}

/*! Pack each group's matrix; both sides are read and written along their rows. */
template <typename T>
__device__ inline void pack_matrices(int64_t block, const Matrices& m, const T* weight,
                                     T* packed) {
  __shared__ T tile[kPackTile][kPackTile + 1];
  const int down = (m.packed_rows + kPackTile - 1) / kPackTile;
  const int across = (m.packed_columns + kPackTile - 1) / kPackTile;
  const int64_t group = block / (down * across);
  const int row = static_cast<int>(block / across % down) * kPackTile;
  const int column = static_cast<int>(block % across) * kPackTile;
  const int x = threadIdx.x % kPackTile;
  const int y = threadIdx.x / kPackTile;
  const T* const from = weight + group * m.rows * m.columns;
  T* const to = packed + group * m.packed_rows * m.packed_columns;
  const int from_row = m.turned ? column : row;
  const int from_column = m.turned ? row : column;
  for (int i = y; i < kPackTile; i += kPackRows) {
    const bool there = from_row + i < m.rows && from_column + x < m.columns;
    const int64_t at = static_cast<int64_t>(from_row + i) * m.columns + from_column + x;
    tile[i][x] = there ? from[at] : T{};
  }
  __syncthreads();
  for (int i = y; i < kPackTile; i += kPackRows) {
    if (row + i >= m.packed_rows || column + x >= m.packed_columns) continue;
    to[static_cast<int64_t>(row + i) * m.packed_columns + column + x] =
        m.turned ? tile[x][i] : tile[i][x];
  }
}

/*! The least multiple of `step` from `count` on. */
IGC_HOST_DEVICE constexpr int rounded_up(int count, int step) {
  return (count + step - 1) / step * step;
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_WIDE_H_
