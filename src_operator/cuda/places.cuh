/*! Which pixels a lane computes, and where channels lie. */
#ifndef IGC_OPERATOR_CUDA_PLACES_H_
#define IGC_OPERATOR_CUDA_PLACES_H_

#include <cstdint>

#include "launch.cuh"
#include "numbers.cuh"
#include "../reorder.h"

namespace igc::cuda {

/*!
 * The maps of a pass: all images' rows, cut into strips. A warp computes a tile, which is kLanes
 * strips that follow each other, over rows and images: small maps fill it as large ones do.
 */
struct Maps {
  int height, width;
  int row;          // strips in a row
  int64_t strips;   // in all images
  bool whole;       // rows are whole strips, and arrays begin where a strip may

  IGC_HOST_DEVICE int64_t plane() const { return static_cast<int64_t>(height) * width; }
  IGC_HOST_DEVICE int64_t tiles() const { return (strips + kLanes - 1) / kLanes; }
};

/*! Whether the rows of an array are whole strips that begin where a strip may. */
template <typename T>
bool aligned(const void* array, int64_t width) {
  return width % kStrip<ItemOf<T>> == 0 &&
         reinterpret_cast<uintptr_t>(array) % sizeof(Stored<T>) == 0;
}

template <typename T>
Maps maps_of(int64_t height, int64_t width, int64_t images, bool whole) {
  Maps maps;
  maps.height = static_cast<int>(height);
  maps.width = static_cast<int>(width);
  maps.row = (maps.width + kStrip<ItemOf<T>> - 1) / kStrip<ItemOf<T>>;
  maps.strips = images * maps.height * maps.row;
  maps.whole = whole;
  return maps;
}

/*! One strip. */
struct Place {
  __device__ Place(const Maps& maps, int64_t strip, int pixels) {
    if (maps.strips <= INT32_MAX) {  // divisions in 32 bits are several times faster
      divide<uint32_t>(maps, static_cast<uint32_t>(strip), pixels);
    } else {
      divide<uint64_t>(maps, static_cast<uint64_t>(strip), pixels);
    }
  }

  template <typename Index>
  __device__ void divide(const Maps& maps, Index strip, int pixels) {
    const Index line = strip / static_cast<Index>(maps.row);
    x = static_cast<int>(strip - line * static_cast<Index>(maps.row)) * pixels;
    const Index which = line / static_cast<Index>(maps.height);
    image = static_cast<int64_t>(which);
    y = static_cast<int>(line - which * static_cast<Index>(maps.height));
  }

  int64_t image;
  int y, x;
};

/*! One of the permutations, as a function of channels. */
struct ChannelMap {
  int factor, group;

  IGC_HOST_DEVICE int operator()(int channel) const {
    return source_channel(channel, factor, group);
  }
};

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_PLACES_H_
