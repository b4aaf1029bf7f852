/*! The products of wide groups: whether a convolution is one, and the launches for its type. */
#ifndef IGC_OPERATOR_CUDA_WIDE_PRODUCTS_H_
#define IGC_OPERATOR_CUDA_WIDE_PRODUCTS_H_

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "launch.cuh"
#include "mix.cuh"
#include "places.cuh"
#include "wide.cuh"
#include "wide_float.cuh"
#include "wide_units.cuh"

namespace igc::cuda {

/*! Whether all arrays begin, and all their maps, at a multiple of so many numbers. */
template <typename T>
bool whole_vectors(int vector, int plane, std::initializer_list<const void*> arrays) {
  if (plane % vector != 0) return false;
  return std::all_of(arrays.begin(), arrays.end(), [&](const void* array) {
    return reinterpret_cast<uintptr_t>(array) % (sizeof(T) * vector) == 0;
  });
}

/*! Call `call` with the numbers that an access may move, as a constant. */
template <typename T, typename Call>
void with_vector(int plane, std::initializer_list<const void*> arrays, Call call) {
  if (sizeof(T) == 2 && whole_vectors<T>(8, plane, arrays)) {
    call(std::integral_constant<int, sizeof(T) == 2 ? 8 : 4>());
  } else if (whole_vectors<T>(4, plane, arrays)) {
    call(std::integral_constant<int, 4>());
  } else {
    call(std::integral_constant<int, 1>());
  }
}

/*! Channels whose places a block of the matrix units has shared memory for. */
constexpr int kMostEntering = 8192;

/*! Whether the kernels of wide groups compute a 1x1 convolution that others could. */
template <typename T>
bool fits_wide(int entering, int leaving) {
  constexpr int kLeast = 32;
  if (std::min(entering, leaving) < kLeast) return false;
  return by_units<T>() ? entering <= kMostEntering : std::is_same_v<T, float>;
}

/*!
 * Whether they compute one that has no primary convolution before it, so that `mix` would save no
 * access to memory: as soon as the units have enough to add up.
 */
template <typename T>
bool fits_wide_alone(int entering, int leaving) {
  constexpr int kLeastEntering = 16, kLeastLeaving = 8;
  if (!by_units<T>()) return fits_wide<T>(entering, leaving);
  return entering >= kLeastEntering && entering <= kMostEntering && leaving >= kLeastLeaving;
}

/*! out = weights * in, for each group; `in` and `out` say which channels the rows are. */
template <typename T>
class WideProducts {
 public:
  /*! `pixels`: those of the whole batch. */
  WideProducts(int groups, const Rows& in, const Rows& out, const Pixels& pixels)
      : groups_(groups), in_(in), out_(out) {
    depth_ = rounded_up(in.count, units_ ? kUnitDepth<T> : kDepth);
    if (units_) {
      const int64_t tiles = (pixels.count + kTilePixels - 1) / kTilePixels;
      const bool few = tiles * groups * ((out.count + 63) / 64) < kMultiprocessors;
      rows_ = few || out.count <= 32 ? 32 : 64;
    } else {  // so many warps in a block that the fewest have rows that are not there
      int least = INT32_MAX;
      for (int warps = kMostRowWarps; warps >= kMostRowWarps / 2; --warps) {
        const int rows = warps * kRowsOfWarp;
        const int all = rounded_up(out.count, rows);
        if (all < least) {
          least = all;
          rows_ = rows;
        }
      }
    }
    parts_ = (out.count + rows_ - 1) / rows_;
  }

  /*! The packed weights. */
  int64_t packed_count() const { return static_cast<int64_t>(groups_) * parts_ * rows_ * depth_; }

  /*! How weights (groups * out, in) are packed, or with `back` those of the way back. */
  Matrices packing(bool back) const {
    Matrices m = {};
    m.groups = groups_;
    m.rows = back ? in_.count : out_.count;
    m.columns = back ? out_.count : in_.count;
    m.turned = units_ == back;  // for the matrix units packed as (out, in), else as (in, out)
    m.packed_rows = units_ ? parts_ * rows_ : depth_;
    m.packed_columns = units_ ? depth_ : parts_ * rows_;
    return m;
  }

  /*! `from`: the pixels of what enters, which may lie by channel for the matrix units. */
  void run(const Pixels& from, const Pixels& pixels, const T* data, const T* packed,
           const Finish<T>& finish, T* out, cudaStream_t stream) const {
    if constexpr (!std::is_same_v<T, double>) {
      if (units_) {
        const UnitMix mix = {groups_, in_, out_, parts_, depth_, from, pixels};
        const auto run = [&](auto kernel) {
          launch_with(mix_bytes<T>(rows_, depth_), kernel, mix.blocks(), unit_threads(rows_),
                      stream, mix, data, packed, finish, out);
        };
        if (from.plane != pixels.plane) {
          run(kernel<kWord<T>, 1>());
        } else {
          with_vector<T>(pixels.plane, {data, out, finish.residual},
                         [&](auto vector) { run(kernel<vector(), vector()>()); });
        }
        return;
      }
    }
    with_vector<T>(pixels.plane, {data, out, finish.residual}, [&](auto vector) {
      if constexpr (kFloat) {
        const int warps = rows_ / kRowsOfWarp;
        const WideMix mix = {groups_, in_, out_, warps, parts_, depth_, pixels};
        launch(wide_mix<vector()>, mix.blocks(), warps * kLanes, stream, mix, data, packed, finish,
               out);
      }
    });
  }

 private:
  static constexpr bool kFloat = std::is_same_v<T, float>;

  template <int kVector, int kOut>
  auto kernel() const {
    return rows_ == 32 ? wide_mix_units<T, 32, kVector, kOut>
                       : wide_mix_units<T, 64, kVector, kOut>;
  }

  const bool units_ = by_units<T>();
  int groups_;
  Rows in_, out_;
  int rows_ = 0, parts_, depth_;  // rows of a block, blocks of a group, entering channels packed
};

/*! The gradient of such weights. */
template <typename T>
class WideGradients {
 public:
  /*! `pixels`: those of the whole batch. */
  WideGradients(int groups, const Rows& rows, const Rows& columns, const Pixels& pixels)
      : groups_(groups), rows_(rows), columns_(columns) {
    int64_t blocks;  // that a large GPU should have
    if (units_) {
      row_parts_ = (rows.count + kUnitSquare - 1) / kUnitSquare;
      column_parts_ = (columns.count + kUnitSquare - 1) / kUnitSquare;
      blocks = 8 * kMultiprocessors;
    } else {
      down_ = octets_of_block(rows.count);
      across_ = octets_of_block(columns.count);
      row_parts_ = (rows.count + down_ * kSide - 1) / (down_ * kSide);
      column_parts_ = (columns.count + across_ * kSide - 1) / (across_ * kSide);
      blocks = 4 * kMultiprocessors;  // two on each, twice over
    }
    constexpr int64_t kLeastPixels = 256;
    const int64_t most = std::max<int64_t>(pixels.count / kLeastPixels, 1);
    const int64_t units = static_cast<int64_t>(groups) * row_parts_ * column_parts_;
    slices_ = static_cast<int>(std::clamp<int64_t>(blocks / units, 1, most));
  }

  int slices() const { return slices_; }

  /*! `partial`: an array like the weights for each slice. */
  void run(const Pixels& pixels, bool add, const T* head, const T* data, ItemOf<T>* partial,
           cudaStream_t stream) const {
    const int64_t step = units_ ? kUnitDepth<T> : kDepth;
    const int64_t each = (pixels.count + slices_ - 1) / slices_;
    const int64_t slice = (each + step - 1) / step * step;
    if constexpr (!std::is_same_v<T, double>) {
      if (units_) {
        const UnitGradient p = {groups_,       rows_,   columns_, row_parts_,
                                column_parts_, slices_, slice,    add,
                                pixels};
        with_vector<T>(pixels.plane, {head, data}, [&](auto vector) {
          launch_with(kSquareNumbers<T> * sizeof(T), wide_gradient_units<T, vector()>, p.blocks(),
                      kSquareThreads, stream, p, head, data, partial);
        });
        return;
      }
    }
    if constexpr (kFloat) {
      const WideGradient p = {groups_,    rows_,         columns_, down_, across_,
                              row_parts_, column_parts_, slices_,  slice, add,
                              pixels};
      launch(wide_gradient<256>, p.blocks(), p.threads(), stream, p, head, data, partial);
    }
  }

 private:
  static constexpr bool kFloat = std::is_same_v<T, float>;

  /*! At most 16, and so many that the fewest are not there. */
  static int octets_of_block(int channels) {
    const int octets = (channels + kSide - 1) / kSide;
    const int blocks = (octets + 15) / 16;
    return (octets + blocks - 1) / blocks;
  }

  const bool units_ = by_units<T>();
  int groups_;
  Rows rows_, columns_;
  int row_parts_, column_parts_, slices_;
  int down_ = 0, across_ = 0;  // a block's octets, in the arithmetic units
};

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_WIDE_PRODUCTS_H_
