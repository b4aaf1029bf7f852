/*! The channel permutation on a GPU. */
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/device.h"
#include "cuda/launch.cuh"
#include "reorder.h"
#include "reorder_check.h"

namespace igc::cuda {
namespace {

// The words of a thread: so many reads are under way at a time.
constexpr int kWords = 4;

/*!
 * A word is as much of a channel as one access may move; neighbouring threads move neighbouring
 * words on both sides.
 */
template <typename Word, typename Index>
__global__ void permute_kernel(const Word* __restrict__ in, Word* __restrict__ out, Index words,
                               Index words_of_channel, Index channels, Index branch_factor) {
  const Index group = channels / branch_factor;
  const Index first = static_cast<Index>(blockIdx.x) * (kThreads * kWords) + threadIdx.x;
  Word held[kWords];
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    const Index k = first + static_cast<Index>(i * kThreads);
    if (k >= words) continue;
    const Index row = k / words_of_channel;
    const Index channel = row % channels;
    const Index source = row - channel + source_channel(channel, branch_factor, group);
    held[i] = in[source * words_of_channel + (k - row * words_of_channel)];
  }
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    const Index k = first + static_cast<Index>(i * kThreads);
    if (k < words) out[k] = held[i];
  }
}

template <typename Word>
const char* permute(const void* in, void* out, int64_t batch, int64_t channels,
                   int64_t channel_bytes, int64_t branch_factor, cudaStream_t stream) {
  const int64_t words_of_channel = channel_bytes / static_cast<int64_t>(sizeof(Word));
  const int64_t words = batch * channels * words_of_channel;
  const int64_t blocks = (words + kThreads * kWords - 1) / (kThreads * kWords);
  if (blocks > INT32_MAX) return "reorder: too large for a GPU: take fewer images at a time";
  const Word* from = static_cast<const Word*>(in);
  Word* to = static_cast<Word*>(out);
  // 32-bit divisions are several times faster. The last block's threads may count past `words`, so
  // that half of the range is left free for it.
  if (words <= INT32_MAX) {
    launch(permute_kernel<Word, uint32_t>, blocks, kThreads, stream, from, to,
                      static_cast<uint32_t>(words), static_cast<uint32_t>(words_of_channel),
                      static_cast<uint32_t>(channels), static_cast<uint32_t>(branch_factor));
  } else {
    launch(permute_kernel<Word, uint64_t>, blocks, kThreads, stream, from, to,
                      static_cast<uint64_t>(words), static_cast<uint64_t>(words_of_channel),
                      static_cast<uint64_t>(channels), static_cast<uint64_t>(branch_factor));
  }
  return OnDevice::launched();
}

/*! Whether both arrays, and each channel in them, begin at a multiple of `bytes`. */
bool aligned(const void* in, const void* out, int64_t channel_bytes, int64_t bytes) {
  const auto low_bits = reinterpret_cast<uintptr_t>(in) | reinterpret_cast<uintptr_t>(out) |
                        static_cast<uintptr_t>(channel_bytes);
  return low_bits % static_cast<uintptr_t>(bytes) == 0;
}

}  // namespace
}  // namespace igc::cuda

extern "C" const char* igc_reorder_cuda(const void* in, void* out, int64_t batch, int64_t channels,
                                        int64_t spatial, int64_t branch_factor, int item_bytes,
                                        int device, void* stream) {
  const char* wrong = igc::check_reorder(batch, channels, spatial, branch_factor, item_bytes);
  if (wrong != nullptr) return wrong;
  if (batch * channels * spatial == 0) return nullptr;
  igc::cuda::OnDevice on(device);
  if (on.wrong() != nullptr) return on.wrong();
  using igc::cuda::aligned;
  using igc::cuda::permute;
  const int64_t bytes = spatial * item_bytes;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  if (aligned(in, out, bytes, 16)) {
    return permute<uint4>(in, out, batch, channels, bytes, branch_factor, cuda_stream);
  }
  if (aligned(in, out, bytes, 8)) {
    return permute<uint2>(in, out, batch, channels, bytes, branch_factor, cuda_stream);
  }
  if (aligned(in, out, bytes, 4)) {
    return permute<uint32_t>(in, out, batch, channels, bytes, branch_factor, cuda_stream);
  }
  return permute<uint16_t>(in, out, batch, channels, bytes, branch_factor, cuda_stream);
}
