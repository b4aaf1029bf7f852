/*!
 * The channel permutation of interleaved group convolutions, as plain C functions on raw memory.
 * Nothing here knows MXNet, so that the kernels can be built, tested and used without it.
 *
 *   out[:, j * b + i] = in[:, i * (C / b) + j]      0 <= i < b = branch_factor, 0 <= j < C / b
 *
 * It is the transposition of a b x (C / b) matrix of channels; its inverse, and so its gradient, is
 * the same function with the branch factor C / b.
 */
#ifndef IGC_OPERATOR_REORDER_H_
#define IGC_OPERATOR_REORDER_H_

#include <cstdint>

#ifdef __CUDACC__
#define IGC_HOST_DEVICE __host__ __device__
#else
#define IGC_HOST_DEVICE
#endif

namespace igc {

/*! The input channel that output channel `channel` takes. `group` is C / branch_factor. */
template <typename Index>
IGC_HOST_DEVICE inline Index source_channel(Index channel, Index branch_factor, Index group) {
  return (channel % branch_factor) * group + channel / branch_factor;
}

}  // namespace igc

extern "C" {

/*!
 * Permute the channels of a dense row-major array (batch, channels, spatial) from `in` to `out`.
 *
 * in, out        the two arrays; they must not overlap
 * spatial        the product of the spatial sizes, 1 where there are none; any size may be 0
 * branch_factor  must divide `channels`
 * item_bytes     the size of one element: 2, 4 or 8
 *
 * Returns NULL, or a text that says what is wrong. The text lives as long as the library.
 */
const char* igc_reorder_cpu(const void* in, void* out, int64_t batch, int64_t channels,
                            int64_t spatial, int64_t branch_factor, int item_bytes);

/*!
 * The same on a GPU: `in` and `out` are memory of `device`, `stream` is a cudaStream_t of it.
 * Returns once the kernel is launched. Present only in a library built with CUDA.
 */
const char* igc_reorder_cuda(const void* in, void* out, int64_t batch, int64_t channels,
                             int64_t spatial, int64_t branch_factor, int item_bytes, int device,
                             void* stream);
}

#endif  // IGC_OPERATOR_REORDER_H_
