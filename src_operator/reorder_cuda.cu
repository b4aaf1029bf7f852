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

/*!
 * Channels of parts that are no words: a thread has the 16 bytes from a multiple of 16 on that it
 * writes, and reads their items one by one, which the first cache has for its neighbours then. A
 * channel has at least as many items. `before`: those of the first word that lie before `out`.
 */
template <typename Item, typename Index>
__global__ void permute_items(const Item* __restrict__ in, Item* __restrict__ out, Index items,
                              Index items_of_channel, Index channels, Index branch_factor,
                              int before) {
  constexpr int kItems = sizeof(uint4) / sizeof(Item);
  struct alignas(sizeof(uint4)) Held {
    Item at[kItems];
  };
  const Index word = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  const Index all = items + static_cast<Index>(before);
  if (word * kItems >= all) return;
  const int begin = word == 0 ? before : 0;
  const int end = static_cast<int>(min(all - word * kItems, static_cast<Index>(kItems)));
  const Index group = channels / branch_factor;
  const Index k = word * kItems + static_cast<Index>(begin) - static_cast<Index>(before);
  const Index row = k / items_of_channel;
  const Index channel = row % channels;
  const Index column = k - row * items_of_channel;
  const auto row_from = [&](Index row, Index channel) {
    const Index source = row - channel + source_channel(channel, branch_factor, group);
    return in + source * items_of_channel;
  };
  const Item* here = row_from(row, channel) + column;
  const Item* next = here;
  const Index left = items_of_channel - column;  // the items of this row
  const int own = left < static_cast<Index>(end - begin) ? static_cast<int>(left) : end - begin;
  if (own < end - begin) {
    next = row_from(row + 1, channel + 1 == channels ? 0 : channel + 1) - own;
  }
  Held held;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const int at = i - begin;
    if (i >= begin && i < end) held.at[i] = (at < own ? here : next)[at];
  }
  Item* const to = out + (static_cast<int64_t>(word) * kItems - before);
  if (end - begin == kItems) {
    *reinterpret_cast<Held*>(to) = held;
  } else {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      if (i >= begin && i < end) to[i] = held.at[i];
    }
  }
}

template <typename Item>
const char* permute_by_items(const void* in, void* out, int64_t batch, int64_t channels,
                             int64_t channel_bytes, int64_t branch_factor, cudaStream_t stream) {
  constexpr int64_t kItems = sizeof(uint4) / sizeof(Item);
  const int64_t items_of_channel = channel_bytes / static_cast<int64_t>(sizeof(Item));
  if (items_of_channel < kItems) {
    return permute<Item>(in, out, batch, channels, channel_bytes, branch_factor, stream);
  }
  const int before =
      static_cast<int>(reinterpret_cast<uintptr_t>(out) % sizeof(uint4) / sizeof(Item));
  const int64_t items = batch * channels * items_of_channel;
  const int64_t blocks = blocks_for((items + before + kItems - 1) / kItems);
  if (blocks > INT32_MAX) return "reorder: too large for a GPU: take fewer images at a time";
  const Item* from = static_cast<const Item*>(in);
  Item* to = static_cast<Item*>(out);
  if (items <= INT32_MAX) {  // as in `permute`
    launch(permute_items<Item, uint32_t>, blocks, kThreads, stream, from, to,
           static_cast<uint32_t>(items), static_cast<uint32_t>(items_of_channel),
           static_cast<uint32_t>(channels), static_cast<uint32_t>(branch_factor), before);
  } else {
    launch(permute_items<Item, uint64_t>, blocks, kThreads, stream, from, to,
           static_cast<uint64_t>(items), static_cast<uint64_t>(items_of_channel),
           static_cast<uint64_t>(channels), static_cast<uint64_t>(branch_factor), before);
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
  using igc::cuda::permute_by_items;
  const int64_t bytes = spatial * item_bytes;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  if (aligned(in, out, bytes, 16)) {
    return permute<uint4>(in, out, batch, channels, bytes, branch_factor, cuda_stream);
  }
  if (aligned(in, out, bytes, 8)) {
    return permute<uint2>(in, out, batch, channels, bytes, branch_factor, cuda_stream);
  }
  if (aligned(in, out, bytes, 4)) {
    return permute_by_items<uint32_t>(in, out, batch, channels, bytes, branch_factor, cuda_stream);
  }
  return permute_by_items<uint16_t>(in, out, batch, channels, bytes, branch_factor, cuda_stream);
}
