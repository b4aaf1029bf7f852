/*!
 * Batch normalisation: sums over each channel, what follows from them, and one pass over the data.
 * A block has a slice of one channel, in strips.
 */
#ifndef IGC_OPERATOR_CUDA_NORM_H_
#define IGC_OPERATOR_CUDA_NORM_H_

#include <algorithm>
#include <cstdint>

#include "activation.cuh"
#include "launch.cuh"
#include "numbers.cuh"
#include "places.cuh"

namespace igc::cuda {

/*! The data of a normalisation, and how its channels are shared out. */
struct Channels {
  Channels(int64_t channels, int64_t factor, const Maps& maps)
      : channels(static_cast<int>(channels)), maps(maps) {
    after = {static_cast<int>(channels / factor), static_cast<int>(factor)};
    constexpr int64_t kBlocks = 1056;  // 8 on each of an H100's 132 multiprocessors
    const int64_t wanted = (kBlocks + channels - 1) / channels;
    slices = static_cast<int>(std::clamp<int64_t>(wanted, 1, blocks_for(maps.strips)));
  }

  int64_t blocks() const { return static_cast<int64_t>(channels) * slices; }

  /*! How far from its place in the data a channel lies in the result. */
  IGC_HOST_DEVICE int64_t moved(int channel) const {
    return (after(channel) - channel) * maps.plane();
  }

  int channels, slices;
  ChannelMap after;
  Maps maps;  // height 1: a channel of an image is one row
};

/*! What is kept, each (channels): for the backward pass, and the new running statistics. */
enum Saved { kMean, kInverse, kScale, kShift, kRunningMean, kRunningVariance };

/*! Call `each` with the offset in the arrays, the place in the row, for this thread's strips. */
template <typename Item, typename Each>
__device__ inline void for_strips(const Channels& p, int channel, Each each) {
  const int64_t step = static_cast<int64_t>(p.slices) * kThreads;
  const int slice = static_cast<int>(blockIdx.x) / p.channels;
  for (int64_t strip = static_cast<int64_t>(slice) * kThreads + threadIdx.x;
       strip < p.maps.strips; strip += step) {
    const Place place(p.maps, strip, kStrip<Item>);
    each((place.image * p.channels + channel) * p.maps.plane(), place.x);
  }
}

/*! Sum two numbers over a block; all threads get the sums. */
__device__ inline void sum_over_block(double& first, double& second) {
  __shared__ double sums[2][kThreads];
  sums[0][threadIdx.x] = first;
  sums[1][threadIdx.x] = second;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) {
      sums[0][threadIdx.x] += sums[0][threadIdx.x + half];
      sums[1][threadIdx.x] += sums[1][threadIdx.x + half];
    }
  }
  __syncthreads();
  first = sums[0][0];
  second = sums[1][0];
}

/*! The sums of a block, for `sum_slices`. */
__device__ inline void put_sums(double first, double second, double* partial) {
  sum_over_block(first, second);
  if (threadIdx.x > 0) return;
  partial[2 * static_cast<int64_t>(blockIdx.x)] = first;
  partial[2 * static_cast<int64_t>(blockIdx.x) + 1] = second;
}

/*! The sums of all slices of this block's channel: what a launch of its own would take longer for. */
__device__ inline void sum_slices(const Channels& p, int channel, const double* partial,
                                  double& first, double& second) {
  first = second = 0;
  for (int slice = static_cast<int>(threadIdx.x); slice < p.slices; slice += kThreads) {
    const int64_t block = static_cast<int64_t>(slice) * p.channels + channel;
    first += partial[2 * block];
    second += partial[2 * block + 1];
  }
  sum_over_block(first, second);
}

/*! Whether this thread writes what its channel has one number of. */
__device__ inline bool writes_for(const Channels& p) {
  return static_cast<int>(blockIdx.x) < p.channels && threadIdx.x == 0;
}

/*! Sums and sums of squares of distances from the channel's first number, wherever zero is. */
template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_data(Channels p, const T* __restrict__ data, double* __restrict__ partial) {
  using Item = ItemOf<T>;
  const int channel = static_cast<int>(blockIdx.x) % p.channels;
  const Item pivot = widen(data[channel * p.maps.plane()]);
  Item sum = 0, squares = 0;
  for_strips<Item>(p, channel, [&](int64_t offset, int x) {
    const Strip<Item> strip = read_strip(data + offset, x, p.maps.width, p.maps.whole);
#pragma unroll
    for (int k = 0; k < kStrip<Item>; ++k) {
      const Item distance = x + k < p.maps.width ? strip.at[k] - pivot : Item(0);
      sum += distance;
      squares += distance * distance;
    }
  });
  put_sums(sum, squares, partial);
}

/*! What a normalisation in training goes by, beside its data. */
template <typename Item>
struct Settings {
  double count, momentum, eps;  // count: of a channel's numbers
  int activation;
  const Item *gamma, *beta, *running_mean, *running_variance;
};

/*! The channel's number before the activation; both passes compute the same bits. */
template <typename Item>
__device__ inline Item on_line(Item number, Item scale, Item shift) {
  return fma(number, scale, shift);
}

/*! Find the channel's statistics, and normalise; the first slice keeps what is asked for later. */
template <typename T>
__global__ void __launch_bounds__(kThreads)
    normalise(Channels p, Settings<ItemOf<T>> s, const T* __restrict__ data,
              const double* __restrict__ partial, ItemOf<T>* __restrict__ saved,
              T* __restrict__ out) {
  using Item = ItemOf<T>;
  const int channel = static_cast<int>(blockIdx.x) % p.channels;
  double sum, squares;
  sum_slices(p, channel, partial, sum, squares);
  const double distance = sum / s.count;
  const double mean = static_cast<double>(widen(data[channel * p.maps.plane()])) + distance;
  double variance = squares / s.count - distance * distance;
  if (variance < 0) variance = 0;  // NaN stays
  const double inverse = 1 / sqrt(variance + s.eps);
  const Item scale = static_cast<Item>(s.gamma[channel] * inverse);
  const Item shift = static_cast<Item>(s.beta[channel] - mean * inverse * s.gamma[channel]);
  if (writes_for(p)) {
    saved[kRunningMean * p.channels + channel] =
        static_cast<Item>(s.momentum * s.running_mean[channel] + (1 - s.momentum) * mean);
    saved[kRunningVariance * p.channels + channel] =
        static_cast<Item>(s.momentum * s.running_variance[channel] + (1 - s.momentum) * variance);
    saved[kMean * p.channels + channel] = static_cast<Item>(mean);
    saved[kInverse * p.channels + channel] = static_cast<Item>(inverse);
    saved[kScale * p.channels + channel] = scale;
    saved[kShift * p.channels + channel] = shift;
  }
  out += p.moved(channel);
  for_strips<Item>(p, channel, [&](int64_t offset, int x) {
    Strip<Item> strip = read_strip(data + offset, x, p.maps.width, p.maps.whole);
#pragma unroll
    for (int k = 0; k < kStrip<Item>; ++k) {
      strip.at[k] = activated(on_line(strip.at[k], scale, shift), s.activation);
    }
    write_strip(out + offset, x, p.maps.width, p.maps.whole, strip);
  });
}

/*! What of the gradient passes the activation: at 0 and 6 as MXNet's relu and clip have it. */
template <typename Item>
__device__ inline Item passed(Item head, Item before, int activation) {
  const bool kept = activation == IGC_NO_ACTIVATION || before != before ||
                    (activation == IGC_RELU ? before > Item(0)
                                            : before >= Item(0) && before <= Item(6));
  return kept ? head : Item(0);
}

/*! Sums of the gradient, and of its products with the distances from the mean. */
template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_gradient(Channels p, int activation, const T* __restrict__ head,
                 const T* __restrict__ data, const ItemOf<T>* __restrict__ saved,
                 double* __restrict__ partial) {
  using Item = ItemOf<T>;
  const int channel = static_cast<int>(blockIdx.x) % p.channels;
  const Item mean = saved[kMean * p.channels + channel];
  const Item scale = saved[kScale * p.channels + channel];
  const Item shift = saved[kShift * p.channels + channel];
  head += p.moved(channel);
  Item sum = 0, products = 0;
  for_strips<Item>(p, channel, [&](int64_t offset, int x) {
    const Strip<Item> heads = read_strip(head + offset, x, p.maps.width, p.maps.whole);
    const Strip<Item> strip = read_strip(data + offset, x, p.maps.width, p.maps.whole);
#pragma unroll
    for (int k = 0; k < kStrip<Item>; ++k) {
      if (x + k >= p.maps.width) continue;
      const Item gradient =
          passed(heads.at[k], on_line(strip.at[k], scale, shift), activation);
      sum += gradient;
      products += gradient * (strip.at[k] - mean);
    }
  });
  put_sums(sum, products, partial);
}

/*! The gradients, which may be NULL; the first slice writes those of gamma and beta. */
template <typename T>
__global__ void __launch_bounds__(kThreads)
    spread_gradient(Channels p, double count, int activation, const T* __restrict__ head,
                    const T* __restrict__ data, const ItemOf<T>* __restrict__ saved,
                    const double* __restrict__ partial, ItemOf<T>* gamma_gradient,
                    ItemOf<T>* beta_gradient, T* __restrict__ data_gradient) {
  using Item = ItemOf<T>;
  const int channel = static_cast<int>(blockIdx.x) % p.channels;
  const Item mean = saved[kMean * p.channels + channel];
  const Item scale = saved[kScale * p.channels + channel];
  const Item shift = saved[kShift * p.channels + channel];
  const double inverse = saved[kInverse * p.channels + channel];
  double all, products;
  sum_slices(p, channel, partial, all, products);
  if (writes_for(p)) {
    if (beta_gradient != nullptr) beta_gradient[channel] = static_cast<Item>(all);
    if (gamma_gradient != nullptr) gamma_gradient[channel] = static_cast<Item>(products * inverse);
  }
  if (data_gradient == nullptr) return;
  // the data gradient is made of the gradient, of the data, and of a constant
  const Item of_data = static_cast<Item>(-scale * inverse * inverse * products / count);
  const Item more = static_cast<Item>(-scale * all / count);
  head += p.moved(channel);
  for_strips<Item>(p, channel, [&](int64_t offset, int x) {
    Strip<Item> heads = read_strip(head + offset, x, p.maps.width, p.maps.whole);
    const Strip<Item> strip = read_strip(data + offset, x, p.maps.width, p.maps.whole);
#pragma unroll
    for (int k = 0; k < kStrip<Item>; ++k) {
      const Item gradient =
          passed(heads.at[k], on_line(strip.at[k], scale, shift), activation);
      heads.at[k] = scale * gradient + (of_data * (strip.at[k] - mean) + more);
    }
    write_strip(data_gradient + offset, x, p.maps.width, p.maps.whole, heads);
  });
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_NORM_H_
