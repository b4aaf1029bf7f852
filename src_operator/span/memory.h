/*! Memory for maps in lanes. */
#ifndef IGC_OPERATOR_SPAN_MEMORY_H_
#define IGC_OPERATOR_SPAN_MEMORY_H_

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "kernels.h"
#include "program.h"

namespace igc {

/*! Floats at the beginning of a cache line, with room behind them for vectors that read on. */
class Floats {
 public:
  /*! Make room for `count`, which forgets what was there if it was less. */
  void reserve(size_t count) {
    if (count <= count_) return;
    release();
    const size_t bytes = ((count + kSpare) * sizeof(float) + kAlign - 1) / kAlign * kAlign;
    void* memory = std::aligned_alloc(kAlign, bytes);
    if (memory == nullptr) throw std::bad_alloc();
    // what is read beyond a map must be numbers, if unused ones: NaN and denormals cost time
    std::memset(memory, 0, bytes);
    memory_.reset(static_cast<float*>(memory));
    count_ = count;
  }
  void release() {
    memory_.reset();
    count_ = 0;
  }
  float* data() const { return memory_.get(); }
  size_t bytes() const { return count_ * sizeof(float); }

 private:
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  // the pixel a largest stride behind the last one may be read, and is then not used
  static constexpr size_t kAlign = 64, kSpare = (kLargestWindow + 32) * kLanes;
  std::unique_ptr<float[], Free> memory_;
  size_t count_ = 0;
};

/*! The sizes of a map in lanes with a halo of zeros. */
struct Frame {
  int blocks = 0, height = 0, width = 0;
  int top = 0, left = 0;  // the halo, the same below and on the right

  ptrdiff_t row() const {
    // whole cache lines, so that all rows begin like the first
    return static_cast<ptrdiff_t>((width + 2 * left + 1) / 2 * 2) * kLanes;
  }
  ptrdiff_t block() const {
    const ptrdiff_t size = row() * (height + 2 * top);
    // blocks a power of two apart would fall on the same places of the cache
    return size % 512 == 0 ? size + 16 : size;
  }
  size_t floats() const { return static_cast<size_t>(block()) * blocks; }
  Map map(float* memory) const {
    return {memory + top * row() + static_cast<ptrdiff_t>(left) * kLanes, block(), row()};
  }
  /*! Put zeros around rows [begin, end). */
  void clear_halo(const Map& map, int begin, int end) const {
    clear_halo(map, 0, blocks, begin, end);
  }
  /*! The same of some blocks only. */
  void clear_halo(const Map& map, int first_block, int end_block, int begin, int end) const {
    const size_t side = static_cast<size_t>(left) * kLanes * sizeof(float);
    for (int b = first_block; b < end_block && top + left > 0; ++b) {
      for (int y = begin; side > 0 && y < end; ++y) {
        std::memset(map.at(b, y, -left), 0, side);
        std::memset(map.at(b, y, width), 0, side);
      }
      const size_t whole = static_cast<size_t>(row()) * sizeof(float);
      if (begin == 0 && top > 0) std::memset(map.at(b, -top, -left), 0, whole * top);
      if (end == height && top > 0) std::memset(map.at(b, height, -left), 0, whole * top);
    }
  }
};

}  // namespace igc

#endif  // IGC_OPERATOR_SPAN_MEMORY_H_
