/*! The channel permutation on the CPU. */
#include <cstring>

#include "reorder.h"
#include "reorder_check.h"

namespace {

// Below this many bytes one thread is faster than waking the others.
constexpr int64_t kBytesWorthThreads = 128 * 1024;
// Below this many bytes in a channel, memcpy costs more for its call than for its copy.
constexpr int64_t kBytesWorthMemcpy = 64;

/*! Channels of many elements: each is one contiguous run of `run_bytes`. */
void permute_runs(const char* in, char* out, int64_t batch, int64_t channels, int64_t run_bytes,
                  int64_t branch_factor) {
  const int64_t group = channels / branch_factor;
  const int64_t runs = batch * channels;
#pragma omp parallel for schedule(static) if (runs * run_bytes >= kBytesWorthThreads)
  for (int64_t run = 0; run < runs; ++run) {
    const int64_t channel = run % channels;
    const int64_t source = run - channel + igc::source_channel(channel, branch_factor, group);
    std::memcpy(out + run * run_bytes, in + source * run_bytes, run_bytes);
  }
}

/*! Channels of few elements, such as the output of a global pooling: a small transposition. */
template <typename Item>
void permute_items(const Item* in, Item* out, int64_t batch, int64_t channels, int64_t spatial,
                   int64_t branch_factor) {
  const int64_t group = channels / branch_factor;
  const int64_t image = channels * spatial;
  const int64_t bytes = batch * image * static_cast<int64_t>(sizeof(Item));
#pragma omp parallel for schedule(static) if (bytes >= kBytesWorthThreads)
  for (int64_t n = 0; n < batch; ++n) {
    const Item* from = in + n * image;
    Item* to = out + n * image;
    for (int64_t j = 0; j < group; ++j) {
      for (int64_t i = 0; i < branch_factor; ++i) {
        const Item* source = from + (i * group + j) * spatial;
        for (int64_t s = 0; s < spatial; ++s) *to++ = source[s];
      }
    }
  }
}

}  // namespace

extern "C" const char* igc_reorder_cpu(const void* in, void* out, int64_t batch, int64_t channels,
                                       int64_t spatial, int64_t branch_factor, int item_bytes) {
  const char* wrong = igc::check_reorder(batch, channels, spatial, branch_factor, item_bytes);
  if (wrong != nullptr) return wrong;
  if (batch * channels * spatial == 0) return nullptr;
  if (spatial * item_bytes >= kBytesWorthMemcpy) {
    permute_runs(static_cast<const char*>(in), static_cast<char*>(out), batch, channels,
                 spatial * item_bytes, branch_factor);
    return nullptr;
  }
  switch (item_bytes) {
    case 2:
      permute_items(static_cast<const uint16_t*>(in), static_cast<uint16_t*>(out), batch, channels,
                    spatial, branch_factor);
      break;
    case 4:
      permute_items(static_cast<const uint32_t*>(in), static_cast<uint32_t*>(out), batch, channels,
                    spatial, branch_factor);
      break;
    default:
      permute_items(static_cast<const uint64_t*>(in), static_cast<uint64_t*>(out), batch, channels,
                    spatial, branch_factor);
  }
  return nullptr;
}
