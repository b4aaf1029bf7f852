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

/*! One strip. */
struct Place {
  __device__ Place(const Maps& maps, int64_t strip, int pixels) {
    const int64_t line = strip / maps.row;
    x = static_cast<int>(strip - line * maps.row) * pixels;
    image = line / maps.height;
    y = static_cast<int>(line - image * maps.height);
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
