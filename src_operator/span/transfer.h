/*! Between dense arrays, channel by channel, and lanes. */
#ifndef IGC_OPERATOR_SPAN_TRANSFER_H_
#define IGC_OPERATOR_SPAN_TRANSFER_H_

#include <cstdint>
#include <vector>

#include "kernels.h"

namespace igc {

/*! Rows [begin, end) of one image (channels, height, width) into lanes; other lanes are left. */
inline void to_lanes(const float* image, const std::vector<int>& slot, int height, int width,
                     const Map& map, int begin, int end) {
  for (size_t c = 0; c < slot.size(); ++c) {
    const float* from = image + (static_cast<int64_t>(c) * height + begin) * width;
    for (int y = begin; y < end; ++y) {
      float* to = map.at(slot[c] / kLanes, y, 0) + slot[c] % kLanes;
      for (int x = 0; x < width; ++x) to[static_cast<ptrdiff_t>(x) * kLanes] = *from++;
    }
  }
}

/*! Rows [begin, end) out of lanes. */
inline void from_lanes(const Map& map, const std::vector<int>& slot, int height, int width,
                       float* image, int begin, int end) {
  for (size_t c = 0; c < slot.size(); ++c) {
    float* to = image + (static_cast<int64_t>(c) * height + begin) * width;
    for (int y = begin; y < end; ++y) {
      const float* from = map.at(slot[c] / kLanes, y, 0) + slot[c] % kLanes;
      for (int x = 0; x < width; ++x) *to++ = from[static_cast<ptrdiff_t>(x) * kLanes];
    }
  }
}

}  // namespace igc

#endif  // IGC_OPERATOR_SPAN_TRANSFER_H_
