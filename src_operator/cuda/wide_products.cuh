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
#include "wide_half.cuh"

namespace igc::cuda {

/*! Groups of fewer channels, on either side, are `mix`'s. */
constexpr int kLeastWide = 32;

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

/*! out = weights * in, for each group; `in` and `out` say which channels the rows are. */
template <typename T>
class WideProducts {
 public:
  WideProducts(int groups, const Rows& in, const Rows& out) : groups_(groups), in_(in), out_(out) {
    if constexpr (kHalf) {
      rows_ = out.count <= 32 ? 32 : out.count <= 64 ? 64 : 128;
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
    depth_ = rounded_up(in.count, kHalf ? kHalfDepth : kDepth);
  }

  /*! Whether these kernels are for groups of so many channels. */
  static bool fit(int entering, int leaving) {
    if constexpr (std::is_same_v<T, double>) {
      return false;
    } else {
      if (std::min(entering, leaving) < kLeastWide) return false;
      return !kHalf || have_matrix_units();
    }
  }

  /*! The packed weights. */
  int64_t packed_count() const { return static_cast<int64_t>(groups_) * parts_ * rows_ * depth_; }

  /*! How weights (groups * out, in) are packed, or with `back` those of the way back. */
  Matrices packing(bool back) const {
    Matrices m = {};
    m.groups = groups_;
    m.rows = back ? in_.count : out_.count;
    m.columns = back ? out_.count : in_.count;
    m.turned = kHalf == back;  // in float32 packed as (in, out), in 16 bits as (out, in)
    m.packed_rows = kHalf ? parts_ * rows_ : depth_;
    m.packed_columns = kHalf ? depth_ : parts_ * rows_;
    return m;
  }

  void run(const Pixels& pixels, const T* data, const T* packed, const Finish<T>& finish, T* out,
           cudaStream_t stream) const {
    with_vector<T>(pixels.plane, {data, out, finish.residual}, [&](auto vector) {
      if constexpr (kHalf) {
        const HalfMix mix = {groups_, in_, out_, parts_, depth_, pixels};
        const auto kernel = rows_ == 32   ? wide_mix_half<T, 32, vector()>
                            : rows_ == 64 ? wide_mix_half<T, 64, vector()>
                                          : wide_mix_half<T, 128, vector()>;
        launch(kernel, mix.blocks(), kHalfThreads, stream, mix, data, packed, finish, out);
      } else if constexpr (kFloat) {
        const int warps = rows_ / kRowsOfWarp;
        const WideMix mix = {groups_, in_, out_, warps, parts_, depth_, pixels};
        launch(wide_mix<vector()>, mix.blocks(), warps * kLanes, stream, mix, data, packed, finish,
               out);
      }
    });
  }

 private:
  static constexpr bool kHalf = sizeof(T) == 2;
  static constexpr bool kFloat = std::is_same_v<T, float>;

  int groups_;
  Rows in_, out_;
  int rows_ = 0, parts_, depth_;  // rows of a block, blocks of a group, entering channels packed
};

/*! The gradient of such weights. */
template <typename T>
class WideGradients {
 public:
  /*! `pixels`: those of the whole batch. */
  WideGradients(int groups, const Rows& rows, const Rows& columns, int64_t pixels)
      : groups_(groups), rows_(rows), columns_(columns) {
    if constexpr (kHalf) {
      row_parts_ = (rows.count + kHalfTile - 1) / kHalfTile;
      column_parts_ = (columns.count + kHalfTile - 1) / kHalfTile;
    } else {
      down_ = octets_of_block(rows.count);
      across_ = octets_of_block(columns.count);
      row_parts_ = (rows.count + down_ * kSide - 1) / (down_ * kSide);
      column_parts_ = (columns.count + across_ * kSide - 1) / (across_ * kSide);
    }
    // two blocks on each multiprocessor, twice over
    constexpr int64_t kBlocks = 4 * kMultiprocessors, kLeastPixels = 256;
    const int64_t most = std::max<int64_t>(pixels / kLeastPixels, 1);
    const int64_t units = static_cast<int64_t>(groups) * row_parts_ * column_parts_;
    slices_ = static_cast<int>(std::clamp<int64_t>(kBlocks / units, 1, most));
  }

  int slices() const { return slices_; }

  /*! `partial`: an array like the weights for each slice. */
  void run(const Pixels& pixels, bool add, const T* head, const T* data, ItemOf<T>* partial,
           cudaStream_t stream) const {
    constexpr int64_t kStep = kHalf ? kHalfDepth : kDepth;
    const int64_t each = (pixels.count + slices_ - 1) / slices_;
    const int64_t slice = (each + kStep - 1) / kStep * kStep;
    if constexpr (kHalf) {
      const HalfGradient p = {groups_,       rows_,   columns_, row_parts_,
                              column_parts_, slices_, slice,    add,
                              pixels};
      with_vector<T>(pixels.plane, {head, data}, [&](auto vector) {
        launch(wide_gradient_half<T, vector()>, p.blocks(), kHalfThreads, stream, p, head, data,
               partial);
      });
    } else if constexpr (kFloat) {
      const WideGradient p = {groups_,    rows_,         columns_, down_, across_,
                              row_parts_, column_parts_, slices_,  slice, add,
                              pixels};
      launch(wide_gradient<256>, p.blocks(), p.threads(), stream, p, head, data, partial);
    }
  }

 private:
  static constexpr bool kHalf = sizeof(T) == 2;
  static constexpr bool kFloat = std::is_same_v<T, float>;

  /*! At most 16, and so many that the fewest are not there. */
  static int octets_of_block(int channels) {
    const int octets = (channels + kSide - 1) / kSide;
    const int blocks = (octets + 15) / 16;
    return (octets + blocks - 1) / blocks;
  }

  int groups_;
  Rows rows_, columns_;
  int down_ = 0, across_ = 0, row_parts_, column_parts_, slices_;
};

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_WIDE_PRODUCTS_H_
