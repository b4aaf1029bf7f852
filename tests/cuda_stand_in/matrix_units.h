/*! The matrix units on the CPU: src_operator/cuda/matrix_units.cuh says what they do. */
#ifndef IGC_TESTS_MATRIX_UNITS_H_
#define IGC_TESTS_MATRIX_UNITS_H_

#include <cstdint>
#include <cstring>

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "cuda_runtime.h"

namespace igc::cuda {

template <bool kTurned, typename T>
void load_matrices(const T* row, unsigned (&found)[4]) {
  const unsigned me = threadIdx.x, first = me / 32 * 32, lane = me % 32;
  const auto bits = [&](unsigned matrix, unsigned down, unsigned across) {
    const T* from;
    std::memcpy(&from, stand_in::passed.data() + (first + matrix * 8 + down) * 8, sizeof(from));
    uint16_t number;
    std::memcpy(&number, from + across, sizeof(number));
    return static_cast<unsigned>(number);
  };
  std::memcpy(stand_in::passed.data() + me * 8, &row, sizeof(row));
  __syncthreads();
  const unsigned pair = lane % 4 * 2, other = lane / 4;
  for (unsigned m = 0; m < 4; ++m) {
    found[m] = kTurned ? bits(m, pair, other) | bits(m, pair + 1, other) << 16
                       : bits(m, other, pair) | bits(m, other, pair + 1) << 16;
  }
  __syncthreads();
}

template <typename T>
void multiply_add(const unsigned (&left)[4], unsigned upper, unsigned lower, float (&sum)[4]) {
  const unsigned me = threadIdx.x, first = me / 32 * 32, lane = me % 32;
  stand_in::fragments[me] = {left[0], left[1], left[2], left[3], upper, lower};
  __syncthreads();
  const auto number = [&](unsigned of, unsigned part, unsigned half) {
    const auto bits = static_cast<uint16_t>(stand_in::fragments[first + of][part] >> 16 * half);
    T value;
    std::memcpy(&value, &bits, sizeof(bits));
    return widen(value);
  };
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = lane / 4, column = lane % 4 * 2 + i % 2;
    for (unsigned k = 0; k < 16; ++k) {
      const unsigned in_quarter = k % 8 / 2;
      sum[i] += number(row * 4 + in_quarter, i / 2 + k / 8 * 2, k % 2) *
                number(column * 4 + in_quarter, 4 + k / 8, k % 2);
    }
  }
  __syncthreads();
}

template <typename Kernel>
bool have_matrix_units(Kernel*) {
  return true;
}

}  // namespace igc::cuda

#endif  // IGC_TESTS_MATRIX_UNITS_H_
