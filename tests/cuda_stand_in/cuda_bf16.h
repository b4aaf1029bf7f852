/*! CUDA's bfloat16 on the CPU; see cuda_runtime.h. */
#ifndef IGC_TESTS_CUDA_BF16_H_
#define IGC_TESTS_CUDA_BF16_H_

#include <cstdint>
#include <cstring>

struct __nv_bfloat16 {
  uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float number;
  std::memcpy(&number, &bits, sizeof(number));
  return number;
}

/*! Round to the nearest, ties to even. */
inline __nv_bfloat16 __float2bfloat16_rn(float number) {
  uint32_t bits;
  std::memcpy(&bits, &number, sizeof(bits));
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
  bits += 0x7fffu + (bits >> 16 & 1u);
  return {static_cast<uint16_t>(bits >> 16)};
}

#endif  // IGC_TESTS_CUDA_BF16_H_
