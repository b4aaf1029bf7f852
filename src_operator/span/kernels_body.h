/*!
 * The body of kernels.h, included once for each instruction set by kernels_<isa>.cc, which define
 *
 *   IGC_ISA        the namespace
 *   IGC_PIXELS     neighbouring pixels in a vector
 *   IGC_BUDGET     vectors of sums that fit into the registers beside what is loaded
 *
 * Nothing from std:: and no shared inline function is used here: the linker would keep one
 * instruction set's copy of it for all. Kernels are kept out of line, since g++ spills the weights
 * of one that is inlined into a larger function.
 */
#include "kernels.h"

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace igc {
namespace IGC_ISA {
namespace {

#include "kernels_vectors.h"

#include "kernels_conv.h"

#include "kernels_gradients.h"

#include "kernels_passes.h"

}  // namespace

extern const Kernels kKernels;
const Kernels kKernels = {IGC_ISA_NAME, conv, weight_gradient, affine, moments, mask, combine};

}  // namespace IGC_ISA
}  // namespace igc
