/*! The matrix units on the CPU: src_operator/cuda/matrix_units.cuh says what they do. */
#ifndef IGC_TESTS_MATRIX_UNITS_H_
#define IGC_TESTS_MATRIX_UNITS_H_

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "cuda_runtime.h"

namespace igc::cuda {

/*! What a lane lets the others of its warp read until all have come to the end. */
template <typename Value>
class Shown {
 public:
  explicit Shown(const Value* mine) : turn_(stand_in::passed[threadIdx.x].turn % 2) {
    stand_in::exchange(mine, threadIdx.x);
  }
  ~Shown() { stand_in::wait(stand_in::kAtWarp); }

  const Value* of(unsigned lane) const {
    const unsigned first = threadIdx.x / stand_in::kLanes * stand_in::kLanes;
    const Value* from;
    std::memcpy(&from, stand_in::passed[first + lane].bytes[turn_], sizeof(from));
    return from;
  }

 private:
  unsigned turn_;
};

template <bool kTurned, typename T>
void load_matrices(const T* row, unsigned (&found)[4]) {
  const Shown<T> rows(row);
  if constexpr (sizeof(T) == 4) {
    const unsigned lane = threadIdx.x % stand_in::kLanes;
    for (unsigned m = 0; m < 4; ++m) {
      std::memcpy(&found[m], rows.of(m * 8 + lane / 4) + lane % 4, sizeof(found[m]));
    }
    return;
  }
  const auto bits = [&](unsigned matrix, unsigned down, unsigned across) {
    uint16_t number;
    std::memcpy(&number, rows.of(matrix * 8 + down) + across, sizeof(number));
    return static_cast<unsigned>(number);
  };
  const unsigned lane = threadIdx.x % stand_in::kLanes, pair = lane % 4 * 2, other = lane / 4;
  for (unsigned m = 0; m < 4; ++m) {
    found[m] = kTurned ? bits(m, pair, other) | bits(m, pair + 1, other) << 16
                       : bits(m, other, pair) | bits(m, other, pair + 1) << 16;
  }
}

inline unsigned bits_of(float number) {
  unsigned bits;
  std::memcpy(&bits, &number, sizeof(bits));
  return bits;
}
inline float float_of(unsigned bits) {
  float number;
  std::memcpy(&number, &bits, sizeof(number));
  return number;
}

/*! `multiply_add` of float32: numbers and sums are cut, not rounded. */
inline void add_pieces(const Shown<unsigned>& parts, float (&sum)[4]) {
  const unsigned lane = threadIdx.x % stand_in::kLanes;
  const auto piece = [&](unsigned from, unsigned part) {
    return static_cast<double>(float_of(parts.of(from)[part] & 0xffffe000u));
  };
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = lane / 4, column = lane % 4 * 2 + i % 2;
    double exact = sum[i];
    for (unsigned k = 0; k < 8; ++k) {
      exact += piece(row * 4 + k % 4, i / 2 + k / 4 * 2) * piece(column * 4 + k % 4, 4 + k / 4);
    }
    const auto near = static_cast<float>(exact);
    const bool beyond = std::abs(static_cast<double>(near)) > std::abs(exact);
    sum[i] = beyond ? std::nextafter(near, 0.0f) : near;
  }
}

template <typename T>
void multiply_add(const unsigned (&left)[4], unsigned upper, unsigned lower, float (&sum)[4]) {
  const unsigned mine[6] = {left[0], left[1], left[2], left[3], upper, lower};
  const Shown<unsigned> parts(mine);
  if constexpr (std::is_same_v<T, float>) {
    add_pieces(parts, sum);
    return;
  }
  const auto number = [&](unsigned lane, unsigned part, unsigned half) {
    const auto bits = static_cast<uint16_t>(parts.of(lane)[part] >> 16 * half);
    T value;
    std::memcpy(&value, &bits, sizeof(bits));
    return widen(value);
  };
  const unsigned lane = threadIdx.x % stand_in::kLanes;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = lane / 4, column = lane % 4 * 2 + i % 2;
    for (unsigned k = 0; k < 16; ++k) {
      const unsigned in_quarter = k % 8 / 2;
      sum[i] += number(row * 4 + in_quarter, i / 2 + k / 8 * 2, k % 2) *
                number(column * 4 + in_quarter, 4 + k / 8, k % 2);
    }
  }
}

/*! Tests set this variable to look at kernels for GPUs that have none. */
inline bool have_matrix_units() { return std::getenv("IGC_STAND_IN_WITHOUT_UNITS") == nullptr; }

}  // namespace igc::cuda

#endif  // IGC_TESTS_MATRIX_UNITS_H_
