/*! The checks of the arguments, and the sizes that follow from them, for the CPU and for CUDA. */
#ifndef IGC_OPERATOR_IGCONV_CHECK_H_
#define IGC_OPERATOR_IGCONV_CHECK_H_

#include <cstdint>

#include "igconv.h"

namespace igc {

/*! The output's height (axis 0) or width (axis 1); less than 1 where the kernel does not fit. */
inline int64_t igconv_out_size(const igc_igconv_sizes& sizes, int axis) {
  const int64_t size = axis == 0 ? sizes.height : sizes.width;
  const int64_t room = size + 2 * sizes.pad[axis] - sizes.kernel[axis];
  return room < 0 ? 0 : room / sizes.stride[axis] + 1;
}

/*! NULL, or a text that says which size is wrong. */
inline const char* check_sizes(const igc_igconv_sizes* sizes) {
  if (sizes == nullptr) return "igconv: sizes is NULL";
  const igc_igconv_sizes& s = *sizes;
  if (s.batch < 0 || s.channels < 0 || s.height < 0 || s.width < 0) {
    return "igconv: a size of data is negative";
  }
  if (s.filters < 1) return "igconv: filters must be positive";
  for (int axis = 0; axis < 2; ++axis) {
    if (s.kernel[axis] < 1) return "igconv: a kernel size must be positive";
    if (s.stride[axis] < 1) return "igconv: a stride must be positive";
    if (s.pad[axis] < 0) return "igconv: a pad is negative";
    if (igconv_out_size(s, axis) < 1) return "igconv: the kernel is larger than the padded data";
  }
  if (s.primary_partition < 1 || s.secondary_partition < 1) {
    return "igconv: a partition must be positive";
  }
  if (s.channels % s.primary_partition != 0) {
    return "igconv: primary_partition does not divide the channels";
  }
  if (s.filters % s.primary_partition != 0) {
    return "igconv: primary_partition does not divide the filters";
  }
  if (s.filters % s.secondary_partition != 0) {
    return "igconv: secondary_partition does not divide the filters";
  }
  return nullptr;
}

/*! The same for the functions of the CPU. */
inline const char* check_igconv(const igc_igconv_sizes* sizes, int item_bytes, bool backward) {
  const char* wrong = check_sizes(sizes);
  if (wrong != nullptr) return wrong;
  if (item_bytes != 2 && item_bytes != 4 && item_bytes != 8) {
    return "igconv: the elements are not of 2, 4 or 8 bytes";
  }
  if (backward && item_bytes == 2) {
    return "igconv: float16 has a forward pass only; compute gradients in float32 or float64";
  }
  return nullptr;
}

/*! The primary channel that channel `mixed` of the secondary convolution's input is. */
IGC_HOST_DEVICE inline int64_t primary_channel(const igc_igconv_sizes& s, int64_t mixed) {
  return source_channel(mixed, s.primary_partition, s.filters / s.primary_partition);
}

/*! The inverse of `primary_channel`. */
IGC_HOST_DEVICE inline int64_t mixed_channel(const igc_igconv_sizes& s, int64_t primary) {
  return source_channel(primary, s.filters / s.primary_partition, s.primary_partition);
}

/*! The secondary convolution's channel that channel `out` is. */
IGC_HOST_DEVICE inline int64_t secondary_channel(const igc_igconv_sizes& s, int64_t out) {
  return source_channel(out, s.secondary_partition, s.filters / s.secondary_partition);
}

/*! The inverse of `secondary_channel`. */
IGC_HOST_DEVICE inline int64_t out_channel(const igc_igconv_sizes& s, int64_t secondary) {
  return source_channel(secondary, s.filters / s.secondary_partition, s.secondary_partition);
}

}  // namespace igc

#endif  // IGC_OPERATOR_IGCONV_CHECK_H_
