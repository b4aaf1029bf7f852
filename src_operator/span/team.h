/*! Threads that work on one call of a span. */
#ifndef IGC_OPERATOR_SPAN_TEAM_H_
#define IGC_OPERATOR_SPAN_TEAM_H_

#include <sched.h>

#include <atomic>
#include <cstddef>
#include <functional>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

namespace igc {

/*! One of the threads, as the function that it runs sees it. */
class Worker {
 public:
  Worker(int index, int count, std::atomic<int>* arrived, std::atomic<int>* round)
      : index_(index), count_(count), arrived_(arrived), round_(round) {}

  int index() const { return index_; }
  int count() const { return count_; }

  /*! This thread's share of `total` items, in order. */
  size_t begin(size_t total) const { return total * index_ / count_; }
  size_t end(size_t total) const { return total * (index_ + 1) / count_; }

  /*! Wait until all have come here. It spins, and soon yields: other teams may need the cores. */
  void wait() const {
    if (count_ == 1) return;
    const int now = round_->load(std::memory_order_acquire);
    if (arrived_->fetch_add(1, std::memory_order_acq_rel) + 1 == count_) {
      arrived_->store(0, std::memory_order_relaxed);
      round_->store(now + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; round_->load(std::memory_order_acquire) == now; ++spins) {
      if (spins < kSpins) {
#if defined(__x86_64__)
        _mm_pause();
#endif
      } else {
        sched_yield();
      }
    }
  }

 private:
  static constexpr int kSpins = 4000;
  int index_, count_;
  std::atomic<int>* arrived_;
  std::atomic<int>* round_;
};

/*! Run `work` on so many threads at once; fewer where OpenMP gives fewer. It must not throw. */
inline void run_team(int threads, const std::function<void(const Worker&)>& work) {
  std::atomic<int> arrived{0}, round{0};
#ifdef _OPENMP
  if (threads > 1) {
#pragma omp parallel num_threads(threads)
    work(Worker(omp_get_thread_num(), omp_get_num_threads(), &arrived, &round));
    return;
  }
#endif
  work(Worker(0, 1, &arrived, &round));
}

}  // namespace igc

#endif  // IGC_OPERATOR_SPAN_TEAM_H_
