/*!
 * The interleaved group convolution on the CPU.
 *
 * Channels are padded, and split by the stride into images of every `stride`-th row and column, so
 * that every tap of the kernel reads one contiguous run over the whole image: out row y at x reads
 * `pitch * (y + tap row) + x + tap column`. Runs cover the columns between the image's width and
 * the pitch too; what comes out there is dropped.
 *
 * Every stage is a loop over independent tasks, a few channels of one group of one image. A weight
 * gradient is one task over all images, so that nothing is summed between threads.
 */
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "half.h"
#include "igconv.h"
#include "igconv_check.h"
#include "igconv_rows.h"

namespace {

using igc::Half;
using igc::kRows;

// The workspace holds as many images as fit in this, and at least one.
constexpr int64_t kWorkspaceBytes = int64_t{16} << 20;
// Below this many multiplications one thread is faster than waking the others.
constexpr int64_t kWorkWorthThreads = 100 * 1000;

int thread_number() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

int most_threads() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

float compute_type(Half value) { return igc::to_float(value); }
float compute_type(float value) { return value; }
double compute_type(double value) { return value; }

template <typename Item, typename Stored>
void store(const Item* from, Stored* to, int64_t count) {
  if constexpr (std::is_same_v<Stored, Half>) {
    for (int64_t k = 0; k < count; ++k) to[k] = igc::to_half(from[k]);
  } else {
    std::copy_n(from, count, to);
  }
}

/*! The channels of every group in blocks of at most kRows: what one task does. */
struct Blocks {
  Blocks(int64_t groups, int64_t group)
      : group(group), per_group((group + kRows - 1) / kRows), count(groups * per_group) {}

  int64_t group_of(int64_t block) const { return block / per_group; }
  int64_t first_in_group(int64_t block) const { return block % per_group * kRows; }
  int64_t first(int64_t block) const { return group_of(block) * group + first_in_group(block); }
  int64_t rows(int64_t block) const { return std::min(kRows, group - first_in_group(block)); }

  int64_t group, per_group, count;
};

/*! All that follows from the sizes. */
struct Plan {
  Plan(const igc_igconv_sizes& sizes, bool backward) : s(sizes) {
    out_height = igc::igconv_out_size(s, 0);
    out_width = igc::igconv_out_size(s, 1);
    pixels = out_height * out_width;
    group_in = s.channels / s.primary_partition;
    group_primary = s.filters / s.primary_partition;
    group_secondary = s.filters / s.secondary_partition;
    taps = s.kernel[0] * s.kernel[1];
    extra_rows = (s.kernel[0] - 1) / s.stride[0];
    extra_columns = (s.kernel[1] - 1) / s.stride[1];
    phase_rows = std::min(s.kernel[0], s.stride[0]);
    phase_columns = std::min(s.kernel[1], s.stride[1]);
    // The gradient of the primary convolution's output is padded on both sides, and its runs have
    // to meet those of the data.
    pitch = out_width + extra_columns * (backward ? 2 : 1);
    phase = (out_height + extra_rows) * pitch;
    packed = phase_rows * phase_columns * phase;
    run = (out_height - 1) * pitch + out_width;
    const bool plain = s.stride[0] == 1 && s.stride[1] == 1 && s.pad[0] == 0 && s.pad[1] == 0;
    data_is_packed = plain && pitch == s.width;
    padded = (out_height + 2 * extra_rows) * pitch;
    padded_run = (out_height + extra_rows - 1) * pitch + out_width + extra_columns;
    padded_start = extra_rows * pitch + extra_columns;
    const int64_t work = s.batch * s.filters * pixels * (group_in * taps + group_secondary);
    threads = work < kWorkWorthThreads ? 1 : most_threads();
  }

  /*! How many images to do at a time. Threads play no part: results must not depend on them. */
  int64_t images(int64_t bytes_per_image) const {
    return std::clamp<int64_t>(kWorkspaceBytes / std::max<int64_t>(bytes_per_image, 1), 1,
                               std::max<int64_t>(s.batch, 1));
  }

  /*! Where in a packed channel the run of a tap begins. */
  int64_t tap_start(int64_t tap) const {
    const int64_t i = tap / s.kernel[1];
    const int64_t j = tap % s.kernel[1];
    const int64_t of_phase = i % s.stride[0] * phase_columns + j % s.stride[1];
    return of_phase * phase + i / s.stride[0] * pitch + j / s.stride[1];
  }

  igc_igconv_sizes s;
  int64_t out_height, out_width, pixels;
  int64_t group_in;         // data channels of a primary group
  int64_t group_primary;    // filters of a primary group
  int64_t group_secondary;  // filters of a secondary group
  int64_t taps;
  int64_t extra_rows, extra_columns;  // of a phase, beyond those of the output
  int64_t phase_rows, phase_columns;  // how many phases there are
  int64_t pitch;                      // from row to row
  int64_t phase, packed;              // elements of a phase, and of all phases of a channel
  int64_t run;                        // elements from the first to the last output pixel
  bool data_is_packed;                // the data are already as packing would make them
  int64_t padded, padded_run, padded_start;  // of a channel of the primary output's gradient
  int threads;
};

/*! What one thread needs for a task. */
template <typename Item>
struct Scratch {
  Scratch(int64_t terms, int64_t run)
      : in(terms), runs(new Item[kRows * run]) {
    for (int64_t r = 0; r < kRows; ++r) rows[r] = runs.get() + r * run;
  }

  std::vector<const Item*> in;
  std::unique_ptr<Item[]> runs;
  Item* rows[kRows];  // into `runs`
};

/*! Memory is got here and not inside of parallel loops, which no exception may leave. */
template <typename Item>
std::vector<Scratch<Item>> make_scratch(const Plan& plan, int64_t terms, int64_t run) {
  std::vector<Scratch<Item>> scratch;
  for (int k = 0; k < plan.threads; ++k) scratch.emplace_back(terms, run);
  return scratch;
}

template <typename Item>
std::unique_ptr<Item[]> allocate(int64_t count) {
  return std::unique_ptr<Item[]>(new Item[std::max<int64_t>(count, 1)]);
}

std::vector<int64_t> steps(int64_t count, int64_t step) {
  std::vector<int64_t> offsets(count);
  for (int64_t k = 0; k < count; ++k) offsets[k] = k * step;
  return offsets;
}

/*! Copy rows of `width` elements that are `pitch` apart to dense ones. */
template <typename Item>
void drop_gaps(const Item* from, Item* to, int64_t height, int64_t width, int64_t pitch) {
  for (int64_t y = 0; y < height; ++y) std::copy_n(from + y * pitch, width, to + y * width);
}

/*! The k in [0, count) with 0 <= k * step + offset < size. Where there is none, first == last. */
struct Range {
  Range(int64_t count, int64_t step, int64_t offset, int64_t size) {
    first = offset >= 0 ? 0 : std::min(count, (step - 1 - offset) / step);
    const int64_t end = size > offset ? (size - offset + step - 1) / step : 0;
    last = std::max(first, std::min(count, end));
  }

  int64_t first, last;
};

/*! Phase (a, b) of a channel, with zeros for what is outside of the image. */
template <typename Stored, typename Item>
void pack_phase(const Plan& plan, const Stored* image, int64_t a, int64_t b, Item* out) {
  const auto& s = plan.s;
  const int64_t step = s.stride[1];
  const int64_t left = b - s.pad[1];
  const Range rows(plan.out_height + plan.extra_rows, s.stride[0], a - s.pad[0], s.height);
  const Range columns(plan.out_width + plan.extra_columns, step, left, s.width);
  std::fill_n(out, plan.phase, Item{0});
  for (int64_t y = rows.first; y < rows.last; ++y) {
    const Stored* in = image + (y * s.stride[0] + a - s.pad[0]) * s.width;
    Item* to = out + y * plan.pitch;
    for (int64_t x = columns.first; x < columns.last; ++x) {
      to[x] = compute_type(in[x * step + left]);
    }
  }
}

/*! The inverse, for the gradient of the data: only what is inside of the image is written. */
template <typename Item>
void unpack_phase(const Plan& plan, const Item* in, int64_t a, int64_t b, Item* image) {
  const auto& s = plan.s;
  const int64_t step = s.stride[1];
  const int64_t left = b - s.pad[1];
  const Range rows(plan.out_height + plan.extra_rows, s.stride[0], a - s.pad[0], s.height);
  const Range columns(plan.out_width + plan.extra_columns, step, left, s.width);
  for (int64_t y = rows.first; y < rows.last; ++y) {
    const Item* from = in + y * plan.pitch;
    Item* to = image + (y * s.stride[0] + a - s.pad[0]) * s.width;
    for (int64_t x = columns.first; x < columns.last; ++x) to[x * step + left] = from[x];
  }
}

template <typename Stored, typename Item>
void pack_data(const Plan& plan, int64_t images, const Stored* data, Item* packed) {
  const auto& s = plan.s;
  const int64_t channels = images * s.channels;
#pragma omp parallel for schedule(static) num_threads(plan.threads)
  for (int64_t c = 0; c < channels; ++c) {
    Item* out = packed + c * plan.packed;
    for (int64_t a = 0; a < plan.phase_rows; ++a) {
      for (int64_t b = 0; b < plan.phase_columns; ++b, out += plan.phase) {
        pack_phase(plan, data + c * s.height * s.width, a, b, out);
      }
    }
  }
}

/*! The runs of all taps of a primary group's packed channels, in the order of its weights. */
template <typename Item>
void list_taps(const Plan& plan, const Item* packed_group, std::vector<const Item*>* in) {
  const Item** next = in->data();
  for (int64_t c = 0; c < plan.group_in; ++c) {
    for (int64_t tap = 0; tap < plan.taps; ++tap) {
      *next++ = packed_group + c * plan.packed + plan.tap_start(tap);
    }
  }
}

/*! The primary convolution, into dense channels. */
template <typename Item>
void convolve_primary(const Plan& plan, int64_t images, const Item* packed, const Item* weight,
                      Item* primary, std::vector<Scratch<Item>>* scratch) {
  const auto& s = plan.s;
  const Blocks blocks(s.primary_partition, plan.group_primary);
  const int64_t terms = plan.group_in * plan.taps;
  const std::vector<int64_t> offsets = steps(terms, 1);
#pragma omp parallel for schedule(static) num_threads(plan.threads)
  for (int64_t task = 0; task < images * blocks.count; ++task) {
    Scratch<Item>& mine = (*scratch)[thread_number()];
    const int64_t image = task / blocks.count;
    const int64_t block = task % blocks.count;
    const int64_t rows = blocks.rows(block);
    const int64_t first_in = image * s.channels + blocks.group_of(block) * plan.group_in;
    list_taps(plan, packed + first_in * plan.packed, &mine.in);
    igc::combine(igc::Combination<Item>{rows, terms, plan.run, weight + blocks.first(block) * terms,
                                   terms, offsets.data(), mine.in.data(), mine.rows});
    for (int64_t r = 0; r < rows; ++r) {
      Item* out = primary + (image * s.filters + blocks.first(block) + r) * plan.pixels;
      drop_gaps(mine.rows[r], out, plan.out_height, plan.out_width, plan.pitch);
    }
  }
}

/*! The channels that a secondary group mixes, in the order of its weights. */
template <typename Item>
void list_mixed(const Plan& plan, const Item* primary, int64_t group,
                std::vector<const Item*>* in) {
  for (int64_t i = 0; i < plan.group_secondary; ++i) {
    const int64_t channel = igc::primary_channel(plan.s, group * plan.group_secondary + i);
    (*in)[i] = primary + channel * plan.pixels;
  }
}

/*! The secondary convolution, with both permutations. */
template <typename Item, typename Stored>
void convolve_secondary(const Plan& plan, int64_t images, const Item* primary, const Item* weight,
                        Stored* out, std::vector<Scratch<Item>>* scratch) {
  const auto& s = plan.s;
  const Blocks blocks(s.secondary_partition, plan.group_secondary);
  const int64_t terms = plan.group_secondary;
  const std::vector<int64_t> offsets = steps(terms, 1);
#pragma omp parallel for schedule(static) num_threads(plan.threads)
  for (int64_t task = 0; task < images * blocks.count; ++task) {
    Scratch<Item>& mine = (*scratch)[thread_number()];
    const int64_t image = task / blocks.count;
    const int64_t block = task % blocks.count;
    const int64_t rows = blocks.rows(block);
    list_mixed(plan, primary + image * s.filters * plan.pixels, blocks.group_of(block), &mine.in);
    Stored* to[kRows];
    Item* computed[kRows];
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t channel = igc::out_channel(s, blocks.first(block) + r);
      to[r] = out + (image * s.filters + channel) * plan.pixels;
      if constexpr (std::is_same_v<Item, Stored>) {
        computed[r] = to[r];
      } else {
        computed[r] = mine.rows[r];
      }
    }
    igc::combine(igc::Combination<Item>{rows, terms, plan.pixels,
                                        weight + blocks.first(block) * terms, terms,
                                        offsets.data(), mine.in.data(), computed});
    if constexpr (!std::is_same_v<Item, Stored>) {
      for (int64_t r = 0; r < rows; ++r) store(computed[r], to[r], plan.pixels);
    }
  }
}

/*! The gradient of the primary convolution's output, padded. */
template <typename Item>
void spread_secondary(const Plan& plan, int64_t images, const Item* out_gradient,
                      const Item* weight, Item* padded, std::vector<Scratch<Item>>* scratch) {
  const auto& s = plan.s;
  const Blocks blocks(s.secondary_partition, plan.group_secondary);
  const int64_t terms = plan.group_secondary;
  const std::vector<int64_t> offsets = steps(terms, plan.group_secondary);
#pragma omp parallel for schedule(static) num_threads(plan.threads)
  for (int64_t task = 0; task < images * blocks.count; ++task) {
    Scratch<Item>& mine = (*scratch)[thread_number()];
    const int64_t image = task / blocks.count;
    const int64_t block = task % blocks.count;
    const int64_t group_start = blocks.group_of(block) * plan.group_secondary;
    for (int64_t k = 0; k < terms; ++k) {
      const int64_t channel = igc::out_channel(s, group_start + k);
      mine.in[k] = out_gradient + (image * s.filters + channel) * plan.pixels;
    }
    const Item* first_weight =
        weight + group_start * plan.group_secondary + blocks.first_in_group(block);
    igc::combine(igc::Combination<Item>{blocks.rows(block), terms, plan.pixels, first_weight, 1,
                                        offsets.data(), mine.in.data(), mine.rows});
    for (int64_t r = 0; r < blocks.rows(block); ++r) {
      const int64_t channel = igc::primary_channel(s, blocks.first(block) + r);
      Item* to = padded + (image * s.filters + channel) * plan.padded;
      std::fill_n(to, plan.padded, Item{0});
      for (int64_t y = 0; y < plan.out_height; ++y) {
        std::copy_n(mine.rows[r] + y * plan.out_width, plan.out_width,
                    to + plan.padded_start + y * plan.pitch);
      }
    }
  }
}

/*! Add some images' share to the gradient of the secondary weight. */
template <typename Item>
void add_secondary_gradient(const Plan& plan, int64_t images, const Item* out_gradient,
                            const Item* primary, Item* gradient,
                            std::vector<Scratch<Item>>* scratch) {
  const auto& s = plan.s;
  const Blocks blocks(s.secondary_partition, plan.group_secondary);
  const int64_t terms = plan.group_secondary;
#pragma omp parallel for schedule(static) num_threads(plan.threads)
  for (int64_t block = 0; block < blocks.count; ++block) {
    Scratch<Item>& mine = (*scratch)[thread_number()];
    const Item* left[kRows];
    for (int64_t image = 0; image < images; ++image) {
      const int64_t start = image * s.filters * plan.pixels;
      for (int64_t r = 0; r < blocks.rows(block); ++r) {
        left[r] = out_gradient + start +
                  igc::out_channel(s, blocks.first(block) + r) * plan.pixels;
      }
      list_mixed(plan, primary + start, blocks.group_of(block), &mine.in);
      igc::add_products(igc::Products<Item>{blocks.rows(block), terms, plan.pixels, left,
                                            mine.in.data(),
                                            gradient + blocks.first(block) * terms, terms});
    }
  }
}

/*! Add some images' share to the gradient of the primary weight. */
template <typename Item>
void add_primary_gradient(const Plan& plan, int64_t images, const Item* padded,
                          const Item* packed, Item* gradient,
                          std::vector<Scratch<Item>>* scratch) {
  const auto& s = plan.s;
  const Blocks blocks(s.primary_partition, plan.group_primary);
  const int64_t terms = plan.group_in * plan.taps;
#pragma omp parallel for schedule(static) num_threads(plan.threads)
  for (int64_t block = 0; block < blocks.count; ++block) {
    Scratch<Item>& mine = (*scratch)[thread_number()];
    const Item* left[kRows];
    for (int64_t image = 0; image < images; ++image) {
      for (int64_t r = 0; r < blocks.rows(block); ++r) {
        left[r] = padded + (image * s.filters + blocks.first(block) + r) * plan.padded +
                  plan.padded_start;
      }
      const int64_t first_in = image * s.channels + blocks.group_of(block) * plan.group_in;
      list_taps(plan, packed + first_in * plan.packed, &mine.in);
      // Between the rows of `left` are zeros, and those of the data do not count.
      igc::add_products(igc::Products<Item>{blocks.rows(block), terms, plan.run, left,
                                            mine.in.data(),
                                            gradient + blocks.first(block) * terms, terms});
    }
  }
}

/*! The gradient of a phase of the data: the taps that read it, backwards. */
struct PhaseGradient {
  PhaseGradient(const Plan& plan, int64_t a, int64_t b) : a(a), b(b) {
    const auto& s = plan.s;
    for (int64_t f = 0; f < plan.group_primary; ++f) {
      for (int64_t i = a; i < s.kernel[0]; i += s.stride[0]) {
        for (int64_t j = b; j < s.kernel[1]; j += s.stride[1]) {
          starts.push_back(f * plan.padded + (plan.extra_rows - i / s.stride[0]) * plan.pitch +
                           plan.extra_columns - j / s.stride[1]);
          weights.push_back(f * plan.group_in * plan.taps + i * s.kernel[1] + j);
        }
      }
    }
  }

  int64_t a, b;
  std::vector<int64_t> starts, weights;  // of the taps of all filters of a group
};

/*! The gradient of the data. */
template <typename Item>
void spread_primary(const Plan& plan, int64_t images, const Item* padded, const Item* weight,
                    Item* data_gradient, std::vector<Scratch<Item>>* scratch) {
  const auto& s = plan.s;
  const Blocks blocks(s.primary_partition, plan.group_in);
  const int64_t group_weights = plan.group_primary * plan.group_in * plan.taps;
  std::vector<PhaseGradient> phases;
  for (int64_t a = 0; a < plan.phase_rows; ++a) {
    for (int64_t b = 0; b < plan.phase_columns; ++b) phases.emplace_back(plan, a, b);
  }
#pragma omp parallel for schedule(static) num_threads(plan.threads)
  for (int64_t task = 0; task < images * blocks.count; ++task) {
    Scratch<Item>& mine = (*scratch)[thread_number()];
    const int64_t image = task / blocks.count;
    const int64_t block = task % blocks.count;
    const int64_t group = blocks.group_of(block);
    const int64_t rows = blocks.rows(block);
    Item* out = data_gradient + (image * s.channels + blocks.first(block)) * s.height * s.width;
    std::fill_n(out, rows * s.height * s.width, Item{0});  // a stride may skip some data
    const Item* in = padded + (image * s.filters + group * plan.group_primary) * plan.padded;
    const Item* first_weight =
        weight + group * group_weights + blocks.first_in_group(block) * plan.taps;
    for (const PhaseGradient& phase : phases) {
      const auto terms = static_cast<int64_t>(phase.starts.size());
      for (int64_t k = 0; k < terms; ++k) mine.in[k] = in + phase.starts[k];
      igc::combine(igc::Combination<Item>{rows, terms, plan.padded_run, first_weight, plan.taps,
                                          phase.weights.data(), mine.in.data(), mine.rows});
      for (int64_t r = 0; r < rows; ++r) {
        unpack_phase(plan, mine.rows[r], phase.a, phase.b, out + r * s.height * s.width);
      }
    }
  }
}

template <typename Stored, typename Item>
const char* forward(const igc_igconv_sizes& sizes, const Stored* data,
                    const Stored* primary_weight, const Stored* secondary_weight, Stored* out) {
  const Plan plan(sizes, false);
  const auto& s = plan.s;
  const int64_t terms = std::max(plan.group_in * plan.taps, plan.group_secondary);
  auto scratch = make_scratch<Item>(plan, terms, std::max(plan.run, plan.pixels));
  constexpr bool same = std::is_same_v<Stored, Item>;
  const bool pack = !(same && plan.data_is_packed);
  const int64_t packed_image = pack ? s.channels * plan.packed : 0;
  const int64_t primary_image = s.filters * plan.pixels;
  const auto item = static_cast<int64_t>(sizeof(Item));
  const int64_t most = plan.images((packed_image + primary_image) * item);
  const auto packed = allocate<Item>(most * packed_image);
  const auto primary = allocate<Item>(most * primary_image);

  const int64_t primary_count = s.filters * plan.group_in * plan.taps;
  const int64_t secondary_count = s.filters * plan.group_secondary;
  std::unique_ptr<Item[]> weights;
  const Item* primary_items;
  const Item* secondary_items;
  if constexpr (same) {
    primary_items = primary_weight;
    secondary_items = secondary_weight;
  } else {
    weights = allocate<Item>(primary_count + secondary_count);
    for (int64_t k = 0; k < primary_count; ++k) weights[k] = compute_type(primary_weight[k]);
    for (int64_t k = 0; k < secondary_count; ++k) {
      weights[primary_count + k] = compute_type(secondary_weight[k]);
    }
    primary_items = weights.get();
    secondary_items = weights.get() + primary_count;
  }

  for (int64_t image = 0; image < s.batch; image += most) {
    const int64_t images = std::min(most, s.batch - image);
    const Stored* some = data + image * s.channels * s.height * s.width;
    const Item* runs = packed.get();
    if (pack) pack_data(plan, images, some, packed.get());
    if constexpr (same) runs = pack ? packed.get() : some;
    convolve_primary(plan, images, runs, primary_items, primary.get(), &scratch);
    convolve_secondary(plan, images, primary.get(), secondary_items, out + image * primary_image,
                       &scratch);
  }
  return nullptr;
}

template <typename Item>
const char* backward(const igc_igconv_sizes& sizes, const Item* out_gradient, const Item* data,
                     const Item* primary_weight, const Item* secondary_weight,
                     Item* data_gradient, Item* primary_gradient, Item* secondary_gradient) {
  const Plan plan(sizes, true);
  const auto& s = plan.s;
  const bool need_primary = secondary_gradient != nullptr;
  const bool need_padded = data_gradient != nullptr || primary_gradient != nullptr;
  const bool need_packed = primary_gradient != nullptr || need_primary;
  const bool pack = need_packed && !plan.data_is_packed;
  const int64_t terms = std::max({plan.group_in * plan.taps, plan.group_primary * plan.taps,
                                  plan.group_secondary});
  auto scratch =
      make_scratch<Item>(plan, terms, std::max({plan.run, plan.padded_run, plan.pixels}));
  const int64_t out_image = s.filters * plan.pixels;
  const int64_t packed_image = pack ? s.channels * plan.packed : 0;
  const int64_t primary_image = need_primary ? out_image : 0;
  const int64_t padded_image = need_padded ? s.filters * plan.padded : 0;
  const auto item = static_cast<int64_t>(sizeof(Item));
  const int64_t most = plan.images((packed_image + primary_image + padded_image) * item);
  const auto packed = allocate<Item>(most * packed_image);
  const auto primary = allocate<Item>(most * primary_image);
  const auto padded = allocate<Item>(most * padded_image);

  if (primary_gradient != nullptr) {
    std::fill_n(primary_gradient, s.filters * plan.group_in * plan.taps, Item{0});
  }
  if (secondary_gradient != nullptr) {
    std::fill_n(secondary_gradient, s.filters * plan.group_secondary, Item{0});
  }
  for (int64_t image = 0; image < s.batch; image += most) {
    const int64_t images = std::min(most, s.batch - image);
    const int64_t start = image * s.channels * s.height * s.width;
    const Item* head = out_gradient + image * out_image;
    if (pack) pack_data(plan, images, data + start, packed.get());
    const Item* runs = pack ? packed.get() : data + start;
    if (need_primary) {
      convolve_primary(plan, images, runs, primary_weight, primary.get(), &scratch);
      add_secondary_gradient(plan, images, head, primary.get(), secondary_gradient, &scratch);
    }
    if (need_padded) {
      spread_secondary(plan, images, head, secondary_weight, padded.get(), &scratch);
    }
    if (primary_gradient != nullptr) {
      add_primary_gradient(plan, images, padded.get(), runs, primary_gradient, &scratch);
    }
    if (data_gradient != nullptr) {
      spread_primary(plan, images, padded.get(), primary_weight, data_gradient + start, &scratch);
    }
  }
  return nullptr;
}

template <typename Stored, typename Item>
const char* forward_of(const igc_igconv_sizes& sizes, const void* data,
                       const void* primary_weight, const void* secondary_weight, void* out) {
  return forward<Stored, Item>(sizes, static_cast<const Stored*>(data),
                               static_cast<const Stored*>(primary_weight),
                               static_cast<const Stored*>(secondary_weight),
                               static_cast<Stored*>(out));
}

template <typename Item>
const char* backward_of(const igc_igconv_sizes& sizes, const void* out_gradient, const void* data,
                        const void* primary_weight, const void* secondary_weight,
                        void* data_gradient, void* primary_gradient, void* secondary_gradient) {
  return backward(sizes, static_cast<const Item*>(out_gradient), static_cast<const Item*>(data),
                  static_cast<const Item*>(primary_weight),
                  static_cast<const Item*>(secondary_weight), static_cast<Item*>(data_gradient),
                  static_cast<Item*>(primary_gradient), static_cast<Item*>(secondary_gradient));
}

constexpr char kNoMemory[] = "igconv: there is not enough memory for the workspace";

}  // namespace

extern "C" const char* igc_igconv_forward_cpu(const igc_igconv_sizes* sizes, int item_bytes,
                                              const void* data, const void* primary_weight,
                                              const void* secondary_weight, void* out) {
  const char* wrong = igc::check_igconv(sizes, item_bytes, false);
  if (wrong != nullptr) return wrong;
  const auto run = item_bytes == 2   ? forward_of<Half, float>
                   : item_bytes == 4 ? forward_of<float, float>
                                     : forward_of<double, double>;
  try {
    return run(*sizes, data, primary_weight, secondary_weight, out);
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  }
}

extern "C" const char* igc_igconv_backward_cpu(const igc_igconv_sizes* sizes, int item_bytes,
                                               const void* out_gradient, const void* data,
                                               const void* primary_weight,
                                               const void* secondary_weight, void* data_gradient,
                                               void* primary_gradient, void* secondary_gradient) {
  const char* wrong = igc::check_igconv(sizes, item_bytes, true);
  if (wrong != nullptr) return wrong;
  const auto run = item_bytes == 4 ? backward_of<float> : backward_of<double>;
  try {
    return run(*sizes, out_gradient, data, primary_weight, secondary_weight, data_gradient,
               primary_gradient, secondary_gradient);
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  }
}
