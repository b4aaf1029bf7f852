#include "passes.cuh"

namespace igc::cuda {

const Functions kFloat64 = functions_for<double>();

}  // namespace igc::cuda
