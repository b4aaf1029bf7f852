// What this machine can do: the rate of fused multiply-adds in registers, and of copying memory.
//
//   peak THREADS   prints {"peak_gflops": ..., "copy_gbs": ...}
//
// The best of several short tries counts, as other work only ever slows a try down.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

// Enough independent sums to hide the latency of a multiply-add on two units.
constexpr int kSums = 12;
constexpr int64_t kRounds = 2'000'000;
constexpr size_t kCopyBytes = size_t{256} << 20;
constexpr int kPeakTries = 200;  // of some milliseconds: some meet the machine at rest
constexpr int kCopyTries = 20;

double Seconds() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

// A kernel for vectors of BYTES: kSums sums in registers, multiplied and added to kRounds times.
#define IGC_PEAK_KERNEL(NAME, BYTES, TARGET)                                       \
  TARGET __attribute__((noinline)) float NAME(float factor) {                      \
    typedef float Vector __attribute__((vector_size(BYTES)));                      \
    Vector a = {}, s[kSums];                                                       \
    a += factor;                                                                   \
    for (int i = 0; i < kSums; ++i) s[i] = a * static_cast<float>(i);              \
    for (int64_t round = 0; round < kRounds; ++round) {                            \
      _Pragma("GCC unroll 12") for (int i = 0; i < kSums; ++i) s[i] = s[i] * a + a; \
    }                                                                              \
    float total = 0;                                                               \
    for (int i = 0; i < kSums; ++i)                                                \
      for (size_t k = 0; k < BYTES / sizeof(float); ++k) total += s[i][k];         \
    return total;                                                                  \
  }

#if defined(__x86_64__)
IGC_PEAK_KERNEL(PeakAvx512, 64, __attribute__((target("avx512f"))))
IGC_PEAK_KERNEL(PeakAvx2, 32, __attribute__((target("avx2,fma"))))
#endif
IGC_PEAK_KERNEL(PeakBase, 16, )

template <typename Work>
double BestSeconds(int threads, int tries, Work work) {
  double best = 1e30;
  for (int attempt = 0; attempt < tries; ++attempt) {
    std::vector<std::thread> pool;
    const double start = Seconds();
    for (int i = 1; i < threads; ++i) pool.emplace_back(work, i);
    work(0);
    for (auto& thread : pool) thread.join();
    best = std::min(best, Seconds() - start);
  }
  return best;
}

double Gflops(int threads, float (*kernel)(float), int lanes) {
  volatile float sink = 0;
  const double seconds = BestSeconds(threads, kPeakTries, [&](int) { sink = kernel(1e-3f); });
  return 2e-9 * kRounds * kSums * lanes * threads / seconds;
}

double CopyGbs(int threads) {
  const size_t part = kCopyBytes / threads;
  char* from = static_cast<char*>(std::malloc(kCopyBytes));
  char* to = static_cast<char*>(std::malloc(kCopyBytes));
  if (!from || !to) std::exit(1);
  std::memset(from, 1, kCopyBytes);
  std::memset(to, 2, kCopyBytes);
  const double seconds = BestSeconds(
      threads, kCopyTries, [&](int i) { std::memcpy(to + i * part, from + i * part, part); });
  std::free(from);
  std::free(to);
  // what is read and what is written
  return 2e-9 * static_cast<double>(part) * threads / seconds;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : 1;
  double peak = Gflops(threads, PeakBase, 4);
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    peak = std::max(peak, Gflops(threads, PeakAvx2, 8));
  if (__builtin_cpu_supports("avx512f")) peak = std::max(peak, Gflops(threads, PeakAvx512, 16));
#endif
  std::printf("{\"peak_gflops\": %.2f, \"copy_gbs\": %.2f}\n", peak, CopyGbs(threads));
  return 0;
}
