/*! Clusters of blocks on the CPU: src_operator/cuda/cluster.cuh says what they do. */
#ifndef IGC_TESTS_CLUSTER_H_
#define IGC_TESTS_CLUSTER_H_

#include <cstdint>
#include <cstdlib>
#include <utility>

#include "cuda_runtime.h"

namespace igc::cuda {

template <auto kKernel>
ClusterLimits cluster_limits(int) {
  const bool none = std::getenv("IGC_STAND_IN_WITHOUT_CLUSTERS") != nullptr;
  return {none ? 1 : kMostOfCluster, kAskedBytes};
}

inline void cluster_barrier() { stand_in::wait(stand_in::kAtCluster); }

template <typename... Parameters>
void launch_clusters(int cluster, size_t shared, void (*kernel)(Parameters...), int64_t blocks,
                     int threads, cudaStream_t, typename As<Parameters>::type... arguments) {
  if (shared > kAskedBytes) std::abort();
  void* pointers[] = {const_cast<void*>(static_cast<const void*>(&arguments))...};
  stand_in::run(dim3(static_cast<unsigned>(blocks)), static_cast<unsigned>(threads),
                static_cast<unsigned>(cluster), shared, [&] {
                  stand_in::call(kernel, pointers, std::index_sequence_for<Parameters...>());
                });
}

}  // namespace igc::cuda

#endif  // IGC_TESTS_CLUSTER_H_
