/*! CUDA's half on the CPU; see cuda_runtime.h. */
#ifndef IGC_TESTS_CUDA_FP16_H_
#define IGC_TESTS_CUDA_FP16_H_

#include "../../src_operator/half.h"

using __half = igc::Half;

inline float __half2float(__half value) { return igc::to_float(value); }
inline __half __float2half_rn(float value) { return igc::to_half(value); }

#endif  // IGC_TESTS_CUDA_FP16_H_
