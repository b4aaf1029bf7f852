/*!
 * Maps, channel by channel: those of all images follow each other. Where a map is no whole number
 * of vectors, as one of 7x7, all images' together are, and the products of wide groups read them
 * by vectors.
 */
#ifndef IGC_OPERATOR_CUDA_BY_CHANNEL_H_
#define IGC_OPERATOR_CUDA_BY_CHANNEL_H_

#include <cstdint>

#include "launch.cuh"
#include "wide.cuh"

namespace igc::cuda {

/*! How many numbers lie between one image and the next, and one channel and the next. */
struct Layout {
  int64_t image, channel;
};

constexpr int kLaid = 4;  // numbers of a thread

/*! Lay maps (images, channels, plane) as (channels, images, plane). `pixels`: of all images. */
template <typename T>
__global__ void __launch_bounds__(kThreads)
    lay_by_channel(Pixels pixels, int channels, const T* __restrict__ maps, T* __restrict__ laid) {
  const int64_t index = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kLaid;
  if (index >= channels * pixels.count) return;
  const int channel = static_cast<int>(index / pixels.count);
  PixelPlace place(pixels, index - channel * pixels.count);
  Numbers<T, kLaid> numbers;
#pragma unroll
  for (int k = 0; k < kLaid; ++k) {
    const int64_t map = place.image * channels + channel;
    numbers.at[k] = maps[map * pixels.plane + place.place];
    if (++place.place == pixels.plane) {
      place.place = 0;
      ++place.image;
    }
  }
  *reinterpret_cast<Numbers<T, kLaid>*>(laid + index) = numbers;
}

/*! The blocks that `lay_by_channel` takes. */
inline int64_t laying_blocks(const Pixels& pixels, int channels) {
  return blocks_for(channels * pixels.count / kLaid);
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_BY_CHANNEL_H_
