/*!
 * The kernel that the forward pass, the fused block and half of the backward pass are: a primary
 * group convolution (or none), a permutation, a 1x1 group convolution, another permutation. The
 * primary one's results stay in shared memory, so that data are read and results written once.
 */
#ifndef IGC_OPERATOR_CUDA_MIX_H_
#define IGC_OPERATOR_CUDA_MIX_H_

#include <algorithm>
#include <cstdint>

#include "activation.cuh"
#include "convolve.cuh"
#include "launch.cuh"
#include "numbers.cuh"
#include "places.cuh"

namespace igc::cuda {

constexpr int kRows = 96;      // channels in shared memory at most; 48 KB, what needs no asking
constexpr int kMostWarps = 16;
constexpr int kWarpsAimed = 8;  // where groups share a block: several blocks on a multiprocessor
constexpr int kWarpsOfFour = 12;  // where four groups share what they read

/*! What is done to sums before they are written. Pointers may be NULL. */
template <typename T>
struct Finish {
  const ItemOf<T>* primary_bias;
  const ItemOf<T>* bias;
  const T* residual;  // like the output
  int primary_activation, activation;
};

/*! One call: `groups` times `entering` mixed channels become `groups` times `leaving` channels. */
struct Mix {
  Mix(int groups, int entering, int leaving)
      : groups(groups), entering(entering), leaving(leaving) {
    octets = (leaving + kOctet - 1) / kOctet;
    if (octets > kMostWarps) {  // several blocks share the octets of a group
      parts = (octets + kMostWarps - 1) / kMostWarps;
      part = (octets + parts - 1) / parts;
    } else {
      parts = 1;
      part = octets;
      const int most = std::min(kWarpsAimed / octets, kRows / entering);
      together = std::clamp(most, 1, groups);
    }
    const int chunks = (entering * together + kRows - 1) / kRows;
    chunk = (entering + chunks - 1) / chunks;
  }

  /*! Read data once for up to `most` groups whose k-th mixed channels come of the same data. */
  void share(int most, int64_t tiles) {
    const bool fit = 4 * octets <= kWarpsOfFour && 4 * entering <= kRows && groups >= 4;
    if (most >= 4 && fit && tiles * ((groups + 3) / 4) >= 2 * kMultiprocessors) together = 4;
    for (members = 4; members > std::min(most, together);) members /= 2;
    together = together / members * members;
  }

  IGC_HOST_DEVICE int blocks_of_tile() const { return (groups + together - 1) / together * parts; }
  /*!
   * The warps of a block: one for each octet; more for the primary convolution, at most so many,
   * where blocks are so few that they would leave a large GPU idle.
   */
  int warps(int most) const {
    const int least = std::max(together * part, 4);
    if (maps.tiles() * blocks_of_tile() * least >= kMultiprocessors * kMostWarps) return least;
    const int runs = rows() / members;
    const int rounds = (runs + most - 1) / most;
    return std::max(least, (runs + rounds - 1) / rounds);
  }
  int rows() const { return together * chunk; }  // in shared memory

  /*! Whether all mixed channels are in shared memory at once; always where groups share a block. */
  bool once() const { return chunk >= entering; }

  int groups, entering, leaving;
  int octets;        // of a group
  int parts, part;   // the blocks that share a group, and the octets of each
  int together = 1;  // groups of a block
  int chunk;         // mixed channels of a group in shared memory at a time
  int members = 1;   // groups whose k-th mixed channels read the same data
  Maps maps;
  Primary primary;
  int channels, filters;   // of an image's data and output
  ChannelMap before;  // where a mixed channel lies in the primary convolution's output, or in data
  ChannelMap after;   // where a channel of the secondary convolution goes
};

/*! What a warp computes of the secondary convolution. */
struct Share {
  __device__ Share(const Mix& p, int block, int warp) {
    in_block = warp / p.part;
    octet = block % p.parts * p.part + warp % p.part;
    group = block / p.parts * p.together + in_block;
    active = in_block < p.together && group < p.groups && octet < p.octets;
  }

  int in_block, group, octet;
  bool active;
};

/*! The most warps of a block: as many as the registers that a thread has are enough for. */
template <typename T>
constexpr int most_warps(int members) {
  if (members == 1) return kMostWarps;
  if (sizeof(T) == 8) return members == 4 ? kWarpsOfFour : kWarpsAimed;
  return members == 4 ? kWarpsOfFour : kMostWarps;
}

/*!
 * How many such blocks the registers of a multiprocessor should do for: memory is what warps wait
 * for, so that there should be many. In 32 bits 64 registers are enough, 80 for four members.
 */
template <typename T, int kMembers, bool kOnce>
constexpr int blocks_aimed() {
  return sizeof(T) == 8 || !kOnce ? 1 : 2;
}

/*!
 * `kOnce`: as Mix::once says. No sums of the secondary convolution are then held while the primary
 * one is computed, which takes half of the registers.
 */
template <typename T, Window kWindow, int kMembers, bool kOnce>
__global__ void __launch_bounds__(kLanes* most_warps<T>(kMembers),
                                  blocks_aimed<T, kMembers, kOnce>())
    mix(Mix p, const T* __restrict__ data, const ItemOf<T>* __restrict__ primary,
        const ItemOf<T>* __restrict__ secondary, Finish<T> finish, T* __restrict__ out) {
  using Item = ItemOf<T>;
  constexpr int kCount = kStrip<Item>;
  constexpr int kTogether = 4;  // rows that a warp reads at a time
  extern __shared__ uint4 asked_memory[];
  Strip<Item>* const rows = reinterpret_cast<Strip<Item>*>(asked_memory) + threadIdx.x % kLanes;
  const int lane = threadIdx.x % kLanes;
  const int warp = threadIdx.x / kLanes;
  const int warps = blockDim.x / kLanes;
  const int blocks_of_tile = p.blocks_of_tile();
  const int block = blockIdx.x % blocks_of_tile;
  const int first_group = block / p.parts * p.together;
  const int64_t strip = static_cast<int64_t>(blockIdx.x / blocks_of_tile) * kLanes + lane;
  const bool inside = strip < p.maps.strips;
  const Place place(p.maps, inside ? strip : 0, kCount);
  const int64_t plane = kWindow == kNone ? p.maps.plane() : p.primary.plane();
  const T* image = data + place.image * p.channels * plane;
  Item sum[kOctet][kCount] = {};

  int first = 0;
  do {
    const int chunk = min(p.chunk, p.entering - first);
    if (first > 0) __syncthreads();  // the chunk before has been used
    const int runs = min(p.together, p.groups - first_group);
    if constexpr (kWindow == kNone) {
      // where there are several groups, all of their channels: they follow each other
      const int mixed = first_group * p.entering + first;
      const T* const line = image + static_cast<int64_t>(place.y) * p.maps.width;
      for (int row = warp; row < runs * chunk; row += kTogether * warps) {
        Strip<Item> numbers[kTogether] = {};
#pragma unroll
        for (int i = 0; i < kTogether; ++i) {  // all are under way before the first is used
          const int which = row + i * warps;
          if (!inside || which >= runs * chunk) continue;
          numbers[i] = read_strip(line + p.before(mixed + which) * plane, place.x, p.maps.width,
                                  p.maps.whole);
        }
#pragma unroll
        for (int i = 0; i < kTogether; ++i) {
          if (row + i * warps < runs * chunk) rows[(row + i * warps) * kLanes] = numbers[i];
        }
      }
    } else {
      for (int run = 0, row = warp; run < runs; row += warps) {
        for (; row >= chunk; row -= chunk) run += kMembers;
        if (run >= runs) break;
        const int mixed = (first_group + run) * p.entering + first + row;
        Item found[1][kMembers][kCount] = {};
        const int primary_group = mixed % p.before.factor;  // as channels lie
        const int64_t unit_of_weights =
            static_cast<int64_t>(first_group + run) / kMembers * p.entering + first + row;
        const int step = packed_step(p.primary.taps(), kMembers);
        convolve<kWindow, kMembers>(  // by lanes that are not inside too, for others
            p.primary, image + static_cast<int64_t>(primary_group) * p.primary.entering * plane,
            primary + unit_of_weights * p.primary.entering * step, place.y, place.x, found);
#pragma unroll
        for (int m = 0; m < kMembers; ++m) {
          Strip<Item> numbers;
          Item bias = 0;
          if (finish.primary_bias != nullptr && first_group + run + m < p.groups) {
            bias = finish.primary_bias[p.before(mixed + m * p.entering)];
          }
#pragma unroll
          for (int k = 0; k < kCount; ++k) {
            numbers.at[k] = activated(found[0][m][k] + bias, finish.primary_activation);
          }
          rows[((run + m) * p.chunk + row) * kLanes] = numbers;
        }
      }
    }
    __syncthreads();
    const Share my(p, block, warp);
    if (my.active) {
      const Item* weights =
          secondary + ((static_cast<int64_t>(my.group) * p.octets + my.octet) * p.entering +
                       first) *
                          kOctet;
      for (int k = 0; k < chunk; ++k, weights += kOctet) {
        const Strip<Item> numbers = rows[(my.in_block * p.chunk + k) * kLanes];
#pragma unroll
        for (int i = 0; i < kOctet; i += kCount) {
          const Strip<Item> weight = *reinterpret_cast<const Strip<Item>*>(weights + i);
#pragma unroll
          for (int j = 0; j < kCount; ++j) {
#pragma unroll
            for (int x = 0; x < kCount; ++x) sum[i + j][x] += weight.at[j] * numbers.at[x];
          }
        }
      }
    }
    first += p.chunk;
  } while (!kOnce && first < p.entering);

  const Share my(p, block, warp);
  if (!my.active || !inside) return;
  const int64_t start =
      place.image * p.filters * p.maps.plane() + static_cast<int64_t>(place.y) * p.maps.width;
#pragma unroll
  for (int j = 0; j < kOctet; ++j) {
    const int in_group = my.octet * kOctet + j;
    if (in_group >= p.leaving) return;
    const int channel = p.after(my.group * p.leaving + in_group);
    const int64_t line = start + channel * p.maps.plane();
    Strip<Item> result, more = {};
    if (finish.residual != nullptr) {
      more = read_strip(finish.residual + line, place.x, p.maps.width, p.maps.whole);
    }
    const Item bias = finish.bias == nullptr ? Item(0) : finish.bias[channel];
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      result.at[k] = activated(sum[j][k] + bias + more.at[k], finish.activation);
    }
    write_strip(out + line, place.x, p.maps.width, p.maps.whole, result);
  }
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_MIX_H_
