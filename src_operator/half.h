/*! float16 on a CPU, which this library stores but does not compute in. */
#ifndef IGC_OPERATOR_HALF_H_
#define IGC_OPERATOR_HALF_H_

#include <cstdint>
#include <cstring>

namespace igc {

/*! The 16 bits of an IEEE half: sign, 5 of exponent, 10 of fraction. */
struct Half {
  uint16_t bits;
};

inline float to_float(Half half) {
  const uint32_t sign = static_cast<uint32_t>(half.bits & 0x8000u) << 16;
  const uint32_t rest = static_cast<uint32_t>(half.bits & 0x7fffu) << 13;
  uint32_t bits;
  float value;
  if (rest >= 0x0f800000u) {  // infinite or not a number
    bits = sign | 0x7f800000u | (rest & 0x007fffffu);
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
  // The exponents' offsets differ by 112; a product is right for subnormal numbers too.
  bits = sign | rest;
  std::memcpy(&value, &bits, sizeof(value));
  return value * 0x1p112f;
}

/*! Round to the nearest half, ties to the even one. */
inline Half to_half(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u)};
  if (bits >= 0x47800000u) return {static_cast<uint16_t>(sign | 0x7c00u)};  // 2^16 and more
  if (bits < 0x38800000u) {
    // Less than 2^-14, the smallest normal half: next to 0.5 a float has steps of 2^-24, as the
    // subnormal halves have, and the addition rounds to them.
    float small;
    std::memcpy(&small, &bits, sizeof(small));
    small += 0.5f;
    std::memcpy(&bits, &small, sizeof(bits));
    return {static_cast<uint16_t>(sign | (bits - 0x3f000000u))};
  }
  const uint32_t odd = bits >> 13 & 1u;
  bits += 0x0fffu + odd;
  return {static_cast<uint16_t>(sign | ((bits - 0x38000000u) >> 13))};
}

}  // namespace igc

#endif  // IGC_OPERATOR_HALF_H_
