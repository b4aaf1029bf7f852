/*! Weights, in the order in which the kernels read them. */
#ifndef IGC_OPERATOR_CUDA_WEIGHTS_H_
#define IGC_OPERATOR_CUDA_WEIGHTS_H_

#include <cstdint>

#include "convolve.cuh"
#include "deep.cuh"
#include "launch.cuh"
#include "numbers.cuh"
#include "places.cuh"
#include "sums.cuh"
#include "wide.cuh"

namespace igc::cuda {

/*! The weights (leaving channels, entering channels of a group, taps) of a group convolution. */
struct PrimaryWeights {
  int groups, leaving, entering, taps;  // leaving and entering: of a group
};

/*!
 * Which channels a unit's members are. For `mix` unit (run of groups, k) has the primary channels
 * that become the k-th mixed channels of its groups; for a primary convolution alone unit (group,
 * run) has a group's channels, one after the other.
 */
struct Units {
  bool mixed;
  int count, members;
  int runs;           // of a group; where not mixed
  int entering, all;  // mixed channels of a group, and all; where mixed
  ChannelMap before;
};

/*! Give each unit, entering channel, tap and member its weight, 0 where there is no member. */
template <typename T>
__device__ inline void pack_primary(int64_t index, const PrimaryWeights& w, const Units& units,
                                    const T* weight, ItemOf<T>* packed) {
  const int step = packed_step(w.taps, units.members);
  if (index >= static_cast<int64_t>(units.count) * w.entering * step) return;
  const int in_step = static_cast<int>(index % step);
  const int entering = static_cast<int>(index / step % w.entering);
  const int unit = static_cast<int>(index / step / w.entering);
  const int tap = in_step / units.members;
  const int member = in_step % units.members;
  int channel = -1;
  if (units.mixed) {
    const int mixed = (unit / units.entering * units.members + member) * units.entering +
                      unit % units.entering;
    if (mixed < units.all) channel = units.before(mixed);
  } else {
    const int in_group = unit % units.runs * units.members + member;
    if (in_group < w.leaving) channel = unit / units.runs * w.leaving + in_group;
  }
  ItemOf<T> value = 0;
  if (channel >= 0 && tap < w.taps) {
    value = widen(weight[(static_cast<int64_t>(channel) * w.entering + entering) * w.taps + tap]);
  }
  packed[index] = value;
}

/*! The same for the convolution that takes gradients back at stride 1: in and out, and turned. */
template <typename T>
__device__ inline void pack_primary_back(int64_t index, const PrimaryWeights& w,
                                         const Units& units, const T* weight,
                                         ItemOf<T>* packed) {
  const int step = packed_step(w.taps, units.members);
  if (index >= static_cast<int64_t>(units.count) * w.leaving * step) return;
  const int in_step = static_cast<int>(index % step);
  const int leaving = static_cast<int>(index / step % w.leaving);
  const int unit = static_cast<int>(index / step / w.leaving);
  const int tap = in_step / units.members;
  const int entering = unit % units.runs * units.members + in_step % units.members;
  const int64_t channel = unit / units.runs * w.leaving + leaving;
  ItemOf<T> value = 0;
  if (entering < w.entering && tap < w.taps) {
    value = widen(weight[(channel * w.entering + entering) * w.taps + w.taps - 1 - tap]);
  }
  packed[index] = value;
}

/*! The weights (groups * leaving, entering) of a 1x1 convolution; `back` swaps in and out. */
struct SecondaryWeights {
  int groups, leaving, entering;
  bool back;

  IGC_HOST_DEVICE int rows() const { return back ? entering : leaving; }
  IGC_HOST_DEVICE int columns() const { return back ? leaving : entering; }
  IGC_HOST_DEVICE int octets() const { return (rows() + kOctet - 1) / kOctet; }
  IGC_HOST_DEVICE int64_t count() const {
    return static_cast<int64_t>(groups) * octets() * kOctet * columns();
  }
};

/*! For each group and octet of its output channels, for each entering one, those of the octet. */
template <typename T>
__device__ inline void pack_secondary(int64_t index, const SecondaryWeights& w, const T* weight,
                                      ItemOf<T>* packed) {
  if (index >= w.count()) return;
  const int64_t unit = index / kOctet / w.columns();
  const int column = static_cast<int>(index / kOctet % w.columns());
  const int row = static_cast<int>(unit % w.octets() * kOctet + index % kOctet);
  const int64_t group = unit / w.octets();
  const int out = w.back ? column : row;
  const int in = w.back ? row : column;
  packed[index] = row < w.rows() ? widen(weight[(group * w.leaving + out) * w.entering + in])
                                 : ItemOf<T>(0);
}

/*! What is packed of one array of weights, and how. */
template <typename T>
struct Packing {
  enum Kind { kPrimary, kPrimaryBack, kDeep, kSecondary, kMatrices };
  Kind kind;
  int64_t blocks;
  const T* weight;
  void* packed;  // T for kDeep and kMatrices, else ItemOf<T>
  PrimaryWeights primary;
  Units units;
  DeepWeights deep;
  SecondaryWeights secondary;
  Matrices matrices;
};

constexpr int kMostPackings = 3;

template <typename T>
struct Packings {
  Packing<T> of[kMostPackings];
  int count;
};

/*!
 * Pack all at a time, and add up what gradients of weights there are: each alone takes less time
 * than a launch.
 */
template <typename T>
__global__ void __launch_bounds__(kThreads) pack(Packings<T> all, Sums<T> sums) {
  int64_t block = blockIdx.x;
  int which = 0;
  while (which < all.count && block >= all.of[which].blocks) block -= all.of[which++].blocks;
  if (which == all.count) {
    add_up(sums, block);
    return;
  }
  const Packing<T>& p = all.of[which];
  const int64_t index = block * kThreads + threadIdx.x;
  const auto packed = static_cast<ItemOf<T>*>(p.packed);
  if (p.kind == Packing<T>::kPrimary) {
    pack_primary(index, p.primary, p.units, p.weight, packed);
  } else if (p.kind == Packing<T>::kPrimaryBack) {
    pack_primary_back(index, p.primary, p.units, p.weight, packed);
  } else if (p.kind == Packing<T>::kDeep) {
    pack_deep(index, p.deep, p.weight, static_cast<T*>(p.packed));
  } else if (p.kind == Packing<T>::kSecondary) {
    pack_secondary(index, p.secondary, p.weight, packed);
  } else {
    pack_matrices(block, p.matrices, p.weight, static_cast<T*>(p.packed));
  }
}

/*! Collects what is to be packed, and launches it. */
template <typename T>
class Packer {
 public:
  void primary(const PrimaryWeights& w, const Units& units, const T* weight, ItemOf<T>* packed) {
    Packing<T>& p = next(Packing<T>::kPrimary, weight, packed);
    p.primary = w;
    p.units = units;
    p.blocks = blocks_for(static_cast<int64_t>(units.count) * w.entering *
                          packed_step(w.taps, units.members));
  }

  /*! For the way back. */
  void primary_back(const PrimaryWeights& w, const Units& units, const T* weight,
                    ItemOf<T>* packed) {
    Packing<T>& p = next(Packing<T>::kPrimaryBack, weight, packed);
    p.primary = w;
    p.units = units;
    p.blocks = blocks_for(static_cast<int64_t>(units.count) * w.leaving *
                          packed_step(w.taps, units.members));
  }

  void deep(const DeepWeights& w, const T* weight, T* packed) {
    Packing<T>& p = next(Packing<T>::kDeep, weight, packed);
    p.deep = w;
    p.blocks = blocks_for(w.count<T>());
  }

  void secondary(const SecondaryWeights& w, const T* weight, ItemOf<T>* packed) {
    Packing<T>& p = next(Packing<T>::kSecondary, weight, packed);
    p.secondary = w;
    p.blocks = blocks_for(w.count());
  }

  void matrices(const Matrices& m, const T* weight, T* packed) {
    Packing<T>& p = next(Packing<T>::kMatrices, weight, packed);
    p.matrices = m;
    p.blocks = pack_blocks(m);
  }

  void launch(cudaStream_t stream, const Sums<T>& sums = {}) const {
    int64_t blocks = sums.blocks();
    for (int i = 0; i < all_.count; ++i) blocks += all_.of[i].blocks;
    cuda::launch(pack<T>, blocks, kThreads, stream, all_, sums);
  }

 private:
  Packing<T>& next(typename Packing<T>::Kind kind, const T* weight, void* packed) {
    Packing<T>& p = all_.of[all_.count++];
    p.kind = kind;
    p.weight = weight;
    p.packed = packed;
    return p;
  }

  Packings<T> all_ = {};
};

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_WEIGHTS_H_
