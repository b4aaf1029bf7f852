/*! The workspace of a call. */
#ifndef IGC_OPERATOR_CUDA_SPACE_H_
#define IGC_OPERATOR_CUDA_SPACE_H_

#include <cstdint>

namespace igc::cuda {

/*! Memory, taken piece by piece; without memory it only counts. */
class Space {
 public:
  explicit Space(void* memory) : memory_(static_cast<char*>(memory)) {}

  template <typename Element>
  Element* take(int64_t count) {
    char* const piece = memory_ == nullptr ? nullptr : memory_ + bytes_;
    bytes_ += (count * static_cast<int64_t>(sizeof(Element)) + 255) / 256 * 256;
    return reinterpret_cast<Element*>(piece);
  }

  int64_t bytes() const { return bytes_; }

 private:
  char* memory_;
  int64_t bytes_ = 0;
};

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_SPACE_H_
