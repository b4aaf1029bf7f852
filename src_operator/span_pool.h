/*!
 * Plans that are not in use, kept for the next user.
 *
 * MXNet asks for the shape of a span's result many times, and Gluon makes a new operator state for
 * every forward pass (unless `static_alloc` is set), but planning, packing weights and taking
 * memory are worth doing once.
 */
#ifndef IGC_OPERATOR_SPAN_POOL_H_
#define IGC_OPERATOR_SPAN_POOL_H_

#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <utility>

#include "span/span.h"

namespace igc {

/*! What a plan is made for. */
struct SpanKey {
  std::string program;
  int64_t channels, height, width;

  bool operator==(const SpanKey& other) const {
    return channels == other.channels && height == other.height && width == other.width &&
           program == other.program;
  }
};

/*! A plan, and what it was last used with. */
struct PooledSpan {
  igc_span* span = nullptr;
  uint64_t content = 0;           // of the parameters that were packed; 0: none
  const void* address = nullptr;  // of a parameter: which layer it was
};

class SpanPool {
 public:
  /*! The one of this process. It is never destroyed: states may die after static objects do. */
  static SpanPool& get() {
    static SpanPool* const pool = new SpanPool;
    return *pool;
  }

  /*!
   * Take an idle plan, best the one that has the same parameters packed, else the one that served
   * the same layer; or make one. On failure `span` is NULL and `error` says why.
   *
   * content   0: packed weights do not matter
   */
  PooledSpan take(const SpanKey& key, uint64_t content, const void* address, std::string* error) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      auto found = idle_.end();
      int found_rank = 0;
      size_t alike = 0;
      for (auto entry = idle_.begin(); entry != idle_.end(); ++entry) {
        if (!(entry->first == key)) continue;
        ++alike;
        const PooledSpan& plan = entry->second;
        int rank = 1;
        if (address != nullptr && plan.address == address) rank = 2;
        if (content != 0 && plan.content == content) rank = 3;
        if (rank > found_rank) {
          found = entry;
          found_rank = rank;
        }
      }
      // Layers that are alike should not take each other's packed weights away.
      const bool spare = content == 0 || alike >= kAlike;
      if (found_rank > 1 || (found_rank == 1 && spare)) {
        const PooledSpan plan = found->second;
        idle_.erase(found);
        return plan;
      }
    }
    char text[1024] = "";
    PooledSpan plan;
    plan.span = igc_span_create(key.program.c_str(), key.channels, key.height, key.width, nullptr,
                                text, sizeof text);
    if (plan.span == nullptr) *error = text;
    return plan;
  }

  /*! Give a plan back. The oldest idle ones lose their memory, then go, where there are many. */
  void give(const SpanKey& key, const PooledSpan& plan) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.emplace_back(key, plan);
    if (idle_.size() > kIdle) {
      igc_span_destroy(idle_.front().second.span);
      idle_.pop_front();
    }
    size_t bytes = 0;
    for (auto entry = idle_.rbegin(); entry != idle_.rend(); ++entry) {
      const size_t more = igc_span_bytes(entry->second.span);
      if (bytes + more <= kIdleBytes) {
        bytes += more;
        continue;
      }
      igc_span_release(entry->second.span);
      entry->second.content = 0;
      bytes += igc_span_bytes(entry->second.span);
    }
  }

 private:
  static constexpr size_t kAlike = 8;  // idle plans of one key that may lie beside each other
  static constexpr size_t kIdle = 64;
  static constexpr size_t kIdleBytes = size_t{256} << 20;

  std::mutex mutex_;
  std::list<std::pair<SpanKey, PooledSpan>> idle_;  // oldest first
};

}  // namespace igc

#endif  // IGC_OPERATOR_SPAN_POOL_H_
