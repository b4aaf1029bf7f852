#include "passes.cuh"

namespace igc::cuda {

const Functions kFloat16 = functions_for<__half>();

}  // namespace igc::cuda
