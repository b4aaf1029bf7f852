#include "passes.cuh"

namespace igc::cuda {

const Functions kFloat32 = functions_for<float>();

}  // namespace igc::cuda
