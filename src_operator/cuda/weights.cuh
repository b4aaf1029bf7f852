/*! Weights, in the order in which the kernels read them. */
#ifndef IGC_OPERATOR_CUDA_WEIGHTS_H_
#define IGC_OPERATOR_CUDA_WEIGHTS_H_

#include <cstdint>

#include "convolve.cuh"
#include "launch.cuh"
#include "numbers.cuh"
#include "places.cuh"

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
__global__ void pack_primary(PrimaryWeights w, Units units, const T* weight, ItemOf<T>* packed) {
  const int step = packed_step(w.taps, units.members);
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
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
__global__ void pack_primary_back(PrimaryWeights w, Units units, const T* weight,
                                  ItemOf<T>* packed) {
  const int step = packed_step(w.taps, units.members);
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
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

/*!
 * The weights (groups * leaving, entering) of a 1x1 convolution: for each group and octet of its
 * output channels, for each entering channel, those of the octet. `back` swaps in and out.
 */
template <typename T>
__global__ void pack_secondary(int groups, int leaving, int entering, bool back, int octet,
                               const T* weight, ItemOf<T>* packed) {
  const int rows = back ? entering : leaving;
  const int columns = back ? leaving : entering;
  const int octets = (rows + octet - 1) / octet;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= static_cast<int64_t>(groups) * octets * columns * octet) return;
  const int64_t unit = index / octet / columns;
  const int column = static_cast<int>(index / octet % columns);
  const int row = static_cast<int>(unit % octets * octet + index % octet);
  const int64_t group = unit / octets;
  const int out = back ? column : row;
  const int in = back ? row : column;
  packed[index] =
      row < rows ? widen(weight[(group * leaving + out) * entering + in]) : ItemOf<T>(0);
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_WEIGHTS_H_
