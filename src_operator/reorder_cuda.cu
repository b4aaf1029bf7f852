/*! The channel permutation on a GPU. */
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "reorder.h"
#include "reorder_check.h"

namespace {

constexpr int kThreads = 256;
// Enough blocks to fill any GPU; what is left over is done by the loop in the kernel.
constexpr int64_t kMostBlocks = 65535;

/*!
 * One thread moves one word of the output at a time. A word is as much of a channel as one access
 * may move, so that neighbouring threads touch neighbouring memory on both sides.
 */
template <typename Word, typename Index>
__global__ void permute_kernel(const Word* __restrict__ in, Word* __restrict__ out, Index words,
                               Index words_of_channel, Index channels, Index branch_factor) {
  const Index group = channels / branch_factor;
  const Index step = static_cast<Index>(gridDim.x) * blockDim.x;
  for (Index k = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; k < words; k += step) {
    const Index row = k / words_of_channel;
    const Index channel = row % channels;
    const Index source = row - channel + igc::source_channel(channel, branch_factor, group);
    out[k] = in[source * words_of_channel + (k - row * words_of_channel)];
  }
}

template <typename Word>
void launch(const void* in, void* out, int64_t batch, int64_t channels, int64_t channel_bytes,
            int64_t branch_factor, cudaStream_t stream) {
  const int64_t words_of_channel = channel_bytes / static_cast<int64_t>(sizeof(Word));
  const int64_t words = batch * channels * words_of_channel;
  const int64_t blocks = std::min((words + kThreads - 1) / kThreads, kMostBlocks);
  const dim3 grid(static_cast<unsigned>(blocks));
  const Word* from = static_cast<const Word*>(in);
  Word* to = static_cast<Word*>(out);
  // 32-bit divisions are several times faster. The loop's last step may pass `words`, so that half
  // of the range is left free for it.
  if (words <= INT32_MAX) {
    permute_kernel<Word, uint32_t><<<grid, kThreads, 0, stream>>>(
        from, to, static_cast<uint32_t>(words), static_cast<uint32_t>(words_of_channel),
        static_cast<uint32_t>(channels), static_cast<uint32_t>(branch_factor));
  } else {
    permute_kernel<Word, uint64_t><<<grid, kThreads, 0, stream>>>(
        from, to, static_cast<uint64_t>(words), static_cast<uint64_t>(words_of_channel),
        static_cast<uint64_t>(channels), static_cast<uint64_t>(branch_factor));
  }
}

/*! Whether both arrays, and each channel in them, begin at a multiple of `bytes`. */
bool aligned(const void* in, const void* out, int64_t channel_bytes, int64_t bytes) {
  const auto low_bits = reinterpret_cast<uintptr_t>(in) | reinterpret_cast<uintptr_t>(out) |
                        static_cast<uintptr_t>(channel_bytes);
  return low_bits % static_cast<uintptr_t>(bytes) == 0;
}

}  // namespace

extern "C" const char* igc_reorder_cuda(const void* in, void* out, int64_t batch, int64_t channels,
                                        int64_t spatial, int64_t branch_factor, int item_bytes,
                                        int device, void* stream) {
  const char* wrong = igc::check_reorder(batch, channels, spatial, branch_factor, item_bytes);
  if (wrong != nullptr) return wrong;
  if (batch * channels * spatial == 0) return nullptr;
  // This library has its own CUDA runtime, which has not seen the caller choose a device.
  const cudaError_t chosen = cudaSetDevice(device);
  if (chosen != cudaSuccess) return cudaGetErrorString(chosen);
  const int64_t bytes = spatial * item_bytes;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  if (aligned(in, out, bytes, 16)) {
    launch<uint4>(in, out, batch, channels, bytes, branch_factor, cuda_stream);
  } else if (aligned(in, out, bytes, 8)) {
    launch<uint2>(in, out, batch, channels, bytes, branch_factor, cuda_stream);
  } else if (aligned(in, out, bytes, 4)) {
    launch<uint32_t>(in, out, batch, channels, bytes, branch_factor, cuda_stream);
  } else {
    launch<uint16_t>(in, out, batch, channels, bytes, branch_factor, cuda_stream);
  }
  const cudaError_t launched = cudaGetLastError();
  return launched == cudaSuccess ? nullptr : cudaGetErrorString(launched);
}
