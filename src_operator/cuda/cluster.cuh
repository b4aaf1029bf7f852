/*!
 * Clusters of blocks, from sm_90 on: blocks that follow each other, run at the same time, and can
 * wait for each other.
 */
#ifndef IGC_OPERATOR_CUDA_CLUSTER_H_
#define IGC_OPERATOR_CUDA_CLUSTER_H_

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "launch.cuh"

namespace igc::cuda {

/*! The blocks of a cluster: 1, 2, 4, 8; more not all GPUs have. */
constexpr int kMostOfCluster = 8;

/*! What the current device has for clusters. */
struct ClusterLimits {
  int blocks;    // 1: no clusters
  size_t bytes;  // of shared memory, for a block
};

}  // namespace igc::cuda

#ifdef IGC_CUDA_STAND_IN
#include "cluster.h"  // of tests/cuda_stand_in
#else

#include "architecture.cuh"

namespace igc::cuda {

/*! Let all threads of the cluster come to here, and see what each of them has written. */
__device__ inline void cluster_barrier() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release;\n\tbarrier.cluster.wait.acquire;" ::: "memory");
#else
  __trap();  // `cluster_limits` was not asked
#endif
}

/*! Tell what launches may ask for. */
inline ClusterLimits cluster_limits() {
  // twice as much, and what blocks have beside it, is a multiprocessor's of sm_90 and sm_100
  constexpr size_t kHalf = 104 * 1024, kBeside = 4 * 1024;
  int device = 0, most = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
#if CUDART_VERSION >= 11080
  const int blocks = architecture_of(device) >= 900 ? kMostOfCluster : 1;
#else
  const int blocks = 1;
#endif
  const size_t bytes = std::max(kUnaskedBytes, static_cast<size_t>(most)) - kBeside;
  return {blocks, std::min(bytes, kHalf)};
}

/*! Launch a kernel whose blocks are clusters of so many; otherwise as `launch_with`. */
template <typename... Parameters>
void launch_clusters(int cluster, size_t shared, void (*kernel)(Parameters...), int64_t blocks,
                     int threads, cudaStream_t stream,
                     typename As<Parameters>::type... arguments) {
  if (blocks < 1) return;
  if (shared > kUnaskedBytes) {
    // the same for all launches on a device: it is kept with the kernel
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(cluster_limits().bytes));
  }
  void* pointers[] = {const_cast<void*>(static_cast<const void*>(&arguments))...};
  const dim3 grid(static_cast<unsigned>(blocks)), block(static_cast<unsigned>(threads));
#if CUDART_VERSION >= 11080
  if (cluster > 1) {
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = static_cast<unsigned>(cluster);
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = 1;
    cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(kernel), pointers);
    return;
  }
#endif
  cudaLaunchKernel(kernel, grid, block, pointers, shared, stream);
}

}  // namespace igc::cuda

#endif

#endif  // IGC_OPERATOR_CUDA_CLUSTER_H_
