/*! The passes of an interleaved group convolution: which kernels run, in which order, on what. */
#ifndef IGC_OPERATOR_CUDA_PASSES_H_
#define IGC_OPERATOR_CUDA_PASSES_H_

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "by_channel.cuh"
#include "deep.cuh"
#include "gradients.cuh"
#include "../igconv.h"
#include "../igconv_check.h"
#include "launch.cuh"
#include "mix.cuh"
#include "passes.h"
#include "primary.cuh"
#include "space.h"
#include "sums.cuh"
#include "weights.cuh"
#include "wide_products.cuh"

namespace igc::cuda {

/*! Call `call` with the number of members as a constant. */
template <typename Call>
void with_members(int members, Call call) {
  if (members == 4) {
    call(std::integral_constant<int, 4>());
  } else if (members == 2) {
    call(std::integral_constant<int, 2>());
  } else {
    call(std::integral_constant<int, 1>());
  }
}

/*! Call `call` with the window of a primary convolution as a constant. */
template <typename Call>
void with_window(Window window, Call call) {
  if (window == kThree) {
    call(std::integral_constant<Window, kThree>());
  } else if (window == kTwo) {
    call(std::integral_constant<Window, kTwo>());
  } else {
    call(std::integral_constant<Window, kAny>());
  }
}

/*! The most of 4, 2, 1 that a group has. */
inline int members_of(int64_t leaving) { return leaving >= 4 ? 4 : leaving >= 2 ? 2 : 1; }

inline Window window_of(const igc_igconv_sizes& s) {
  const auto all = [](const int64_t (&sizes)[2], int64_t size) {
    return sizes[0] == size && sizes[1] == size;
  };
  if (!all(s.kernel, 3) || !all(s.pad, 1)) return kAny;
  return all(s.stride, 1) ? kThree : all(s.stride, 2) ? kTwo : kAny;
}

/*! A call in the kernels' terms. */
template <typename T>
class Passes {
 public:
  using Item = ItemOf<T>;

  Passes(const igc_block& block, cudaStream_t stream)
      : s_(block.sizes),
        mixed_(block.primary ? block.primary_filters : s_.channels),
        primary_(block.primary),
        window_(block.primary ? window_of(s_) : kNone),
        stream_(stream),
        mix_(static_cast<int>(s_.secondary_partition),
             static_cast<int>(mixed_ / s_.secondary_partition),
             static_cast<int>(s_.filters / s_.secondary_partition)) {
    height_ = block.primary ? igconv_out_size(s_, 0) : s_.height;
    width_ = block.primary ? igconv_out_size(s_, 1) : s_.width;
    const int partition = block.primary ? static_cast<int>(s_.primary_partition) : 1;
    weights_.groups = partition;
    weights_.leaving = static_cast<int>(mixed_ / partition);
    weights_.entering = static_cast<int>(s_.channels / partition);
    weights_.taps = static_cast<int>(s_.kernel[0] * s_.kernel[1]);
    window_in_.entering = weights_.entering;
    window_in_.height = static_cast<int>(s_.height);
    window_in_.width = static_cast<int>(s_.width);
    for (int axis = 0; axis < 2; ++axis) {
      window_in_.kernel[axis] = static_cast<int>(s_.kernel[axis]);
      window_in_.stride[axis] = static_cast<int>(s_.stride[axis]);
      window_in_.pad[axis] = static_cast<int>(s_.pad[axis]);
    }
    mix_.primary = window_in_;
    mix_.channels = static_cast<int>(s_.channels);
    mix_.filters = static_cast<int>(s_.filters);
    const ChannelMap same = {1, 0};
    mix_.before = block.primary ? ChannelMap{partition, weights_.leaving} : same;
    mix_.after = block.permute ? ChannelMap{mix_.leaving, mix_.groups} : same;
    // with as many mixed channels in a secondary group as there are primary groups, those at one
    // place of several groups come from one primary group
    if (block.primary && mix_.entering == partition) mix_.share(weights_.leaving, tiles());
    deep_ = window_ == kThree && fits_deep<T>(weights_.entering, weights_.leaving, deep_tiles());
    // where few channels leave, few warps of `mix` add up: it gains nothing over a convolution by
    // channels alone and the products of many
    const bool light = weights_.entering == 1 && weights_.leaving == 1 && mix_.entering >= 96;
    wide_ = block.primary && !deep_ && !light ? fits_wide<T>(mix_.entering, mix_.leaving)
                                              : fits_wide_alone<T>(mix_.entering, mix_.leaving);
    wide_back_ = fits_wide_alone<T>(mix_.leaving, mix_.entering);
    wide_gradient_ = fits_wide<T>(mix_.entering, mix_.leaving);
    by_channel_ = wide_gradient_ && wide_back_ && by_units<T>() && height_ * width_ % 4 != 0;
  }

  /*! The workspace of `forward`, for so many images at a time. */
  int64_t forward_bytes(int64_t images) const {
    Space space(nullptr);
    if (wide_) {
      WideForward(*this, &space, images);
    } else {
      take_packed(&space);
    }
    return space.bytes();
  }

  /*! The workspace of `backward`, for so many images at a time. */
  int64_t backward_bytes(int64_t images) const {
    Space space(nullptr);
    Backward(*this, &space, images);
    return space.bytes();
  }

  void forward(const T* data, const T* primary, const T* secondary, const Finish<T>& finish,
               T* out, void* workspace, int64_t bytes) {
    if (s_.batch == 0) return;
    if (wide_) {
      forward_wide(data, primary, secondary, finish, out, workspace, bytes);
      return;
    }
    Space space(workspace);
    const Packed packed = take_packed(&space);
    Packer<T> packer;
    if (primary_) packer.primary(weights_, units_mixed(), primary, packed.primary);
    packer.secondary(secondary_of(false), secondary, packed.secondary);
    packer.launch(stream_);
    // a 1x1 convolution needs no rows: a map is one
    const int64_t height = primary_ ? height_ : 1;
    const int64_t width = primary_ ? width_ : height_ * width_;
    const bool whole = aligned<T>(out, width) && aligned<T>(finish.residual, width) &&
                       (primary_ || aligned<T>(data, width));
    mix_.maps = maps_of<T>(height, width, s_.batch, whole);
    mix_.primary.whole = aligned<T>(data, s_.width);
    run_mix(mix_, window_, data, packed.primary, packed.secondary, finish, out);
  }

  /*! Gradients may be NULL. As many images at a time as the workspace of `bytes` holds. */
  void backward(const T* head, const T* data, const T* primary, const T* secondary,
                T* data_gradient, T* primary_gradient, T* secondary_gradient, void* workspace,
                int64_t bytes) {
    if (s_.batch == 0) {
      clear(primary_gradient, primary_weights());
      clear(secondary_gradient, secondary_weights());
      return;
    }
    const int64_t held = mixed_ + (by_channel_ ? s_.filters : 0);
    int64_t most = images_in(bytes - backward_bytes(0), held);
    while (most > 1 && backward_bytes(most) > bytes) --most;  // pieces are rounded up
    Space space(workspace);
    Backward at(*this, &space, most);
    const bool through = data_gradient != nullptr || primary_gradient != nullptr;
    Packer<T> packer;
    if (secondary_gradient != nullptr) pack_alone(at.forward, primary, &packer);
    if (through) pack_second(secondary, at.secondary, &packer);
    if (data_gradient != nullptr && spread_by_strips()) {
      pack_alone(at.backward, primary, &packer);
    }
    packer.launch(stream_);
    for (int64_t image = 0; image < s_.batch; image += most) {
      const int64_t images = std::min(most, s_.batch - image);
      at.first.add = at.second.add = image > 0;
      const Maps maps = maps_of<T>(height_, width_, images, aligned<T>(head, width_));
      const int64_t plane = height_ * width_;
      const Maps flat = maps_of<T>(1, plane, images, aligned<T>(head, plane));
      Primary window = window_in_;
      window.whole = aligned<T>(data, s_.width);
      const bool laid = lies_by_channel(images, kCopied);
      const T* const seen_head = laid ? lay(images, s_.filters, head, at.head) : head;
      if (secondary_gradient != nullptr) {
        run_alone(at.forward, images, maps, window, data, at.maps, laid);
        run_secondary_gradient(flat, images, laid, at.second, seen_head, at.maps,
                               at.partial_secondary);
      }
      if (through) run_back(flat, images, laid, seen_head, at.secondary, at.maps);
      if (primary_gradient != nullptr) {
        run_primary_gradient(images, maps, window, at.first, at.maps, data, at.partial_primary);
      }
      if (data_gradient != nullptr) {
        run_spread(images, maps, at.maps, at.backward, primary, data_gradient);
        data_gradient += images * s_.channels * s_.height * s_.width;
      }
      head += images * s_.filters * height_ * width_;
      data += images * s_.channels * s_.height * s_.width;
    }
    add({primary_weights(), at.first.count, at.partial_primary, primary_gradient},
        {secondary_weights(), at.second.count, at.partial_secondary, secondary_gradient});
  }

  /*! The workspace of one convolution alone; no image adds to it. */
  int64_t single_bytes(bool backward) const {
    if (!primary_ && !backward) return forward_bytes(1);
    Space space(nullptr);
    Single(*this, &space, backward);
    return space.bytes();
  }

  /*! The primary convolution alone or, where there is none, the 1x1 one. */
  void single_forward(const T* data, const T* weight, T* out, void* workspace) {
    if (!primary_) {
      forward(data, nullptr, weight, {}, out, workspace, forward_bytes(1));
      return;
    }
    if (s_.batch == 0) return;
    Space space(workspace);
    const Single at(*this, &space, false);
    Packer<T> packer;
    pack_alone(at.alone, weight, &packer);
    packer.launch(stream_);
    Primary window = window_in_;
    window.whole = aligned<T>(data, s_.width);
    run_alone(at.alone, s_.batch, maps_of<T>(height_, width_, s_.batch, aligned<T>(out, width_)),
              window, data, out);
  }

  /*! Its gradients; each may be NULL. */
  void single_backward(const T* head, const T* data, const T* weight, T* data_gradient,
                       T* weight_gradient, void* workspace) {
    if (s_.batch == 0) {
      clear(weight_gradient, single_weights());
      return;
    }
    Space space(workspace);
    const Single at(*this, &space, true);
    const int64_t plane = height_ * width_;
    const Maps maps = maps_of<T>(height_, width_, s_.batch, aligned<T>(head, width_));
    // a 1x1 convolution needs no rows, and reads and writes whole strips in all arrays or in none
    const bool whole = aligned<T>(head, plane) && aligned<T>(data, plane) &&
                       aligned<T>(data_gradient, plane);
    const Maps flat = maps_of<T>(1, plane, s_.batch, whole);
    const bool laid = !primary_ && lies_by_channel(s_.batch, kCopied);
    const T* const seen_head = laid ? lay(s_.batch, s_.filters, head, at.head) : head;
    if (weight_gradient != nullptr) {
      if (primary_) {
        Primary window = window_in_;
        window.whole = aligned<T>(data, s_.width);
        run_primary_gradient(s_.batch, maps, window, at.slices, head, data, at.partial);
      } else {
        const T* const seen = laid ? lay(s_.batch, s_.channels, data, at.data) : data;
        run_secondary_gradient(flat, s_.batch, laid, at.slices, seen_head, seen, at.partial);
      }
    }
    const Sums<T> sums = {single_weights(), at.slices.count, at.partial, weight_gradient};
    Packer<T> packer;
    if (data_gradient == nullptr) {
      // there is nothing to pack
    } else if (!primary_) {
      pack_second(weight, at.second, &packer);
    } else if (spread_by_strips()) {
      pack_alone(at.alone, weight, &packer);
    }
    packer.launch(stream_, sums);
    if (data_gradient == nullptr) return;
    if (primary_) {
      run_spread(s_.batch, maps, head, at.alone, weight, data_gradient);
    } else {
      run_back(flat, s_.batch, laid, seen_head, at.second, data_gradient);
    }
  }

 private:
  struct Packed {
    Item* primary;
    Item* secondary;
  };

  /*! A primary convolution by itself or, with `back`, its data gradient at stride 1 or 2. */
  struct Alone {
    bool back = false;
    Units units = {};
    Item* strips = nullptr;  // weights, packed for the units
    T* deep = nullptr;       // or for groups of many channels
  };

  /*! The second convolution's weights, packed for the way back: for `mix`, or for wide groups. */
  struct SecondBack {
    Item* octets = nullptr;
    T* matrices = nullptr;
  };

  /*! The backward pass's pieces of memory and shares of work. */
  struct Backward {
    Backward(const Passes& p, Space* space, int64_t images)
        : forward(p.take_alone(false, space)),
          backward(p.take_alone(true, space)),
          first(p.gradient_slices()),
          second(p.secondary_slices()) {
      secondary = p.take_second(space);
      partial_primary = space->take<Item>(first.count * p.primary_weights());
      partial_secondary = space->take<Item>(second.count * p.secondary_weights());
      maps = space->take<T>(images * p.mixed_ * p.height_ * p.width_);
      if (p.by_channel_) head = space->take<T>(images * p.s_.filters * p.height_ * p.width_);
    }

    Alone forward, backward;  // the primary convolution, and its data gradient
    Slices first, second;     // of the gradients of primary and secondary weights
    SecondBack secondary;
    Item *partial_primary, *partial_secondary;
    T* maps;  // the primary convolution's output, maybe by channel, then its gradient
    T* head = nullptr;  // the output's gradient, by channel
  };

  /*! The forward pass's pieces of memory where groups are wide. */
  struct WideForward {
    WideForward(const Passes& p, Space* space, int64_t images) {
      weights = space->take<T>(p.products().packed_count());
      if (!p.primary_) {
        if (p.lies_by_channel(p.s_.batch, kCopied)) {
          maps = space->take<T>(p.s_.batch * p.s_.channels * p.height_ * p.width_);
        }
        return;
      }
      alone = p.take_alone(false, space);
      maps = space->take<T>(images * p.mixed_ * p.height_ * p.width_);
    }

    T* weights;
    Alone alone;
    T* maps = nullptr;  // the primary convolution's output or, by channel, the data
  };

  void forward_wide(const T* data, const T* primary, const T* secondary, const Finish<T>& finish,
                    T* out, void* workspace, int64_t bytes) const {
    const int64_t most = images_in(bytes - forward_bytes(0), mixed_);
    Space space(workspace);
    const WideForward at(*this, &space, most);
    const WideProducts<T> products = this->products();
    Packer<T> packer;
    packer.matrices(products.packing(false), secondary, at.weights);
    if (primary_) pack_alone(at.alone, primary, &packer);
    packer.launch(stream_);
    if (!primary_) {
      const bool laid = lies_by_channel(s_.batch, kCopied);
      if (laid) data = lay(s_.batch, s_.channels, data, at.maps);
      products.run(seen(s_.batch, laid), pixels_of(s_.batch), data, at.weights, finish, out,
                   stream_);
      return;
    }
    for (int64_t image = 0; image < s_.batch; image += most) {
      const int64_t images = std::min(most, s_.batch - image);
      const bool laid = lies_by_channel(images, kWritten);
      Primary window = window_in_;
      window.whole = aligned<T>(data, s_.width);
      run_alone(at.alone, images, maps_of<T>(height_, width_, images, aligned<T>(at.maps, width_)),
                window, data, at.maps, laid, finish.primary_bias, finish.primary_activation);
      Finish<T> last = finish;
      const int64_t done = image * s_.filters * height_ * width_;
      if (last.residual != nullptr) last.residual += done;
      products.run(seen(images, laid), pixels_of(images), at.maps, at.weights, last, out + done,
                   stream_);
      data += images * s_.channels * s_.height * s_.width;
    }
  }

  /*! How many images with so many maps so many bytes hold; one at least. */
  int64_t images_in(int64_t bytes, int64_t maps) const {
    const int64_t image = maps * height_ * width_ * static_cast<int64_t>(sizeof(T));
    return std::max<int64_t>(std::min(s_.batch, bytes / std::max<int64_t>(image, 1)), 1);
  }

  /*! How maps come to lie by channel: a convolution writes them so, or they are copied. */
  enum Laying { kWritten, kCopied };

  /*!
   * Whether the maps of so many images do for the products of wide groups: whole vectors, with
   * places of 32 bits; copied only where the cache may hold them.
   */
  bool lies_by_channel(int64_t images, Laying how) const {
    constexpr int64_t kMostCopied = 64 << 20;  // bytes
    const int64_t pixels = images * height_ * width_;
    const int64_t numbers = pixels * std::max(mixed_, s_.filters);
    const int64_t most = how == kWritten ? INT32_MAX : kMostCopied / sizeof(T);
    return by_channel_ && pixels % kWord<T> == 0 && numbers <= most;
  }

  /*! The pixels of so many images' maps as those products read them: by channel all are one map. */
  Pixels seen(int64_t images, bool laid) const {
    const Pixels pixels = pixels_of(images);
    return laid ? Pixels{pixels.count, static_cast<int>(pixels.count)} : pixels;
  }

  /*! Copy maps, and give them by channel. */
  const T* lay(int64_t images, int64_t channels, const T* maps, T* laid) const {
    const Pixels pixels = pixels_of(images);
    launch(lay_by_channel<T>, laying_blocks(pixels, static_cast<int>(channels)), kThreads, stream_,
           pixels, static_cast<int>(channels), maps, laid);
    return laid;
  }

  Pixels pixels_of(int64_t images) const {
    const int64_t plane = height_ * width_;
    return {images * plane, static_cast<int>(plane)};
  }

  Rows mixed_rows() const {
    return {mix_.entering, static_cast<int>(mixed_), mix_.before};
  }
  Rows out_rows() const { return {mix_.leaving, mix_.filters, mix_.after}; }
  WideProducts<T> products() const {
    return {mix_.groups, mixed_rows(), out_rows(), pixels_of(s_.batch)};
  }
  WideProducts<T> products_back() const {
    return {mix_.groups, out_rows(), mixed_rows(), pixels_of(s_.batch)};
  }
  WideGradients<T> secondary_gradients() const {
    return {mix_.groups, out_rows(), mixed_rows(), pixels_of(s_.batch)};
  }

  /*! The pieces of memory and shares of work of one convolution alone. */
  struct Single {
    Single(const Passes& p, Space* space, bool backward)
        : slices(p.primary_ ? p.gradient_slices() : p.secondary_slices()) {
      if (p.primary_) {
        alone = p.take_alone(backward, space);
      } else if (backward) {
        second = p.take_second(space);
      }
      if (backward) partial = space->take<Item>(slices.count * p.single_weights());
      if (backward && !p.primary_ && p.lies_by_channel(p.s_.batch, kCopied)) {
        head = space->take<T>(p.s_.batch * p.s_.filters * p.height_ * p.width_);
        data = space->take<T>(p.s_.batch * p.s_.channels * p.height_ * p.width_);
      }
    }

    Slices slices;  // of the weights' gradient
    Alone alone;    // a primary convolution, forward or back
    SecondBack second;
    Item* partial = nullptr;
    T *head = nullptr, *data = nullptr;  // by channel
  };

  int64_t primary_weights() const { return mixed_ * weights_.entering * weights_.taps; }
  int64_t secondary_weights() const { return s_.filters * mix_.entering; }
  int64_t single_weights() const { return primary_ ? primary_weights() : secondary_weights(); }
  bool at_stride_one() const { return s_.stride[0] == 1 && s_.stride[1] == 1; }
  bool spread_by_strips() const { return at_stride_one() || window_ == kTwo; }

  /*! The tiles of the whole batch. */
  int64_t tiles() const { return maps_of<T>(height_, width_, s_.batch, false).tiles(); }

  int64_t gradient_units() const {
    const int members = members_of(weights_.leaving);
    const int64_t runs = (weights_.leaving + members - 1) / members;
    return weights_.groups * runs * weights_.entering * (window_ == kAny ? weights_.taps : 1);
  }

  Slices gradient_slices() const {
    if (deep_) {
      const DeepGradient p = deep_gradients(s_.batch);
      return {p.units(), s_.batch * p.tiles.of_image(), 1};  // a block for each unit and slice
    }
    return {gradient_units(), tiles(), gradient_blocks(members_of(weights_.leaving))};
  }

  int64_t secondary_units() const {
    const int64_t columns = (mix_.entering + kOctet - 1) / kOctet;
    return mix_.groups * mix_.octets * columns;
  }

  Slices secondary_slices() const {
    Slices slices(secondary_units(), tiles());
    if (wide_gradient_) slices.count = secondary_gradients().slices();
    return slices;
  }

  /*! The units of a convolution with so many output channels in a group. */
  Units units_alone(int leaving, int most = 4) const {
    Units units = {};
    units.members = std::min(members_of(leaving), most);
    units.runs = (leaving + units.members - 1) / units.members;
    units.count = weights_.groups * units.runs;
    return units;
  }

  /*! Those of the data gradient; at stride 2 a member has four strips of a lane instead of one. */
  Units units_back() const { return units_alone(weights_.entering, window_ == kTwo ? 2 : 4); }

  Units units_mixed() const {
    Units units = {};
    units.mixed = true;
    units.members = mix_.members;
    units.entering = mix_.entering;
    units.all = static_cast<int>(mixed_);
    units.count = (mix_.groups + mix_.members - 1) / mix_.members * mix_.entering;
    units.before = mix_.before;
    return units;
  }

  DeepTiles deep_tiles() const {
    return {static_cast<int>(s_.height), static_cast<int>(s_.width)};
  }

  DeepWeights deep_weights(bool back) const {
    return {weights_.groups, weights_.leaving, weights_.entering, back};
  }

  DeepGradient deep_gradients(int64_t images) const {
    return {weights_.groups, weights_.entering, weights_.leaving, deep_tiles(), images, 0, false};
  }

  Alone take_alone(bool back, Space* space) const {
    Alone alone;
    alone.back = back;
    if (deep_) {
      if constexpr (!std::is_same_v<T, double>) {
        alone.deep = space->take<T>(deep_weights(back).template count<T>());
      }
      return alone;
    }
    alone.units = back ? units_back() : units_alone(weights_.leaving);
    const int read = back ? weights_.leaving : weights_.entering;
    alone.strips = space->take<Item>(packed_count(alone.units, read));
    return alone;
  }

  void pack_alone(const Alone& alone, const T* weight, Packer<T>* packer) const {
    if (deep_) {
      packer->deep(deep_weights(alone.back), weight, alone.deep);
    } else if (alone.back) {
      packer->primary_back(weights_, alone.units, weight, alone.strips);
    } else {
      packer->primary(weights_, alone.units, weight, alone.strips);
    }
  }

  int64_t packed_count(const Units& units, int entering) const {
    return static_cast<int64_t>(units.count) * entering *
           packed_step(weights_.taps, units.members);
  }

  Packed take_packed(Space* space) const {
    Packed packed = {};
    if (primary_) {
      packed.primary = space->take<Item>(packed_count(units_mixed(), weights_.entering));
    }
    packed.secondary = space->take<Item>(secondary_of(false).count());
    return packed;
  }

  SecondaryWeights secondary_of(bool back) const {
    return {mix_.groups, mix_.leaving, mix_.entering, back};
  }

  SecondBack take_second(Space* space) const {
    SecondBack second;
    if (wide_back_) {
      second.matrices = space->take<T>(products_back().packed_count());
    } else {
      second.octets = space->take<Item>(secondary_of(true).count());
    }
    return second;
  }

  void pack_second(const T* weight, const SecondBack& second, Packer<T>* packer) const {
    if (wide_back_) {
      packer->matrices(products_back().packing(true), weight, second.matrices);
    } else {
      packer->secondary(secondary_of(true), weight, second.octets);
    }
  }

  /*! From the output's gradient, maybe by channel, to that of what the second convolution took. */
  void run_back(const Maps& flat, int64_t images, bool laid, const T* head,
                const SecondBack& second, T* gradient) const {
    if (wide_back_) {
      products_back().run(seen(images, laid), pixels_of(images), head, second.matrices, {},
                          gradient, stream_);
    } else {
      run_mix(mix_back(flat), kNone, head, nullptr, second.octets, {}, gradient);
    }
  }

  /*! From the output's gradient to that of the primary convolution's output. */
  Mix mix_back(const Maps& maps) const {
    Mix mix(mix_.groups, mix_.leaving, mix_.entering);
    mix.maps = maps;
    mix.primary = window_in_;
    mix.channels = mix_.filters;
    mix.filters = static_cast<int>(mixed_);
    mix.before = mix_.after;
    mix.after = mix_.before;
    return mix;
  }

  void run_mix(const Mix& mix, Window window, const T* data, const Item* primary,
               const Item* secondary, const Finish<T>& finish, T* out) const {
    const int64_t blocks = mix.maps.tiles() * mix.blocks_of_tile();
    const int threads = mix.warps(most_warps<T>(mix.members)) * kLanes;
    const size_t shared = mix.rows() * kLanes * sizeof(Strip<Item>);
    const auto run = [&](auto kernel) {
      launch_with(shared, kernel, blocks, threads, stream_, mix, data, primary, secondary, finish,
                  out);
    };
    const auto run_window = [&](auto kind) {
      constexpr Window kKind = decltype(kind)::value;
      if (mix.once()) {
        with_members(mix.members, [&](auto members) {
          run(cuda::mix<T, kKind, members(), true>);
        });
      } else {
        run(cuda::mix<T, kKind, 1, false>);
      }
    };
    if (window == kNone) {
      run(mix.once() ? cuda::mix<T, kNone, 1, true> : cuda::mix<T, kNone, 1, false>);
    } else {
      with_window(window, run_window);
    }
  }

  /*! `maps`: the output's; `laid`: whether it is to lie by channel. */
  void run_alone(const Alone& alone, int64_t images, const Maps& maps, const Primary& window,
                 const T* data, T* out, bool laid = false, const Item* bias = nullptr,
                 int activation = IGC_NO_ACTIVATION) const {
    const int leaving = alone.back ? weights_.entering : weights_.leaving;
    const int64_t plane = maps.plane();
    const Layout to = laid ? Layout{plane, images * plane}
                           : Layout{weights_.groups * leaving * plane, plane};
    if constexpr (!std::is_same_v<T, double>) {
      if (deep_) {
        const DeepConvolution p = {weights_.groups, window.entering, leaving, deep_tiles(), images};
        launch_with(deep_bytes<T>(p.tiles), convolve_deep<T>, p.blocks(), kDeepThreads, stream_, p,
                    data, alone.deep, bias, activation, to, out);
        return;
      }
    }
    const Units& units = alone.units;
    const auto run = [&](auto kernel, const Maps& rows) {
      launch(kernel, blocks_for(rows.tiles() * units.count * kLanes), kThreads, stream_, rows,
             window, units, weights_.groups, leaving, data, alone.strips, bias, activation, to,
             out);
    };
    with_members(units.members, [&](auto members) {
      with_window(window_, [&](auto known) {
        if constexpr (known() == kThree && members() <= 2 && !std::is_same_v<T, double>) {
          // two rows at a time take fewer instructions, where enough warps are left
          Maps pairs = maps;
          pairs.height = (maps.height + 1) / 2;
          pairs.strips = images * pairs.height * pairs.row;
          if (pairs.tiles() * units.count >= kManyWarps) {
            run(convolve_alone<T, known(), members(), 2>, pairs);
            return;
          }
        }
        run(convolve_alone<T, known(), members(), 1>, maps);
      });
    });
  }

  void run_primary_gradient(int64_t images, const Maps& maps, const Primary& window,
                            const Slices& slices, const T* gradient, const T* data,
                            Item* partial) const {
    if constexpr (!std::is_same_v<T, double>) {
      if (deep_) {
        DeepGradient p = deep_gradients(images);
        p.slices = slices.count;
        p.add = slices.add;
        launch_with(deep_gradient_bytes<T>(p.tiles), deep_gradient<T>, p.blocks(),
                    kDeepGradientThreads, stream_, p, gradient, data, partial);
        return;
      }
    }
    with_members(members_of(weights_.leaving), [&](auto members) {
      with_window(window_, [&](auto known) {
        launch(cuda::primary_gradient<T, known(), members()>, slices.blocks(), kGradientThreads,
               stream_, maps, window, weights_, slices, gradient, data, partial);
      });
    });
  }

  /*! From the output's gradient to that of the secondary weights, slice by slice. */
  void run_secondary_gradient(const Maps& flat, int64_t images, bool laid, const Slices& slices,
                              const T* head, const T* mixed, Item* partial) const {
    if (wide_gradient_) {
      secondary_gradients().run(seen(images, laid), slices.add, head, mixed, partial, stream_);
      return;
    }
    Mix mix = mix_;
    mix.maps = flat;
    launch(cuda::secondary_gradient<T>, slices.blocks(), kGradientThreads, stream_, mix, slices,
           head, mixed, partial);
  }

  /*!
   * The data gradient, from that of the primary convolution's output, which has `maps`; by strips
   * with the weights packed for the units of the way back.
   */
  void run_spread(int64_t images, const Maps& maps, const T* gradient, const Alone& alone,
                  const T* primary, T* data_gradient) const {
    const Maps to =
        maps_of<T>(s_.height, s_.width, images, aligned<T>(data_gradient, s_.width));
    if (window_ == kTwo) {
      const Units& units = alone.units;
      Maps from = maps;
      from.whole = aligned<T>(gradient, width_);
      const int64_t blocks = blocks_for(from.tiles() * units.count * kLanes);
      const auto run = [&](auto kernel) {
        launch(kernel, blocks, kThreads, stream_, from, to, units, weights_.groups,
               weights_.leaving, weights_.entering, gradient, alone.strips, data_gradient);
      };
      run(units.members == 2 ? spread_two<T, 2> : spread_two<T, 1>);
      return;
    }
    if (!at_stride_one()) {
      const Maps rows = maps_of<T>(s_.channels * s_.height, s_.width, images, to.whole);
      launch(spread_primary<T>, blocks_for(rows.strips), kThreads, stream_, maps, rows, window_in_,
             weights_, gradient, primary, data_gradient);
      return;
    }
    Primary back = window_in_;
    back.entering = weights_.leaving;
    back.height = maps.height;
    back.width = maps.width;
    for (int axis = 0; axis < 2; ++axis) {
      back.pad[axis] = back.kernel[axis] - 1 - back.pad[axis];
    }
    back.whole = aligned<T>(gradient, width_);
    run_alone(alone, images, to, back, gradient, data_gradient);
  }

  /*! Add up slices, of two arrays in one launch. */
  void add(const Sums<T>& first, const Sums<T>& second) const {
    launch(add_slices<T>, first.blocks() + second.blocks(), kThreads, stream_, first, second);
  }

  void clear(T* gradient, int64_t weights) const {
    if (gradient != nullptr && weights > 0) {
      cudaMemsetAsync(gradient, 0, weights * sizeof(T), stream_);
    }
  }

  static constexpr int kGradientThreads = Slices::kWarpsOfBlock * kLanes;
  static constexpr int64_t kManyWarps = 32 * kMultiprocessors;

  igc_igconv_sizes s_;
  int64_t mixed_;  // channels between the convolutions
  bool primary_;
  Window window_;
  cudaStream_t stream_;
  Mix mix_;
  // whether the kernels of wide groups compute the secondary one, its data gradient, its weights'
  bool wide_, wide_back_, wide_gradient_;
  bool deep_;  // whether those of groups of many channels compute the primary one
  bool by_channel_;  // whether maps may lie by channel: alone they are no whole vectors
  int64_t height_, width_;  // of the output
  PrimaryWeights weights_;
  Primary window_in_;
};

/*! The functions of passes.h for a type. */
template <typename T>
constexpr Functions functions_for() {
  return {
      [](const igc_block& block, int64_t images) {
        return Passes<T>(block, nullptr).forward_bytes(images);
      },
      [](const igc_block& block, int64_t images) {
        return Passes<T>(block, nullptr).backward_bytes(images);
      },
      [](const igc_block& block, const void* data, const void* primary, const void* secondary,
         const igc_finish& finish, void* out, void* workspace, int64_t bytes,
         cudaStream_t stream) {
        const Finish<T> last = {static_cast<const ItemOf<T>*>(finish.primary_bias),
                                static_cast<const ItemOf<T>*>(finish.bias),
                                static_cast<const T*>(finish.residual), block.primary_activation,
                                block.activation};
        Passes<T>(block, stream)
            .forward(static_cast<const T*>(data), static_cast<const T*>(primary),
                     static_cast<const T*>(secondary), last, static_cast<T*>(out), workspace,
                     bytes);
      },
      [](const igc_block& block, const void* head, const void* data, const void* primary,
         const void* secondary, void* data_gradient, void* primary_gradient,
         void* secondary_gradient, void* workspace, int64_t bytes, cudaStream_t stream) {
        Passes<T>(block, stream)
            .backward(static_cast<const T*>(head), static_cast<const T*>(data),
                      static_cast<const T*>(primary), static_cast<const T*>(secondary),
                      static_cast<T*>(data_gradient), static_cast<T*>(primary_gradient),
                      static_cast<T*>(secondary_gradient), workspace, bytes);
      },
      [](const igc_block& block, bool backward) {
        return Passes<T>(block, nullptr).single_bytes(backward);
      },
      [](const igc_block& block, const void* data, const void* weight, void* out, void* workspace,
         cudaStream_t stream) {
        Passes<T>(block, stream)
            .single_forward(static_cast<const T*>(data), static_cast<const T*>(weight),
                            static_cast<T*>(out), workspace);
      },
      [](const igc_block& block, const void* head, const void* data, const void* weight,
         void* data_gradient, void* weight_gradient, void* workspace, cudaStream_t stream) {
        Passes<T>(block, stream)
            .single_backward(static_cast<const T*>(head), static_cast<const T*>(data),
                             static_cast<const T*>(weight), static_cast<T*>(data_gradient),
                             static_cast<T*>(weight_gradient), workspace);
      },
  };
}

}  // namespace igc::cuda

#endif  // IGC_OPERATOR_CUDA_PASSES_H_
