/*! Batch normalisation in training on a GPU: checks and launches. */
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "cuda/cluster.cuh"
#include "cuda/device.h"
#include "cuda/norm.cuh"
#include "cuda/space.h"
#include "norm.h"

namespace igc::cuda {
namespace {

/*! The pieces of the workspace. */
struct NormSpace {
  NormSpace(const Channels& channels, void* memory) : space(memory) {
    const int64_t most = std::max(channels.slices, kMostOfCluster);
    partial = space.take<double>(2 * channels.channels * most);
  }

  Space space;
  double* partial;
};

template <typename T>
Channels channels_of(const igc_norm_sizes& s, bool whole) {
  return {s.channels, s.branch_factor, maps_of<T>(1, s.pixels, s.batch, whole)};
}

const char* check(const igc_norm_sizes& s) {
  if (s.batch < 0 || s.channels < 0 || s.pixels < 0) return "norm: a size of data is negative";
  if (!is_activation(s.activation)) return "norm: there is no such activation";
  if (s.type != IGC_FLOAT32 && s.type != IGC_FLOAT64 && s.type != IGC_FLOAT16 &&
      s.type != IGC_BFLOAT16) {
    return "norm: there is no such number type";
  }
  if (s.branch_factor < 1 || s.channels % s.branch_factor != 0) {
    return "norm: branch_factor does not divide the channels";
  }
  if (static_cast<double>(s.channels) * static_cast<double>(s.pixels) > INT32_MAX) {
    return "norm: too large for a GPU";
  }
  return nullptr;
}

bool is_empty(const igc_norm_sizes& s) { return s.batch * s.channels * s.pixels == 0; }

int64_t workspace_of(const igc_norm_sizes& s) {
  if (is_empty(s)) return 0;
  // two pixels to a strip, as in float64, are the most strips that there can be
  return NormSpace(channels_of<double>(s, false), nullptr).space.bytes();
}

const char* check_call(const igc_norm_sizes* sizes, const void* workspace, int64_t bytes) {
  const char* wrong = check(*sizes);
  if (wrong != nullptr || is_empty(*sizes)) return wrong;
  if (bytes < workspace_of(*sizes) || workspace == nullptr) {
    return "norm: the workspace is too small";
  }
  return nullptr;
}

/*! Call `call` with a number of the type. */
template <typename Call>
void with_type(int type, Call call) {
  switch (type) {
    case IGC_FLOAT32:
      return call(float());
    case IGC_FLOAT64:
      return call(double());
    case IGC_FLOAT16:
      return call(__half());
    default:
      return call(__nv_bfloat16());
  }
}

/*! A launch whose clusters hold a channel each. */
struct Holding {
  int slices = 0;  // the blocks of a cluster; 0: none can
  int threads;
  size_t bytes;
};

/*! Find how clusters of a kernel's blocks can hold so many arrays' channels. */
template <typename T, auto kKernel>
Holding holding_of(Channels p, int arrays) {
  // four blocks with the good bytes share a multiprocessor; below the least a cluster's barrier
  // costs more than further blocks gain
  constexpr size_t kGood = 52 * 1024, kLeast = 4 * 1024;
  constexpr int64_t kBlocks = 2 * kMultiprocessors, kFewest = kMultiprocessors / 2;
  const ClusterLimits limits = cluster_limits<kKernel>(kMostNormThreads);
  const auto bytes = [&] { return arrays * sizeof(Stored<T>) * p.each(); };
  const int64_t otherwise = p.blocks();
  p.slices = 1;
  while (2 * p.slices <= limits.blocks &&
         (bytes() > kGood || (p.blocks() < kBlocks && bytes() > kLeast))) {
    p.slices *= 2;
  }
  if (bytes() > limits.bytes || p.blocks() < std::min(kFewest, otherwise)) return {};
  return {p.slices, bytes() > kGood ? kMostNormThreads : kThreads, bytes()};
}

template <typename T>
void forward(const igc_norm_sizes& s, double momentum, double eps, const T* data,
             const ItemOf<T>* gamma, const ItemOf<T>* beta, const ItemOf<T>* running_mean,
             const ItemOf<T>* running_variance, T* out, ItemOf<T>* saved, void* workspace,
             cudaStream_t stream) {
  const bool whole = aligned<T>(data, s.pixels) && aligned<T>(out, s.pixels);
  Channels p = channels_of<T>(s, whole);
  const NormSpace space(p, workspace);
  const double count = static_cast<double>(s.batch) * static_cast<double>(s.pixels);
  const Settings<ItemOf<T>> settings = {count, momentum, eps,          s.activation,
                                        gamma, beta,     running_mean, running_variance};
  const Holding holding = holding_of<T, normalise_held<T>>(p, 1);
  if (holding.slices > 0) {
    p.slices = holding.slices;
    launch_clusters(p.slices, holding.bytes, normalise_held<T>, p.blocks(), holding.threads, stream,
                    p, settings, data, space.partial, saved, out);
    return;
  }
  launch(sum_data<T>, p.blocks(), kThreads, stream, p, data, space.partial);
  launch(normalise<T>, p.blocks(), kThreads, stream, p, settings, data, space.partial, saved, out);
}

template <typename T>
void backward(const igc_norm_sizes& s, const T* head, const T* data, const ItemOf<T>* saved,
              T* data_gradient, ItemOf<T>* gamma_gradient, ItemOf<T>* beta_gradient,
              void* workspace, cudaStream_t stream) {
  const bool whole = aligned<T>(head, s.pixels) && aligned<T>(data, s.pixels) &&
                     aligned<T>(data_gradient, s.pixels);
  Channels p = channels_of<T>(s, whole);
  const NormSpace space(p, workspace);
  const double count = static_cast<double>(s.batch) * static_cast<double>(s.pixels);
  const NormGradients<T> to = {gamma_gradient, beta_gradient, data_gradient};
  const Holding holding = holding_of<T, spread_held<T>>(p, 2);
  if (holding.slices > 0) {
    p.slices = holding.slices;
    launch_clusters(p.slices, holding.bytes, spread_held<T>, p.blocks(), holding.threads, stream, p,
                    count, s.activation, head, data, saved, space.partial, to);
    return;
  }
  launch(sum_gradient<T>, p.blocks(), kThreads, stream, p, s.activation, head, data, saved,
         space.partial);
  launch(spread_gradient<T>, p.blocks(), kThreads, stream, p, count, s.activation, head, data,
         saved, space.partial, to);
}

}  // namespace
}  // namespace igc::cuda

using igc::cuda::ItemOf;

extern "C" int64_t igc_norm_workspace_cuda(const igc_norm_sizes* sizes) {
  return igc::cuda::check(*sizes) == nullptr ? igc::cuda::workspace_of(*sizes) : -1;
}

extern "C" const char* igc_norm_forward_cuda(const igc_norm_sizes* sizes, double momentum,
                                             double eps, const void* data, const void* gamma,
                                             const void* beta, const void* running_mean,
                                             const void* running_variance, void* out, void* saved,
                                             void* workspace, int64_t workspace_bytes, int device,
                                             void* stream) {
  const char* wrong = igc::cuda::check_call(sizes, workspace, workspace_bytes);
  if (wrong != nullptr || igc::cuda::is_empty(*sizes)) return wrong;
  const igc::cuda::OnDevice on(device);
  if (on.wrong() != nullptr) return on.wrong();
  igc::cuda::with_type(sizes->type, [&](auto number) {
    using T = decltype(number);
    using Item = ItemOf<T>;
    igc::cuda::forward<T>(*sizes, momentum, eps, static_cast<const T*>(data),
                          static_cast<const Item*>(gamma), static_cast<const Item*>(beta),
                          static_cast<const Item*>(running_mean),
                          static_cast<const Item*>(running_variance), static_cast<T*>(out),
                          static_cast<Item*>(saved), workspace,
                          static_cast<cudaStream_t>(stream));
  });
  return on.launched();
}

extern "C" const char* igc_norm_backward_cuda(const igc_norm_sizes* sizes,
                                              const void* out_gradient, const void* data,
                                              const void* saved, void* data_gradient,
                                              void* gamma_gradient, void* beta_gradient,
                                              void* workspace, int64_t workspace_bytes, int device,
                                              void* stream) {
  const char* wrong = igc::cuda::check_call(sizes, workspace, workspace_bytes);
  if (wrong != nullptr || igc::cuda::is_empty(*sizes)) return wrong;
  const igc::cuda::OnDevice on(device);
  if (on.wrong() != nullptr) return on.wrong();
  igc::cuda::with_type(sizes->type, [&](auto number) {
    using T = decltype(number);
    using Item = ItemOf<T>;
    igc::cuda::backward<T>(*sizes, static_cast<const T*>(out_gradient),
                           static_cast<const T*>(data), static_cast<const Item*>(saved),
                           static_cast<T*>(data_gradient), static_cast<Item*>(gamma_gradient),
                           static_cast<Item*>(beta_gradient), workspace,
                           static_cast<cudaStream_t>(stream));
  });
  return on.launched();
}
