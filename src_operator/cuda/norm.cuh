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

/*! Sum two numbers over a block; the first thread writes them. */
template <typename Item>
__device__ inline void put_sums(Item first, Item second, double* to) {
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
  if (threadIdx.x == 0) {
    to[0] = sums[0][0];
    to[1] = sums[1][0];
  }
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
  put_sums(sum, squares, partial + 2 * static_cast<int64_t>(blockIdx.x));
}

/*! A thread for each channel: its statistics, the running ones, and the line that normalises. */
template <typename T>
__global__ void find_lines(Channels p, double count, double momentum, double eps,
                           const T* __restrict__ data, const double* __restrict__ partial,
                           const ItemOf<T>* gamma, const ItemOf<T>* beta,
                           const ItemOf<T>* running_mean, const ItemOf<T>* running_variance,
                           ItemOf<T>* saved) {
  using Item = ItemOf<T>;
  const int channel = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (channel >= p.channels) return;
  double sum = 0, squares = 0;
  for (int slice = 0; slice < p.slices; ++slice) {
    const int64_t block = static_cast<int64_t>(slice) * p.channels + channel;
    sum += partial[2 * block];
    squares += partial[2 * block + 1];
  }
  const double distance = sum / count;
  const double mean = static_cast<double>(widen(data[channel * p.maps.plane()])) + distance;
  double variance = squares / count - distance * distance;
  if (variance < 0) variance = 0;  // NaN stays
  const double inverse = 1 / sqrt(variance + eps);
  saved[kRunningMean * p.channels + channel] =
      static_cast<Item>(momentum * running_mean[channel] + (1 - momentum) * mean);
  saved[kRunningVariance * p.channels + channel] =
      static_cast<Item>(momentum * running_variance[channel] + (1 - momentum) * variance);
  saved[kMean * p.channels + channel] = static_cast<Item>(mean);
  saved[kInverse * p.channels + channel] = static_cast<Item>(inverse);
  saved[kScale * p.channels + channel] = static_cast<Item>(gamma[channel] * inverse);
  saved[kShift * p.channels + channel] =
      static_cast<Item>(beta[channel] - mean * inverse * gamma[channel]);
}

/*! The channel's number before the activation; both passes compute the same bits. */
template <typename Item>
__device__ inline Item on_line(Item number, Item scale, Item shift) {
  return fma(number, scale, shift);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    normalise(Channels p, int activation, const T* __restrict__ data,
              const ItemOf<T>* __restrict__ saved, T* __restrict__ out) {
  using Item = ItemOf<T>;
  const int channel = static_cast<int>(blockIdx.x) % p.channels;
  const Item scale = saved[kScale * p.channels + channel];
  const Item shift = saved[kShift * p.channels + channel];
  out += p.moved(channel);
  for_strips<Item>(p, channel, [&](int64_t offset, int x) {
    Strip<Item> strip = read_strip(data + offset, x, p.maps.width, p.maps.whole);
#pragma unroll
    for (int k = 0; k < kStrip<Item>; ++k) {
      strip.at[k] = activated(on_line(strip.at[k], scale, shift), activation);
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
  put_sums(sum, products, partial + 2 * static_cast<int64_t>(blockIdx.x));
}

/*!
 * A thread for each channel: the gradients of gamma and beta, and the three factors that the data
 * gradient is made of: that of the gradient, that of the data, and what is added.
 */
template <typename Item>
__global__ void find_factors(Channels p, double count, const double* __restrict__ partial,
                             const Item* __restrict__ saved, Item* gamma_gradient,
                             Item* beta_gradient, Item* factors) {
  const int channel = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (channel >= p.channels) return;
  double sum = 0, products = 0;
  for (int slice = 0; slice < p.slices; ++slice) {
    const int64_t block = static_cast<int64_t>(slice) * p.channels + channel;
    sum += partial[2 * block];
    products += partial[2 * block + 1];
  }
  const double mean = saved[kMean * p.channels + channel];
  const double inverse = saved[kInverse * p.channels + channel];
  const double scale = saved[kScale * p.channels + channel];
  if (beta_gradient != nullptr) beta_gradient[channel] = static_cast<Item>(sum);
  if (gamma_gradient != nullptr) gamma_gradient[channel] = static_cast<Item>(products * inverse);
  const double of_data = -scale * inverse * inverse * products / count;
  factors[channel] = static_cast<Item>(scale);
  factors[p.channels + channel] = static_cast<Item>(of_data);
  factors[2 * p.channels + channel] = static_cast<Item>(-scale * sum / count);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    spread_gradient(Channels p, int activation, const T* __restrict__ head,
                    const T* __restrict__ data, const ItemOf<T>* __restrict__ saved,
                    const ItemOf<T>* __restrict__ factors, T* __restrict__ data_gradient) {
  using Item = ItemOf<T>;
  const int channel = static_cast<int>(blockIdx.x) % p.channels;
  const Item mean = saved[kMean * p.channels + channel];
  const Item scale = saved[kScale * p.channels + channel];
  const Item shift = saved[kShift * p.channels + channel];
  const Item of_head = factors[channel];
  const Item of_data = factors[p.channels + channel];
  const Item more = factors[2 * p.channels + channel];
  head += p.moved(channel);
  for_strips<Item>(p, channel, [&](int64_t offset, int x) {
    Strip<Item> heads = read_strip(head + offset, x, p.maps.width, p.maps.whole);
    const Strip<Item> strip = read_strip(data + offset, x, p.maps.width, p.maps.whole);
#pragma unroll
    for (int k = 0; k < kStrip<Item>; ++k) {
      const Item gradient =
          passed(heads.at[k], on_line(strip.at[k], scale, shift), activation);
      heads.at[k] = of_head * gradient + (of_data * (strip.at[k] - mean) + more);
    }
    write_strip(data_gradient + offset, x, p.maps.width, p.maps.whole, heads);
  });
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_NORM_H_
