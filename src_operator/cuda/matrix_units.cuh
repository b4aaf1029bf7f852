/*!
 * Matrix units, from sm_80 on: 16x16 times 16x8 numbers of 16 bits, or 16x8 times 8x8 pieces of
 * float32 (TF32), summed up in float32. A warp calls each of these with all lanes.
 */
#ifndef IGC_OPERATOR_CUDA_MATRIX_UNITS_H_
#define IGC_OPERATOR_CUDA_MATRIX_UNITS_H_

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "numbers.cuh"

#ifdef IGC_CUDA_STAND_IN
#include "matrix_units.h"  // of tests/cuda_stand_in
#else

#include "architecture.cuh"

namespace igc::cuda {

/*!
 * Load four matrices of 8x8 numbers of 16 bits, or 8x4 of 32, from shared memory. Lane l gives where
 * row l % 8 of matrix l / 8 begins. Of each a lane then has the two numbers l % 4 * 2 and the next
 * of row l / 4, or number l % 4; `kTurned`, in 16 bits alone: of column l / 4.
 */
template <bool kTurned, typename T>
__device__ inline void load_matrices(const T* row, unsigned (&found)[4]) {
  static_assert(!kTurned || sizeof(T) == 2, "turned by halves of words");
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  if constexpr (kTurned) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(found[0]), "=r"(found[1]), "=r"(found[2]), "=r"(found[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(found[0]), "=r"(found[1]), "=r"(found[2]), "=r"(found[3])
                 : "r"(address)
                 : "memory");
  }
#else
  __trap();  // `have_matrix_units` was not asked
#endif
}

/*!
 * Add left times right. `left`: its four quarters, upper left, lower left, upper right, lower right.
 * `right`: its upper and lower half, turned. Of the sums a lane has two neighbours in row l / 4 and
 * two in row 8 + l / 4, from column l % 4 * 2 on. `float`: of each number the highest 19 bits count.
 */
template <typename T>
__device__ inline void multiply_add(const unsigned (&left)[4], unsigned upper, unsigned lower,
                                    float (&sum)[4]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  if constexpr (std::is_same_v<T, __half>) {
    asm(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(upper), "r"(lower));
  } else if constexpr (std::is_same_v<T, float>) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(upper), "r"(lower));
  } else {
    asm(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(upper), "r"(lower));
  }
#endif
}

__device__ inline unsigned bits_of(float number) { return __float_as_uint(number); }
__device__ inline float float_of(unsigned bits) { return __uint_as_float(bits); }

/*!
 * Whether all devices' code may use them: what a call takes of a workspace must not depend on the
 * device.
 */
inline bool have_matrix_units() {
  static const bool found = [] {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) cudaGetLastError();
    for (int device = 0; device < count; ++device) {
      if (architecture_of(device) < 800) return false;
    }
    return count > 0;
  }();
  return found;
}

}  // namespace igc::cuda

#endif

namespace igc::cuda {

/*!
 * Cut a float32 into pieces of 11 bits, the nearest number and what is left of it: with their signs
 * they hold 23 of its 24 bits. Infinity leaves NaN, and so does a number that 11 bits round to it.
 */
__device__ inline void split(unsigned bits, unsigned& high, unsigned& low) {
  high = (bits + 0x1000u) & 0xffffe000u;
  low = bits_of(float_of(bits) - float_of(high));
}

/*!
 * Whether they compute products of float32. IGC_FLOAT32=plain leaves these to the arithmetic units:
 * what is infinite then stays so.
 */
inline bool units_for_float32() {
  static const bool plain = [] {
    const char* asked = std::getenv("IGC_FLOAT32");
    return asked != nullptr && std::strcmp(asked, "plain") == 0;
  }();
  return !plain && have_matrix_units();
}

/*! Whether the matrix units compute the products of a type. */
template <typename T>
bool by_units() {
  return sizeof(T) == 2 ? have_matrix_units() : sizeof(T) == 4 && units_for_float32();
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_MATRIX_UNITS_H_
