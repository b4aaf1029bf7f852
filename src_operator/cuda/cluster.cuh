/*!
 * Clusters of blocks, from sm_90 on: blocks that follow each other, run at the same time, and can
 * wait for each other.
 */
#ifndef IGC_OPERATOR_CUDA_CLUSTER_H_
#define IGC_OPERATOR_CUDA_CLUSTER_H_

#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "launch.cuh"

namespace igc::cuda {

/*! The most blocks of a cluster, a power of two; larger ones not all GPUs with clusters have. */
constexpr int kMostOfCluster = 8;

/*! What a kernel's launches on the current device may have. */
struct ClusterLimits {
  int blocks;    // of a cluster, a power of two; 1: no clusters
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
  __trap();  // `cluster_limits` gave no clusters
#endif
}

/*! The shared memory of a block, beside what its kernel has by itself, that is asked for. */
inline size_t cluster_bytes(int device) {
  // twice as much, and what blocks have beside it, is a multiprocessor's of sm_90 and sm_100
  constexpr size_t kHalf = 104 * 1024, kBeside = 4 * 1024;
  int most = 0;
  cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  return std::min(std::max(kUnaskedBytes, static_cast<size_t>(most)) - kBeside, kHalf);
}

/*!
 * Let a kernel have that much. Always asked for: what a kernel has by itself may make the 48 KB that
 * need no asking too few. The same for all launches on a device, as it is kept with the kernel.
 */
template <typename... Parameters>
void ask_for_bytes(void (*kernel)(Parameters...), size_t bytes) {
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       static_cast<int>(bytes));
}

#if CUDART_VERSION >= 11080

/*! The blocks of a kernel's largest cluster on a device; small GPUs may not have eight. */
template <typename... Parameters>
int blocks_of_cluster(void (*kernel)(Parameters...), int device, size_t bytes, int threads) {
  int clusters = 0, most = 0;
  cudaDeviceGetAttribute(&clusters, cudaDevAttrClusterLaunch, device);
  if (clusters == 0 || architecture_of(device) < 900) return 1;
  ask_for_bytes(kernel, bytes);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(kMostOfCluster);
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = bytes;
  const auto function = reinterpret_cast<const void*>(kernel);
  if (cudaOccupancyMaxPotentialClusterSize(&most, function, &config) != cudaSuccess) {
    cudaGetLastError();  // or the launch's result would be this one
    return 1;
  }
  int blocks = 1;
  while (2 * blocks <= std::min(most, kMostOfCluster)) blocks *= 2;
  return blocks;
}

#endif

/*! Tell what launches of a kernel with up to so many threads may have; found once for a device. */
template <auto kKernel>
ClusterLimits cluster_limits(int threads) {
  constexpr int kDevices = 64;
  static std::atomic<int> found[kDevices];  // 0: not yet
  int device = 0;
  cudaGetDevice(&device);
  const size_t bytes = cluster_bytes(device);
  int blocks = device < kDevices ? found[device].load() : 1;
#if CUDART_VERSION >= 11080
  if (blocks == 0) blocks = blocks_of_cluster(kKernel, device, bytes, threads);
#endif
  blocks = std::max(blocks, 1);
  if (device < kDevices) found[device].store(blocks);
  return {blocks, bytes};
}

/*! Launch a kernel whose blocks are clusters of so many; otherwise as `launch_with`. */
template <typename... Parameters>
void launch_clusters(int cluster, size_t shared, void (*kernel)(Parameters...), int64_t blocks,
                     int threads, cudaStream_t stream,
                     typename As<Parameters>::type... arguments) {
  if (blocks < 1) return;
  int device = 0;
  cudaGetDevice(&device);
  ask_for_bytes(kernel, cluster_bytes(device));
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
