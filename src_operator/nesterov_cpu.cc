#include "nesterov.h"

#include <algorithm>

namespace {

// below so many elements threads cost more than they save
constexpr int64_t kWorthThreads = 1 << 20;

template <bool kClips, bool kDecays>
void update(int64_t count, float* weight, const float* gradient, float* momentum, float rate,
            float decay, float mu, float rescale, float clip) {
#pragma omp parallel for simd if (parallel : count >= kWorthThreads)
  for (int64_t i = 0; i < count; ++i) {
    float step = gradient[i] * rescale;
    // as MXNet's clip: what is no number stays so
    if (kClips) step = step > clip ? clip : (step < -clip ? -clip : step);
    if (kDecays) step = step + decay * weight[i];
    const float moved = momentum[i] * mu + step;
    momentum[i] = moved;
    step = step + mu * moved;
    weight[i] = weight[i] - rate * step;
  }
}

}  // namespace

const char* igc_nesterov_cpu(int64_t count, float* weight, const float* gradient, float* momentum,
                             float rate, float decay, float mu, float rescale, float clip) {
  if (count < 0) return "nesterov: the count is negative";
  if (count > 0 && (weight == nullptr || gradient == nullptr || momentum == nullptr)) {
    return "nesterov: an array is NULL";
  }
  const auto chosen = clip < 0 ? (decay == 0 ? update<false, false> : update<false, true>)
                               : (decay == 0 ? update<true, false> : update<true, true>);
  chosen(count, weight, gradient, momentum, rate, decay, mu, rescale, clip);
  return nullptr;
}
