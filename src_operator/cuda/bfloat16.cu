#include "passes.cuh"

namespace igc::cuda {

const Functions kBfloat16 = functions_for<__nv_bfloat16>();

}  // namespace igc::cuda
