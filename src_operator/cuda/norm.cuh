/*!
 * Batch normalisation: sums over each channel, what follows from them, and the data once more. Where
 * the shared memory of a cluster of blocks holds a channel, each number is read once; else two
 * kernels read it, the second each slice from its end, where the first was last.
 */
#ifndef IGC_OPERATOR_CUDA_NORM_H_
#define IGC_OPERATOR_CUDA_NORM_H_

#include <algorithm>
#include <cstdint>

#include "activation.cuh"
#include "async.cuh"
#include "cluster.cuh"
#include "launch.cuh"
#include "numbers.cuh"
#include "places.cuh"

namespace igc::cuda {

constexpr int kMostNormThreads = 512;

/*! So many blocks of kThreads threads does a multiprocessor have at a time. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 750
constexpr int kNormBlocks = 4;
#else
constexpr int kNormBlocks = 6;
#endif

/*! The data of a normalisation, and how its channels are shared out: each block has a slice. */
struct Channels {
  Channels(int64_t channels, int64_t factor, const Maps& maps)
      : channels(static_cast<int>(channels)), maps(maps) {
    after = {static_cast<int>(channels / factor), static_cast<int>(factor)};
    const int64_t blocks = int64_t{kMultiprocessors} * kNormBlocks;  // all at a time
    slices = static_cast<int>(std::clamp<int64_t>(blocks / channels, 1, blocks_for(maps.strips)));
  }

  int64_t blocks() const { return static_cast<int64_t>(channels) * slices; }

  /*! The strips of a slice. */
  IGC_HOST_DEVICE int64_t each() const { return (maps.strips + slices - 1) / slices; }

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

/*! A block's channel, and its strips of it. */
struct Slice {
  __device__ explicit Slice(const Channels& p) {
    channel = static_cast<int>(blockIdx.x) / p.slices;
    const int number = static_cast<int>(blockIdx.x) % p.slices;
    writes = number == 0 && threadIdx.x == 0;
    first = number * p.each();
    count = static_cast<int>(max(min(p.each(), p.maps.strips - first), int64_t(0)));
  }

  int channel;
  bool writes;  // whether this thread writes what its channel has one number of
  int64_t first;
  int count;
};

/*!
 * Call `each` with the number of each of this thread's strips, its offset in the arrays, and its
 * place in the row. `kReversed`: from the last one on.
 */
template <typename Item, bool kReversed = false, typename Each>
__device__ inline void for_strips(const Channels& p, const Slice& slice, Each each) {
  const int step = static_cast<int>(blockDim.x);
  int number = static_cast<int>(threadIdx.x);
  if (number >= slice.count) return;
  if (kReversed) number = slice.count - 1 - number;
  // the first strip by divisions, the others by what lies between them: maps are one row high
  const Place place(p.maps, slice.first + number, kStrip<Item>);
  const int64_t image = static_cast<int64_t>(p.channels) * p.maps.plane();
  int64_t offset = place.image * image + slice.channel * p.maps.plane();
  const int row = p.maps.row * kStrip<Item>;
  const int images = step / p.maps.row;
  const int64_t further = images * image;
  const int right = (step - images * p.maps.row) * kStrip<Item>;
  int x = place.x;
  while (true) {
    each(number, offset, x);
    number += kReversed ? -step : step;
    if (kReversed ? number < 0 : number >= slice.count) return;
    x += kReversed ? -right : right;
    offset += kReversed ? -further : further;
    if (kReversed ? x < 0 : x >= row) {
      x += kReversed ? row : -row;
      offset += kReversed ? -image : image;
    }
  }
}

/*! Sum two numbers over a warp, in a fixed order; all lanes get the sums. */
template <typename Number>
__device__ inline void sum_over_lanes(Number& first, Number& second) {
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    first += __shfl_xor_sync(0xffffffffu, first, distance);
    second += __shfl_xor_sync(0xffffffffu, second, distance);
  }
}

/*! Sum two numbers over a block, in a fixed order; the first warp gets the sums. */
template <typename Item>
__device__ inline void sum_over_block(Item first, Item second, double& sum, double& other) {
  __shared__ double sums[2][kMostNormThreads / kLanes];
  const int lane = threadIdx.x % kLanes;
  sum_over_lanes(first, second);
  if (lane == 0) {
    sums[0][threadIdx.x / kLanes] = first;
    sums[1][threadIdx.x / kLanes] = second;
  }
  __syncthreads();
  if (threadIdx.x >= kLanes) return;  // few do what takes doubles
  const bool there = lane < static_cast<int>(blockDim.x) / kLanes;
  sum = there ? sums[0][lane] : 0;
  other = there ? sums[1][lane] : 0;
  sum_over_lanes(sum, other);
}

/*! Keep the sums of a block for `sum_slices`. */
template <typename Item>
__device__ inline void put_sums(Item first, Item second, double* partial) {
  double sum = 0, other = 0;
  sum_over_block(first, second, sum, other);
  if (threadIdx.x > 0) return;
  partial[2 * static_cast<int64_t>(blockIdx.x)] = sum;
  partial[2 * static_cast<int64_t>(blockIdx.x) + 1] = other;
}

/*! Sum up what all slices of a channel kept; the first warp gets the sums. */
__device__ inline void sum_slices(const Channels& p, int channel, const double* partial,
                                  double& first, double& second) {
  if (threadIdx.x >= kLanes) return;
  partial += 2 * static_cast<int64_t>(channel) * p.slices;
  first = second = 0;
  for (int slice = static_cast<int>(threadIdx.x); slice < p.slices; slice += kLanes) {
    first += partial[2 * slice];
    second += partial[2 * slice + 1];
  }
  sum_over_lanes(first, second);
}

/*! The sums of a channel that a cluster holds, from those of each thread; for the first warp. */
template <typename Item>
__device__ inline void sum_over_cluster(const Channels& p, int channel, double* partial, Item first,
                                        Item second, double& sum, double& other) {
  if (p.slices == 1) {
    sum_over_block(first, second, sum, other);
    return;
  }
  put_sums(first, second, partial);
  cluster_barrier();
  sum_slices(p, channel, partial, sum, other);
}

/*! Give all threads of a block what the first one found. */
template <typename Found, typename Find>
__device__ inline Found found_by_first(Find find) {
  __shared__ Found found;
  if (threadIdx.x == 0) found = find();
  __syncthreads();
  return found;
}

/*! Copy this block's strips of an array to shared memory; each thread waits for its own. */
template <typename T>
__device__ inline void hold(const Channels& p, const Slice& slice, const T* array,
                            Stored<T>* held) {
  using Item = ItemOf<T>;
  for_strips<Item>(p, slice, [&](int i, int64_t offset, int x) {
    if (p.maps.whole) {
      copy_async<sizeof(Stored<T>)>(held + i, array + offset + x, true);
    } else {
#pragma unroll
      for (int k = 0; k < kStrip<Item>; ++k) {
        const bool there = x + k < p.maps.width;
        copy_numbers<1>(held[i].at + k, array + offset + (there ? x + k : 0), there);
      }
    }
  });
}

template <typename T>
__device__ inline Strip<ItemOf<T>> held_strip(const Stored<T>* held, int i) {
  return read_strip(held[i].at, 0, kStrip<ItemOf<T>>, true);
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
__global__ void __launch_bounds__(kThreads, kNormBlocks)
    sum_data(Channels p, const T* __restrict__ data, double* __restrict__ partial) {
  using Item = ItemOf<T>;
  const Slice slice(p);
  const Item pivot = widen(data[slice.channel * p.maps.plane()]);
  Item sum = 0, squares = 0;
  for_strips<Item>(p, slice, [&](int, int64_t offset, int x) {
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
__device__ inline Line<Item> find_line(const Channels& p, const Settings<Item>& s,
                                       const Slice& slice, Item pivot, double sum, double squares,
                                       Item* saved) {
  const int channel = slice.channel;
  const double distance = sum / s.count;
  const double mean = static_cast<double>(pivot) + distance;
  double variance = squares / s.count - distance * distance;
  if (variance < 0) variance = 0;  // NaN stays
  const double inverse = 1 / sqrt(variance + s.eps);
  const Line<Item> line = {
      static_cast<Item>(s.gamma[channel] * inverse),
      static_cast<Item>(s.beta[channel] - mean * inverse * s.gamma[channel])};
  if (slice.writes) {
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
__global__ void __launch_bounds__(kThreads, kNormBlocks)
    normalise(Channels p, Settings<ItemOf<T>> s, const T* __restrict__ data,
              const double* __restrict__ partial, ItemOf<T>* __restrict__ saved,
              T* __restrict__ out) {
  using Item = ItemOf<T>;
  const Slice slice(p);
  double sum = 0, squares = 0;
  sum_slices(p, slice.channel, partial, sum, squares);
  const auto line = found_by_first<Line<Item>>([&] {
    const Item pivot = widen(data[slice.channel * p.maps.plane()]);
    return find_line(p, s, slice, pivot, sum, squares, saved);
  });
  out += p.moved(slice.channel);
  for_strips<Item, true>(p, slice, [&](int, int64_t offset, int x) {
    Strip<Item> strip = read_strip(data + offset, x, p.maps.width, p.maps.whole);
    follow(line, s.activation, strip);
    write_strip(out + offset, x, p.maps.width, p.maps.whole, strip);
  });
}

/*! The same where a cluster holds a channel. */
template <typename T>
__global__ void __launch_bounds__(kMostNormThreads, 2)
    normalise_held(Channels p, Settings<ItemOf<T>> s, const T* __restrict__ data, double* partial,
                   ItemOf<T>* __restrict__ saved, T* __restrict__ out) {
  using Item = ItemOf<T>;
  extern __shared__ uint4 asked_memory[];
  Stored<T>* const held = reinterpret_cast<Stored<T>*>(asked_memory);
  const Slice slice(p);
  hold(p, slice, data, held);
  end_batch();
  const Item pivot = widen(data[slice.channel * p.maps.plane()]);
  wait_for_copies<0>();
  Item sum = 0, squares = 0;
  for_strips<Item>(p, slice, [&](int i, int64_t, int x) {
    add_distances(held_strip(held, i), x, p.maps.width, pivot, sum, squares);
  });
  double all = 0, all_squares = 0;
  sum_over_cluster(p, slice.channel, partial, sum, squares, all, all_squares);
  const auto line = found_by_first<Line<Item>>(
      [&] { return find_line(p, s, slice, pivot, all, all_squares, saved); });
  out += p.moved(slice.channel);
  for_strips<Item>(p, slice, [&](int i, int64_t offset, int x) {
    Strip<Item> strip = held_strip(held, i);
    follow(line, s.activation, strip);
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

/*! A channel of the backward pass, by what the forward pass saved of it. */
template <typename Item>
struct Passed {
  __device__ Passed(const Channels& p, int channel, int activation, const Item* saved)
      : mean(saved[kMean * p.channels + channel]),
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
  Line<Item> line;
  int activation;
};

/*! Sums of the gradient, and of its products with the distances from the mean. */
template <typename T>
__global__ void __launch_bounds__(kThreads, kNormBlocks)
    sum_gradient(Channels p, int activation, const T* __restrict__ head,
                 const T* __restrict__ data, const ItemOf<T>* __restrict__ saved,
                 double* __restrict__ partial) {
  using Item = ItemOf<T>;
  const Slice slice(p);
  const Passed<Item> of(p, slice.channel, activation, saved);
  head += p.moved(slice.channel);
  Item sum = 0, products = 0;
  for_strips<Item>(p, slice, [&](int, int64_t offset, int x) {
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

/*! The data gradient is made of the gradient, of so much of the data, and of a constant. */
template <typename Item>
struct Spread {
  /*! From a strip of gradients to that of the data gradient. */
  __device__ void operator()(const Passed<Item>& of, const Strip<Item>& strip,
                             Strip<Item>& heads) const {
#pragma unroll
    for (int k = 0; k < kStrip<Item>; ++k) {
      const Item gradient = of.gradient(heads.at[k], strip.at[k]);
      heads.at[k] = of.line.scale * gradient + (of_data * (strip.at[k] - of.mean) + more);
    }
  }

  Item of_data, more;
};

/*! Find it by the channel's sums; one thread writes the gradients of gamma and beta. */
template <typename T, typename Item>
__device__ inline Spread<Item> find_spread(const Slice& slice, const Passed<Item>& of,
                                           double inverse, double count, double sum,
                                           double products, const NormGradients<T>& to) {
  if (slice.writes) {
    if (to.beta != nullptr) to.beta[slice.channel] = static_cast<Item>(sum);
    if (to.gamma != nullptr) to.gamma[slice.channel] = static_cast<Item>(products * inverse);
  }
  return {static_cast<Item>(-of.line.scale * inverse * inverse * products / count),
          static_cast<Item>(-of.line.scale * sum / count)};
}

/*! The gradients, by the sums of all slices. */
template <typename T>
__global__ void __launch_bounds__(kThreads, kNormBlocks)
    spread_gradient(Channels p, double count, int activation, const T* __restrict__ head,
                    const T* __restrict__ data, const ItemOf<T>* __restrict__ saved,
                    const double* __restrict__ partial, NormGradients<T> to) {
  using Item = ItemOf<T>;
  const Slice slice(p);
  const Passed<Item> of(p, slice.channel, activation, saved);
  double sum = 0, products = 0;
  sum_slices(p, slice.channel, partial, sum, products);
  const auto spread = found_by_first<Spread<Item>>([&] {
    const double inverse = saved[kInverse * p.channels + slice.channel];
    return find_spread(slice, of, inverse, count, sum, products, to);
  });
  if (to.data == nullptr) return;
  head += p.moved(slice.channel);
  for_strips<Item, true>(p, slice, [&](int, int64_t offset, int x) {
    Strip<Item> heads = read_strip(head + offset, x, p.maps.width, p.maps.whole);
    const Strip<Item> strip = read_strip(data + offset, x, p.maps.width, p.maps.whole);
    spread(of, strip, heads);
    write_strip(to.data + offset, x, p.maps.width, p.maps.whole, heads);
  });
}

/*! The same where a cluster holds a channel: the gradients, and behind them the data. */
template <typename T>
__global__ void __launch_bounds__(kMostNormThreads, 2)
    spread_held(Channels p, double count, int activation, const T* __restrict__ head,
                const T* __restrict__ data, const ItemOf<T>* __restrict__ saved, double* partial,
                NormGradients<T> to) {
  using Item = ItemOf<T>;
  extern __shared__ uint4 asked_memory[];
  const Slice slice(p);
  Stored<T>* const heads = reinterpret_cast<Stored<T>*>(asked_memory);
  Stored<T>* const strips = heads + p.each();
  head += p.moved(slice.channel);
  hold(p, slice, head, heads);
  hold(p, slice, data, strips);
  end_batch();
  const Passed<Item> of(p, slice.channel, activation, saved);
  wait_for_copies<0>();
  Item sum = 0, products = 0;
  for_strips<Item>(p, slice, [&](int i, int64_t, int x) {
    of.add(held_strip(heads, i), held_strip(strips, i), x, p.maps.width, sum, products);
  });
  double all = 0, all_products = 0;
  sum_over_cluster(p, slice.channel, partial, sum, products, all, all_products);
  const auto spread = found_by_first<Spread<Item>>([&] {
    const double inverse = saved[kInverse * p.channels + slice.channel];
    return find_spread(slice, of, inverse, count, all, all_products, to);
  });
  if (to.data == nullptr) return;
  for_strips<Item>(p, slice, [&](int i, int64_t offset, int x) {
    Strip<Item> found = held_strip(heads, i);
    spread(of, held_strip(strips, i), found);
    write_strip(to.data + offset, x, p.maps.width, p.maps.whole, found);
  });
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_NORM_H_
