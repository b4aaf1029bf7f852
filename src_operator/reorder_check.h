/*! The check of the arguments that the CPU and the CUDA function share. */
#ifndef IGC_OPERATOR_REORDER_CHECK_H_
#define IGC_OPERATOR_REORDER_CHECK_H_

#include <cstdint>

namespace igc {

/*! NULL, or a text that says which argument is wrong. */
inline const char* check_reorder(int64_t batch, int64_t channels, int64_t spatial,
                                 int64_t branch_factor, int item_bytes) {
  if (batch < 0 || channels < 0 || spatial < 0) return "reorder: a size is negative";
  if (branch_factor < 1) return "reorder: branch_factor is less than 1";
  if (channels % branch_factor != 0) return "reorder: branch_factor does not divide the channels";
  if (item_bytes != 2 && item_bytes != 4 && item_bytes != 8) {
    return "reorder: the elements are not of 2, 4 or 8 bytes";
  }
  return nullptr;
}

}  // namespace igc

#endif  // IGC_OPERATOR_REORDER_CHECK_H_
