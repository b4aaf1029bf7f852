/*!
 * Batch normalisation: sums over each channel, what follows from them, and one pass over the data.
 * A block has a slice of one channel, in strips; or a whole channel, in its registers, so that each
 * number is read once.
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

/*! How a block's threads hold a whole channel: so many strips in each of so many threads. */
template <int kStrips_, int kThreads_>
struct Holding {
  static constexpr int kStrips = kStrips_;
  static constexpr int kThreads = kThreads_;
  static constexpr int64_t kMost = kStrips * kThreads;
};

/*! Call `each` with the number of each strip held, its offset in the arrays, its place in a row. */
template <typename Item, typename Held, typename Each>
__device__ inline void for_held(const Channels& p, int channel, Each each) {
#pragma unroll
  for (int i = 0; i < Held::kStrips; ++i) {
    const int64_t strip = i * Held::kThreads + static_cast<int>(threadIdx.x);
    if (strip < p.maps.strips) {
      const Place place(p.maps, strip, kStrip<Item>);
      each(i, (place.image * p.channels + channel) * p.maps.plane(), place.x);
    }
  }
}

/*! Sum two numbers over a block; all threads get the sums. */
template <int kBlock = kThreads>
__device__ inline void sum_over_block(double& first, double& second) {
  __shared__ double sums[2][kBlock];
  sums[0][threadIdx.x] = first;
  sums[1][threadIdx.x] = second;
  for (int half = kBlock / 2; half > 0; half /= 2) {
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

/*! Add the distances of a strip's numbers from a pivot, and their squares. */
template <typename Item>
__device__ inline void add_distances(const Strip<Item>& strip, int x, int width, Item pivot,
                                     Item& sum, Item& squares) {
#pragma unroll
  for (int k = 0; k < kStrip<Item>; ++k) {
    const Item distance = x + k < width ? strip.at[k] - pivot : Item(0);
    sum += distance;
    squares += distance * distance;
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
    add_distances(read_strip(data + offset, x, p.maps.width, p.maps.whole), x, p.maps.width, pivot,
                  sum, squares);
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

/*! What a channel's numbers are multiplied by, and what is added. */
template <typename Item>
struct Line {
  Item scale, shift;
};

/*! Find it by the sums of `sum_data`; one thread keeps what is asked for later. */
template <typename Item>
__device__ inline Line<Item> find_line(const Channels& p, const Settings<Item>& s, int channel,
                                       Item pivot, double sum, double squares, Item* saved) {
  const double distance = sum / s.count;
  const double mean = static_cast<double>(pivot) + distance;
  double variance = squares / s.count - distance * distance;
  if (variance < 0) variance = 0;  // NaN stays
  const double inverse = 1 / sqrt(variance + s.eps);
  const Line<Item> line = {
      static_cast<Item>(s.gamma[channel] * inverse),
      static_cast<Item>(s.beta[channel] - mean * inverse * s.gamma[channel])};
  if (writes_for(p)) {
    saved[kRunningMean * p.channels + channel] =
        static_cast<Item>(s.momentum * s.running_mean[channel] + (1 - s.momentum) * mean);
    saved[kRunningVariance * p.channels + channel] =
        static_cast<Item>(s.momentum * s.running_variance[channel] + (1 - s.momentum) * variance);
    saved[kMean * p.channels + channel] = static_cast<Item>(mean);
    saved[kInverse * p.channels + channel] = static_cast<Item>(inverse);
    saved[kScale * p.channels + channel] = line.scale;
    saved[kShift * p.channels + channel] = line.shift;
  }
  return line;
}

/*! Normalise a strip, and apply the activation. */
template <typename Item>
__device__ inline void follow(const Line<Item>& line, int activation, Strip<Item>& strip) {
#pragma unroll
  for (int k = 0; k < kStrip<Item>; ++k) {
    strip.at[k] = activated(on_line(strip.at[k], line.scale, line.shift), activation);
  }
}

/*! Find the channel's statistics, and normalise. */
template <typename T>
__global__ void __launch_bounds__(kThreads)
    normalise(Channels p, Settings<ItemOf<T>> s, const T* __restrict__ data,
              const double* __restrict__ partial, ItemOf<T>* __restrict__ saved,
              T* __restrict__ out) {
  using Item = ItemOf<T>;
  const int channel = static_cast<int>(blockIdx.x) % p.channels;
  double sum, squares;
  sum_slices(p, channel, partial, sum, squares);
  const Item pivot = widen(data[channel * p.maps.plane()]);
  const Line<Item> line = find_line(p, s, channel, pivot, sum, squares, saved);
  out += p.moved(channel);
  for_strips<Item>(p, channel, [&](int64_t offset, int x) {
    Strip<Item> strip = read_strip(data + offset, x, p.maps.width, p.maps.whole);
    follow(line, s.activation, strip);
    write_strip(out + offset, x, p.maps.width, p.maps.whole, strip);
  });
}

/*! The same where a block holds a channel. */
template <typename T, typename Held>
__global__ void __launch_bounds__(Held::kThreads)
    normalise_held(Channels p, Settings<ItemOf<T>> s, const T* __restrict__ data,
                   ItemOf<T>* __restrict__ saved, T* __restrict__ out) {
  using Item = ItemOf<T>;
  const int channel = static_cast<int>(blockIdx.x);
  const Item pivot = widen(data[channel * p.maps.plane()]);
  Strip<Item> held[Held::kStrips];
  for_held<Item, Held>(p, channel, [&](int i, int64_t offset, int x) {
    held[i] = read_strip(data + offset, x, p.maps.width, p.maps.whole);
  });
  Item sum = 0, squares = 0;
  for_held<Item, Held>(p, channel, [&](int i, int64_t, int x) {
    add_distances(held[i], x, p.maps.width, pivot, sum, squares);
  });
  double all = sum, all_squares = squares;
  sum_over_block<Held::kThreads>(all, all_squares);
  const Line<Item> line = find_line(p, s, channel, pivot, all, all_squares, saved);
  out += p.moved(channel);
  for_held<Item, Held>(p, channel, [&](int i, int64_t offset, int x) {
    follow(line, s.activation, held[i]);
    write_strip(out + offset, x, p.maps.width, p.maps.whole, held[i]);
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

/*! A channel of the backward pass, by what the forward pass saved of it. */
template <typename Item>
struct Passed {
  __device__ Passed(const Channels& p, int channel, int activation, const Item* saved)
      : mean(saved[kMean * p.channels + channel]),
        inverse(saved[kInverse * p.channels + channel]),
        line{saved[kScale * p.channels + channel], saved[kShift * p.channels + channel]},
        activation(activation) {}

  __device__ Item gradient(Item head, Item number) const {
    return passed(head, on_line(number, line.scale, line.shift), activation);
  }

  /*! Add the gradients of a strip, and their products with the distances from the mean. */
  __device__ void add(const Strip<Item>& heads, const Strip<Item>& strip, int x, int width,
                      Item& sum, Item& products) const {
#pragma unroll
    for (int k = 0; k < kStrip<Item>; ++k) {
      if (x + k >= width) continue;
      const Item head = gradient(heads.at[k], strip.at[k]);
      sum += head;
      products += head * (strip.at[k] - mean);
    }
  }

  Item mean;
  double inverse;
  Line<Item> line;
  int activation;
};

/*! Sums of the gradient, and of its products with the distances from the mean. */
template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_gradient(Channels p, int activation, const T* __restrict__ head,
                 const T* __restrict__ data, const ItemOf<T>* __restrict__ saved,
                 double* __restrict__ partial) {
  using Item = ItemOf<T>;
  const int channel = static_cast<int>(blockIdx.x) % p.channels;
  const Passed<Item> of(p, channel, activation, saved);
  head += p.moved(channel);
  Item sum = 0, products = 0;
  for_strips<Item>(p, channel, [&](int64_t offset, int x) {
    const Strip<Item> heads = read_strip(head + offset, x, p.maps.width, p.maps.whole);
    const Strip<Item> strip = read_strip(data + offset, x, p.maps.width, p.maps.whole);
    of.add(heads, strip, x, p.maps.width, sum, products);
  });
  put_sums(sum, products, partial);
}

/*! Where the gradients go; each may be NULL. */
template <typename T>
struct NormGradients {
  ItemOf<T>*gamma, *beta;
  T* data;
};

/*! The data gradient is made of the gradient, of the data, and of a constant. */
template <typename T>
struct Spread {
  using Item = ItemOf<T>;

  /*! By the channel's sums; one thread writes the gradients of gamma and beta. */
  __device__ Spread(const Channels& p, int channel, const Passed<Item>& of, double count,
                    double sum, double products, const NormGradients<T>& to)
      : of(of),
        of_data(static_cast<Item>(-of.line.scale * of.inverse * of.inverse * products / count)),
        more(static_cast<Item>(-of.line.scale * sum / count)) {
    if (!writes_for(p)) return;
    if (to.beta != nullptr) to.beta[channel] = static_cast<Item>(sum);
    if (to.gamma != nullptr) to.gamma[channel] = static_cast<Item>(products * of.inverse);
  }

  /*! From a strip of gradients to that of the data gradient. */
  __device__ void operator()(const Strip<Item>& strip, Strip<Item>& heads) const {
#pragma unroll
    for (int k = 0; k < kStrip<Item>; ++k) {
      const Item gradient = of.gradient(heads.at[k], strip.at[k]);
      heads.at[k] = of.line.scale * gradient + (of_data * (strip.at[k] - of.mean) + more);
    }
  }

  const Passed<Item>& of;
  Item of_data, more;
};

/*! The gradients, by the sums of all slices. */
template <typename T>
__global__ void __launch_bounds__(kThreads)
    spread_gradient(Channels p, double count, int activation, const T* __restrict__ head,
                    const T* __restrict__ data, const ItemOf<T>* __restrict__ saved,
                    const double* __restrict__ partial, NormGradients<T> to) {
  using Item = ItemOf<T>;
  const int channel = static_cast<int>(blockIdx.x) % p.channels;
  const Passed<Item> of(p, channel, activation, saved);
  double sum, products;
  sum_slices(p, channel, partial, sum, products);
  const Spread<T> spread(p, channel, of, count, sum, products, to);
  if (to.data == nullptr) return;
  head += p.moved(channel);
  for_strips<Item>(p, channel, [&](int64_t offset, int x) {
    Strip<Item> heads = read_strip(head + offset, x, p.maps.width, p.maps.whole);
    const Strip<Item> strip = read_strip(data + offset, x, p.maps.width, p.maps.whole);
    spread(strip, heads);
    write_strip(to.data + offset, x, p.maps.width, p.maps.whole, heads);
  });
}

/*! The same where a block holds a channel. */
template <typename T, typename Held>
__global__ void __launch_bounds__(Held::kThreads)
    spread_held(Channels p, double count, int activation, const T* __restrict__ head,
                const T* __restrict__ data, const ItemOf<T>* __restrict__ saved,
                NormGradients<T> to) {
  using Item = ItemOf<T>;
  const int channel = static_cast<int>(blockIdx.x);
  const Passed<Item> of(p, channel, activation, saved);
  head += p.moved(channel);
  Strip<Item> heads[Held::kStrips], strips[Held::kStrips];
  for_held<Item, Held>(p, channel, [&](int i, int64_t offset, int x) {
    heads[i] = read_strip(head + offset, x, p.maps.width, p.maps.whole);
    strips[i] = read_strip(data + offset, x, p.maps.width, p.maps.whole);
  });
  Item sum = 0, products = 0;
  for_held<Item, Held>(p, channel, [&](int i, int64_t, int x) {
    of.add(heads[i], strips[i], x, p.maps.width, sum, products);
  });
  double all = sum, all_products = products;
  sum_over_block<Held::kThreads>(all, all_products);
  const Spread<T> spread(p, channel, of, count, all, all_products, to);
  if (to.data == nullptr) return;
  for_held<Item, Held>(p, channel, [&](int i, int64_t offset, int x) {
    spread(strips[i], heads[i]);
    write_strip(to.data + offset, x, p.maps.width, p.maps.whole, heads[i]);
  });
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_NORM_H_
