/*!
 * The body of kernels.h, included once for each instruction set by kernels_<isa>.cc, which define
 *
 *   IGC_ISA        the namespace
 *   IGC_PIXELS     neighbouring pixels in a vector
 *   IGC_BUDGET     vectors of sums that fit into the registers beside what is loaded
 *
 * Nothing from std:: and no shared inline function is used here: the linker would keep one
 * instruction set's copy of it for all. Kernels are kept out of line, since g++ spills the weights
 * of one that is inlined into a larger function.
 */
#include "kernels.h"

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace igc {
namespace IGC_ISA {
namespace {

constexpr int P = IGC_PIXELS;
constexpr int W = P * kLanes;
constexpr int kBudget = IGC_BUDGET;

typedef float V __attribute__((vector_size(W * 4)));
typedef float V8 __attribute__((vector_size(32)));
typedef V VU __attribute__((aligned(4)));    // for loads and stores at any address
typedef V8 V8U __attribute__((aligned(4)));
typedef int I __attribute__((vector_size(W * 4)));

#define IGC_INLINE inline __attribute__((always_inline))
#define IGC_KERNEL __attribute__((noinline))

#if IGC_PIXELS == 1

IGC_INLINE V load(const float* at) { return *reinterpret_cast<const VU*>(at); }
IGC_INLINE V load_half(const float* at) { return load(at); }
IGC_INLINE V load_step(const float* at, ptrdiff_t) { return load(at); }
IGC_INLINE V lanes(const float* at) { return load(at); }
IGC_INLINE V8 fold(V value) { return value; }
IGC_INLINE void store(float* at, V value) { *reinterpret_cast<VU*>(at) = value; }
IGC_INLINE void store_half(float* at, V value) { store(at, value); }
IGC_INLINE void store_step(float* at, ptrdiff_t, V value) { store(at, value); }

#else

IGC_INLINE V load(const float* at) { return *reinterpret_cast<const VU*>(at); }
IGC_INLINE V join(V8 low, V8 high) {
  return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
IGC_INLINE V8 load8(const float* at) { return *reinterpret_cast<const V8U*>(at); }
IGC_INLINE V8 low_half(V value) {
  return __builtin_shufflevector(value, value, 0, 1, 2, 3, 4, 5, 6, 7);
}
IGC_INLINE V8 high_half(V value) {
  return __builtin_shufflevector(value, value, 8, 9, 10, 11, 12, 13, 14, 15);
}
/*! One pixel; zeros for the other. */
IGC_INLINE V load_half(const float* at) { return join(load8(at), V8{}); }
IGC_INLINE V load_step(const float* at, ptrdiff_t step) {
  return join(load8(at), load8(at + step));
}
/*! Eight floats for each of the pixels. */
IGC_INLINE V lanes(const float* at) {
#ifdef __AVX512F__
  // g++ would load and then shuffle, where shuffles are what `spread` needs
  return reinterpret_cast<V>(_mm512_maskz_broadcast_f32x8(0xffff, _mm256_loadu_ps(at)));
#else
  const V8 once = load8(at);
  return join(once, once);
#endif
}
/*! The pixels from the second of `left` on. */
IGC_INLINE V between(V left, V right) {
  return __builtin_shufflevector(left, right, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                 22, 23);
}
IGC_INLINE V8 fold(V value) { return low_half(value) + high_half(value); }
IGC_INLINE void store(float* at, V value) { *reinterpret_cast<VU*>(at) = value; }
IGC_INLINE void store_half(float* at, V value) { *reinterpret_cast<V8U*>(at) = low_half(value); }
IGC_INLINE void store_step(float* at, ptrdiff_t step, V value) {
  store_half(at, value);
  *reinterpret_cast<V8U*>(at + step) = high_half(value);
}

#endif

/*! (Not V{} + value: minus zero would not stay, and the addition would.) */
IGC_INLINE V splat(float v) {
#if IGC_PIXELS == 1
  return V{v, v, v, v, v, v, v, v};
#else
  return V{v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v};
#endif
}
// what is not a number stays so: a training that diverges must show it
IGC_INLINE V at_least(V value, V low) { return value < low ? low : value; }
IGC_INLINE V at_most(V value, V high) { return value > high ? high : value; }

/*! For each pixel, lane j of it in all eight lanes. */
template <bool kStep>
IGC_INLINE V spread(const float* at, [[maybe_unused]] ptrdiff_t step, int j) {
#if IGC_PIXELS == 1
  return splat(at[j]);
#else
  const I low = {0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8, 8, 8, 8, 8};
  return __builtin_shuffle(kStep ? load_step(at, step) : load(at), low + j);
#endif
}

/*! A rectangle of outputs that is computed in registers. */
struct Tile {
  const float* in;
  float* out;
  const float* add;
  bool half;  // the last vector of a row has one pixel only
};

/*! Tiles side by side and below each other, from the first one's place on. */
struct Tiles {
  const float* in;
  float* out;
  const float* add;
  int across, down;
  bool half;  // in the last tile of a row
};

/*! Call `body(tile)` for each of some tiles of R rows of X vectors. */
template <int R, int X, typename Body>
IGC_INLINE void each_tile(const ConvTask& task, const Tiles& tiles, const Body& body) {
  const ptrdiff_t in_x = static_cast<ptrdiff_t>(task.in_step) * kLanes * P * X;
  const ptrdiff_t out_x = static_cast<ptrdiff_t>(task.out_step) * kLanes * P * X;
  const ptrdiff_t add_x = tiles.add == nullptr ? 0 : kLanes * P * X;
  const ptrdiff_t in_y = task.in.row * task.in_row_step * R;
  const ptrdiff_t out_y = task.out.row * task.out_row_step * R;
  const ptrdiff_t add_y = tiles.add == nullptr ? 0 : task.add.row * R;
  for (int y = 0; y < tiles.down; ++y) {
    Tile tile = {tiles.in + y * in_y, tiles.out + y * out_y, tiles.add + y * add_y, false};
    for (int x = 1; x <= tiles.across; ++x) {
      tile.half = P > 1 && tiles.half && x == tiles.across;
      body(tile);
      tile.in += in_x;
      tile.out += out_x;
      tile.add += add_x;
    }
  }
}

template <int O, int R, int X>
IGC_INLINE void start(const ConvTask& task, const Job& job, V (&sum)[O][R][X]) {
#pragma GCC unroll 16
  for (int o = 0; o < O; ++o) {
    const V first = task.bias == nullptr ? V{} : lanes(task.bias + job.out[o] * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int x = 0; x < X; ++x) sum[o][r][x] = first;
    }
  }
}

/*! Do something with every sum and the place that it belongs to; all indices are constants. */
#define IGC_FOR_SUMS(base, block, row, step)                                        \
  _Pragma("GCC unroll 16") for (int o = 0; o < O; ++o)                              \
  _Pragma("GCC unroll 16") for (int r = 0; r < R; ++r)                              \
  _Pragma("GCC unroll 16") for (int x = 0; x < X; ++x)                              \
  for (bool once = true; once;)                                                     \
  for ([[maybe_unused]] auto* at = (base) + job.out[o] * (block) + r * (row) + x * P * (step); \
       once; once = false)

/*! Store sums where outputs lie apart, in a phase of a gradient. Rare, and out of the way. */
template <int O, int R, int X>
IGC_KERNEL void scatter(const ConvTask& task, const Job& job, const Tile& tile,
                        const V (&sum)[O][R][X]) {
  const ptrdiff_t row = task.out.row * task.out_row_step;
  const ptrdiff_t step = static_cast<ptrdiff_t>(task.out_step) * kLanes;
  IGC_FOR_SUMS(tile.out, task.out.block, row, step) {
    V value = sum[o][r][x];
    if (P > 1 && x == X - 1 && tile.half) {
      if (task.accumulate) value += load_half(at);
      store_half(at, value);
    } else {
      if (task.accumulate) value += load_step(at, step);
      store_step(at, step, value);
    }
  }
}

template <int O, int R, int X>
IGC_INLINE void finish(const ConvTask& task, const Job& job, const Tile& tile, V (&sum)[O][R][X]) {
  const auto half = [&](int x) { return P > 1 && x == X - 1 && tile.half; };
  if (tile.add != nullptr) {
    IGC_FOR_SUMS(tile.add, task.add.block, task.add.row, kLanes) {
      sum[o][r][x] += half(x) ? load_half(at) : load(at);
    }
  }
  if (task.limit) {
    const V low = splat(task.low), high = splat(task.high);
    IGC_FOR_SUMS(tile.out, 0, 0, 0) {
      sum[o][r][x] = at_most(at_least(sum[o][r][x], low), high);
    }
  }
  if (task.out_step != 1) {
    V copy[O][R][X];
    IGC_FOR_SUMS(tile.out, 0, 0, 0) { copy[o][r][x] = sum[o][r][x]; }
    scatter(task, job, tile, copy);
    return;
  }
  const ptrdiff_t row = task.out.row * task.out_row_step;
  if (task.accumulate) {
    IGC_FOR_SUMS(tile.out, task.out.block, row, kLanes) {
      sum[o][r][x] += half(x) ? load_half(at) : load(at);
    }
  }
  IGC_FOR_SUMS(tile.out, task.out.block, row, kLanes) {
    if (half(x)) {
      store_half(at, sum[o][r][x]);
    } else {
      store(at, sum[o][r][x]);
    }
  }
}

#if IGC_PIXELS == 1
/*! Keep a vector in a register: g++ would read it from memory once more at each use. */
#ifdef __AVX__
#define IGC_HOLD(value) asm("" : "+x"(value))
#else
#define IGC_HOLD(value) static_cast<void>(value)
#endif

/*! Add the inputs at one tap times its weights. Of both sides the smaller is held. */
template <int O, int R, int X>
IGC_INLINE void add_lanes(const float* in, ptrdiff_t row, ptrdiff_t step, const float* weight,
                          V (&sum)[O][R][X]) {
  if constexpr (O > R * X) {
    V value[R][X];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int x = 0; x < X; ++x) {
        value[r][x] = load(in + r * row + x * step);
        IGC_HOLD(value[r][x]);
      }
    }
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o) {
      V w = load(weight + o * kLanes);
      IGC_HOLD(w);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
        for (int x = 0; x < X; ++x) sum[o][r][x] += value[r][x] * w;
      }
    }
  } else {
    V w[O];
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o) {
      w[o] = load(weight + o * kLanes);
      IGC_HOLD(w[o]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int x = 0; x < X; ++x) {
        V value = load(in + r * row + x * step);
        if constexpr (O > 1) IGC_HOLD(value);
#pragma GCC unroll 16
        for (int o = 0; o < O; ++o) sum[o][r][x] += value * w[o];
      }
    }
  }
}

/*! T taps, which is the usual case without a branch for each of them; 0: any number. */
template <bool kStep, int T, int O, int R, int X>
IGC_KERNEL void lane_tile(const ConvTask& task, const Job& job, const Tiles& tiles) {
  const ptrdiff_t row = task.in.row * task.in_row_step;
  const ptrdiff_t step = kStep ? static_cast<ptrdiff_t>(task.in_step) * kLanes : kLanes;
  const ptrdiff_t* const taps = task.taps;
  const int tap_count = T > 0 ? T : task.tap_count;
  each_tile<R, X>(task, tiles, [&](const Tile& tile) __attribute__((always_inline)) {
    V sum[O][R][X];
    start(task, job, sum);
    const float* weight = task.weights + job.weights;
    for (int i = 0; i < job.inputs; ++i) {
      const float* block = tile.in + job.in[i] * task.in.block;
#pragma GCC unroll 9
      for (int t = 0; t < tap_count; ++t) {
        add_lanes(block + taps[t], row, step, weight, sum);
        weight += O * kLanes;
      }
    }
    finish(task, job, tile, sum);
  });
}

/*! lane_tile of one output for rows of three taps side by side: each input is loaded once a row. */
template <int R, int X>
IGC_KERNEL void lane_tile_3(const ConvTask& task, const Job& job, const Tiles& tiles) {
  const ptrdiff_t row = task.in.row * task.in_row_step;
  const ptrdiff_t* const taps = task.taps;
  const int tap_count = task.tap_count;
  each_tile<R, X>(task, tiles, [&](const Tile& tile) __attribute__((always_inline)) {
    V sum[1][R][X];
    start(task, job, sum);
    const float* weight = task.weights + job.weights;
    for (int i = 0; i < job.inputs; ++i) {
      const float* block = tile.in + job.in[i] * task.in.block;
      for (int t = 0; t < tap_count; t += 3) {
        V w[3];
#pragma GCC unroll 3
        for (int k = 0; k < 3; ++k) {
          w[k] = load(weight + k * kLanes);
          IGC_HOLD(w[k]);
        }
        weight += 3 * kLanes;
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const float* in = block + taps[t] + r * row;
#pragma GCC unroll 16
          for (int c = 0; c < X + 2; ++c) {
            V value = load(in + c * kLanes);
            IGC_HOLD(value);
#pragma GCC unroll 3
            for (int k = 0; k < 3; ++k) {
              if (c >= k && c - k < X) sum[0][r][c - k] += value * w[k];
            }
          }
        }
      }
    }
    finish(task, job, tile, sum);
  });
}
#else
template <bool kStep, int O, int R, int X>
IGC_KERNEL void lane_tile(const ConvTask& task, const Job& job, const Tiles& tiles) {
  const ptrdiff_t row = task.in.row * task.in_row_step;
  const ptrdiff_t step = static_cast<ptrdiff_t>(task.in_step) * kLanes;
  const ptrdiff_t* const taps = task.taps;
  const int tap_count = task.tap_count;
  each_tile<R, X>(task, tiles, [&](const Tile& tile) __attribute__((always_inline)) {
    V sum[O][R][X];
    start(task, job, sum);
    const float* weight = task.weights + job.weights;
    for (int i = 0; i < job.inputs; ++i) {
      const float* block = tile.in + job.in[i] * task.in.block;
      for (int t = 0; t < tap_count; ++t) {
        const float* in = block + taps[t];
        V w[O];
#pragma GCC unroll 16
        for (int o = 0; o < O; ++o) w[o] = lanes(weight + o * kLanes);
        weight += O * kLanes;
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
          for (int x = 0; x < X; ++x) {
            const float* at = in + r * row + x * P * (kStep ? step : kLanes);
            const V value = kStep ? load_step(at, step) : load(at);
#pragma GCC unroll 16
            for (int o = 0; o < O; ++o) sum[o][r][x] += value * w[o];
          }
        }
      }
    }
    finish(task, job, tile, sum);
  });
}
#endif

#if IGC_PIXELS == 2
/*!
 * lane_tile for rows of three taps side by side: the vectors of a row are loaded once, those
 * between two of them are shuffled. Half of all loads would straddle cache lines otherwise.
 */
template <int O, int R, int X>
IGC_KERNEL void lane_tile_3(const ConvTask& task, const Job& job, const Tiles& tiles) {
  const ptrdiff_t row = task.in.row * task.in_row_step;
  const ptrdiff_t* const taps = task.taps;
  const int tap_count = task.tap_count;
  each_tile<R, X>(task, tiles, [&](const Tile& tile) __attribute__((always_inline)) {
    V sum[O][R][X];
    start(task, job, sum);
    const float* weight = task.weights + job.weights;
    for (int i = 0; i < job.inputs; ++i) {
      const float* block = tile.in + job.in[i] * task.in.block;
      for (int t = 0; t < tap_count; t += 3) {
        V w[3][O];
#pragma GCC unroll 3
        for (int k = 0; k < 3; ++k) {
#pragma GCC unroll 16
          for (int o = 0; o < O; ++o) w[k][o] = lanes(weight + (k * O + o) * kLanes);
        }
        weight += 3 * O * kLanes;
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const float* in = block + taps[t] + r * row;
          V left = load(in);
#pragma GCC unroll 16
          for (int x = 0; x < X; ++x) {
            const V right = load(in + (x + 1) * W);
            const V middle = between(left, right);
#pragma GCC unroll 16
            for (int o = 0; o < O; ++o) sum[o][r][x] += left * w[0][o];
#pragma GCC unroll 16
            for (int o = 0; o < O; ++o) sum[o][r][x] += middle * w[1][o];
#pragma GCC unroll 16
            for (int o = 0; o < O; ++o) sum[o][r][x] += right * w[2][o];
            left = right;
          }
        }
      }
    }
    finish(task, job, tile, sum);
  });
}
#endif

#if IGC_PIXELS == 1
/*! Add input lane j of every pixel times its weights. Of both sides the smaller is held. */
template <int O, int R, int X>
IGC_INLINE void add_product(const float* in, ptrdiff_t row, ptrdiff_t step, int j,
                            const float* weight, V (&sum)[O][R][X]) {
  if constexpr (O > R * X) {
    V value[R][X];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int x = 0; x < X; ++x) {
        value[r][x] = splat(in[r * row + x * step + j]);
        IGC_HOLD(value[r][x]);
      }
    }
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o) {
      V w = load(weight + o * kLanes);
      IGC_HOLD(w);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
        for (int x = 0; x < X; ++x) sum[o][r][x] += value[r][x] * w;
      }
    }
  } else {
    V w[O];
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o) {
      w[o] = load(weight + o * kLanes);
      IGC_HOLD(w[o]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int x = 0; x < X; ++x) {
        V value = splat(in[r * row + x * step + j]);
        IGC_HOLD(value);
#pragma GCC unroll 16
        for (int o = 0; o < O; ++o) sum[o][r][x] += value * w[o];
      }
    }
  }
}

template <bool kStep, int O, int R, int X>
IGC_KERNEL void product_tile(const ConvTask& task, const Job& job, const Tiles& tiles) {
  const ptrdiff_t row = task.in.row * task.in_row_step;
  const ptrdiff_t step = kStep ? static_cast<ptrdiff_t>(task.in_step) * kLanes : kLanes;
  const ptrdiff_t* const taps = task.taps;
  const int tap_count = task.tap_count;
  each_tile<R, X>(task, tiles, [&](const Tile& tile) __attribute__((always_inline)) {
    V sum[O][R][X];
    start(task, job, sum);
    const float* weight = task.weights + job.weights;
    for (int i = 0; i < job.inputs; ++i) {
      const float* block = tile.in + job.in[i] * task.in.block;
      const int count = job.lanes[i];
      for (int t = 0; t < tap_count; ++t) {
        const float* in = block + taps[t];
        if (count == kLanes) {  // the usual case, without a branch for each lane
#pragma GCC unroll 8
          for (int j = 0; j < kLanes; ++j) {
            add_product(in, row, step, j, weight, sum);
            weight += O * kLanes;
          }
        } else {
          for (int j = 0; j < count; ++j) {
            add_product(in, row, step, j, weight, sum);
            weight += O * kLanes;
          }
        }
      }
    }
    finish(task, job, tile, sum);
  });
}
#else
template <bool kStep, int O, int R, int X>
IGC_KERNEL void product_tile(const ConvTask& task, const Job& job, const Tiles& tiles) {
  const ptrdiff_t row = task.in.row * task.in_row_step;
  const ptrdiff_t step = static_cast<ptrdiff_t>(task.in_step) * kLanes;
  const ptrdiff_t* const taps = task.taps;
  const int tap_count = task.tap_count;
  each_tile<R, X>(task, tiles, [&](const Tile& tile) __attribute__((always_inline)) {
    V sum[O][R][X];
    start(task, job, sum);
    const float* weight = task.weights + job.weights;
    for (int i = 0; i < job.inputs; ++i) {
      const float* block = tile.in + job.in[i] * task.in.block;
      const int count = job.lanes[i];
      for (int t = 0; t < tap_count; ++t) {
        const float* in = block + taps[t];
        for (int j = 0; j < count; ++j) {
          V w[O];
#pragma GCC unroll 16
          for (int o = 0; o < O; ++o) w[o] = lanes(weight + o * kLanes);
          weight += O * kLanes;
#pragma GCC unroll 16
          for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
            for (int x = 0; x < X; ++x) {
              const float* at = in + r * row + x * P * (kStep ? step : kLanes);
              const V value = spread<kStep>(at, step, j);
#pragma GCC unroll 16
              for (int o = 0; o < O; ++o) sum[o][r][x] += value * w[o];
            }
          }
        }
      }
    }
    finish(task, job, tile, sum);
  });
}
#endif

typedef void (*TileFunction)(const ConvTask&, const Job&, const Tiles&);

/*! The widest tile, in vectors, for so many outputs and rows; 0 where it does not fit at all. */
constexpr int widest(int outputs, int rows) {
  const int most = kBudget / (outputs * rows);
  return most > 8 ? 8 : most;
}

// kLane9: nine taps; kLane3: rows of three side by side
enum { kProduct, kProductStep, kLane, kLaneStep, kLane9, kLane9Step, kLane3, kTileKinds };

template <int kTile, int O, int R, int X>
constexpr TileFunction tile_function() {
  if constexpr (X > widest(O, R)) {
    return nullptr;
  } else if constexpr (kTile == kProduct || kTile == kProductStep) {
    return product_tile<kTile == kProductStep, O, R, X>;
#if IGC_PIXELS == 1
  } else if constexpr (kTile == kLane3) {
    if constexpr (O > 1) {
      return nullptr;
    } else {
      return lane_tile_3<R, X>;
    }
  } else {
    constexpr int taps = kTile == kLane9 || kTile == kLane9Step ? 9 : 0;
    return lane_tile<kTile == kLaneStep || kTile == kLane9Step, taps, O, R, X>;
#else
  } else if constexpr (kTile == kLane3) {
    return lane_tile_3<O, R, X>;
  } else {
    return lane_tile<kTile == kLaneStep || kTile == kLane9Step, O, R, X>;
#endif
  }
}

#define IGC_ROW(K, O, R)                                                              \
  {                                                                                   \
    tile_function<K, O, R, 1>(), tile_function<K, O, R, 2>(), tile_function<K, O, R, 3>(), \
        tile_function<K, O, R, 4>(), tile_function<K, O, R, 5>(),                     \
        tile_function<K, O, R, 6>(), tile_function<K, O, R, 7>(),                     \
        tile_function<K, O, R, 8>()                                                   \
  }
#define IGC_ROWS(K, O) \
  { IGC_ROW(K, O, 1), IGC_ROW(K, O, 2), IGC_ROW(K, O, 4) }
#define IGC_OUTPUTS(K) \
  { IGC_ROWS(K, 1), IGC_ROWS(K, 2), IGC_ROWS(K, 3), IGC_ROWS(K, 4) }

// by: kind, outputs - 1, log2 of the rows, vectors - 1
constexpr TileFunction kTiles[kTileKinds][kMostOutputs][3][8] = {
    IGC_OUTPUTS(kProduct), IGC_OUTPUTS(kProductStep), IGC_OUTPUTS(kLane), IGC_OUTPUTS(kLaneStep),
    IGC_OUTPUTS(kLane9),   IGC_OUTPUTS(kLane9Step),   IGC_OUTPUTS(kLane3)};

/*! Whether the taps are rows of three side by side. */
template <typename Task>
bool in_threes(const Task& task) {
  if (task.in_step != 1 || task.tap_count % 3 != 0) return false;
  for (int t = 0; t < task.tap_count; t += 3) {
    if (task.taps[t + 1] != task.taps[t] + kLanes) return false;
    if (task.taps[t + 2] != task.taps[t] + 2 * kLanes) return false;
  }
  return true;
}

int tile_kind(const ConvTask& task, const Job& job, bool threes) {
  const bool step = task.in_step != 1;
  if (!task.lane_wise) return step ? kProductStep : kProduct;
  if (threes && (P > 1 || job.outputs == 1)) return kLane3;
  if (P == 1 && task.tap_count == 9) return step ? kLane9Step : kLane9;
  return step ? kLaneStep : kLane;
}

// What begins and ends a tile takes about as long as so many multiply-adds of vectors; and of sums
// there must be so many that none waits for itself.
constexpr int kTileCost = 80, kSumsInFlight = 8;

/*! log2 of the rows that tiles have, so that all rows take the least time. */
int rows_of_tiles(const ConvTask& task, const Job& job, int vectors) {
  int depth = job.inputs;
  for (int i = 0; !task.lane_wise && i < job.inputs; ++i) depth += job.lanes[i] - 1;
  depth *= task.tap_count;
  int costs[3], best = 0, least = 0;
  for (int log = 0; log < 3 && widest(job.outputs, 1 << log) > 0; ++log) {
    const int rows = 1 << log, most = widest(job.outputs, rows);
    if (rows > task.rows) break;
    const int pieces = (vectors + most - 1) / most, narrow = vectors / pieces;
    const auto cost = [&](int width) {
      const int sums = job.outputs * rows * width;
      return kTileCost + depth * (sums < kSumsInFlight ? kSumsInFlight : sums);
    };
    const int wide = vectors % pieces;
    costs[log] = (pieces - wide) * cost(narrow) + (wide == 0 ? 0 : wide * cost(narrow + 1));
    int all = 0;
    for (int left = task.rows, use = log; left > 0; left -= left >> use << use) {
      while ((1 << use) > left) --use;
      all += (left >> use) * costs[use];
    }
    if (log == 0 || all < least) {
      best = log;
      least = all;
    }
  }
  return best;
}

/*! One job over all of the task's outputs, tile by tile. */
void run_job(const ConvTask& task, const Job& job, int kind, int log_rows) {
  const int vectors = (task.width + P - 1) / P;
  const bool odd = task.width % P != 0;
  const auto& functions = kTiles[kind][job.outputs - 1];
  const ptrdiff_t in_step = static_cast<ptrdiff_t>(task.in_step) * kLanes * P;
  const ptrdiff_t out_step = static_cast<ptrdiff_t>(task.out_step) * kLanes * P;
  for (int y = 0; y < task.rows;) {
    while ((1 << log_rows) > task.rows - y) --log_rows;
    // as few tiles as can be, of two widths that differ by one vector
    const int most = widest(job.outputs, 1 << log_rows);
    const int pieces = (vectors + most - 1) / most, narrow = vectors / pieces;
    const int counts[2] = {pieces - vectors % pieces, vectors % pieces};
    Tiles tiles;
    tiles.in = task.in.base + y * task.in_row_step * task.in.row;
    tiles.out = task.out.base + y * task.out_row_step * task.out.row;
    tiles.add = task.add.base == nullptr ? nullptr : task.add.base + y * task.add.row;
    tiles.down = (task.rows - y) >> log_rows;
    for (int wide = 0; wide < 2 && counts[wide] > 0; ++wide) {
      const int size = narrow + wide, all = size * counts[wide];
      tiles.across = counts[wide];
      tiles.half = odd && (wide == 1 || counts[1] == 0);
      functions[log_rows][size - 1](task, job, tiles);
      tiles.in += all * in_step;
      tiles.out += all * out_step;
      tiles.add += tiles.add == nullptr ? 0 : all * W;
    }
    y += tiles.down << log_rows;
  }
}

void conv(const ConvTask& task) {
  const bool threes = task.lane_wise && in_threes(task);
  int log_rows[kMostOutputs + 1] = {-1, -1, -1, -1, -1};  // the same for jobs of as many outputs
  for (int j = 0; j < task.job_count; ++j) {
    const Job& job = task.jobs[j];
    int& rows = log_rows[job.outputs];
    if (rows < 0) rows = rows_of_tiles(task, job, (task.width + P - 1) / P);
    run_job(task, job, tile_kind(task, job, threes), rows);
  }
}

/*! Taps [tap, tap + T) of one input, for outputs [first, first + O) of the job. */
template <bool kStep, int O, int T>
IGC_KERNEL void lane_gradient(const WeightTask& task, const Job& job, int input, int first,
                              int tap) {
  V sum[O][T] = {};
  const ptrdiff_t step = static_cast<ptrdiff_t>(task.in_step) * kLanes;
  const float* in_block = task.in.base + job.in[input] * task.in.block;
  ptrdiff_t taps[T];
  for (int t = 0; t < T; ++t) taps[t] = task.taps[tap + t];
  const int whole = task.width / P;
  for (int y = 0; y < task.rows; ++y) {
    const float* in = in_block + y * task.in_row_step * task.in.row;
    const float* row = task.gradient.base + y * task.gradient.row;
    const float* gradient[O];
    for (int o = 0; o < O; ++o) gradient[o] = row + job.out[first + o] * task.gradient.block;
    for (int x = 0; x < whole; ++x) {
      V g[O];
#pragma GCC unroll 16
      for (int o = 0; o < O; ++o) g[o] = load(gradient[o] + x * W);
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) {
        const V value = kStep ? load_step(in + taps[t], step) : load(in + taps[t]);
#pragma GCC unroll 16
        for (int o = 0; o < O; ++o) sum[o][t] += value * g[o];
      }
      in += P * (kStep ? step : kLanes);
    }
    if (P > 1 && task.width % P != 0) {
#pragma GCC unroll 16
      for (int o = 0; o < O; ++o) {
        const V g = load_half(gradient[o] + whole * W);
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) sum[o][t] += load_half(in + taps[t]) * g;
      }
    }
  }
  float* to = task.gradients + job.weights;
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o) {
      const size_t place = (static_cast<size_t>(input) * task.tap_count + tap + t) * job.outputs;
      *reinterpret_cast<V8U*>(to + (place + first + o) * kLanes) += fold(sum[o][t]);
    }
  }
}

#if IGC_PIXELS == 1
/*!
 * lane_gradient for three taps side by side, from `tap` on: each input is loaded once. It takes
 * three outputs or more, as with fewer the sums would wait for themselves.
 */
template <int O>
IGC_KERNEL void lane_gradient_3(const WeightTask& task, const Job& job, int input, int first,
                                int tap) {
  V sum[O][3] = {};
  const float* in_block = task.in.base + job.in[input] * task.in.block + task.taps[tap];
  for (int y = 0; y < task.rows; ++y) {
    const float* in = in_block + y * task.in_row_step * task.in.row;
    const float* row = task.gradient.base + y * task.gradient.row;
    const float* gradient[O];
    for (int o = 0; o < O; ++o) gradient[o] = row + job.out[first + o] * task.gradient.block;
    V left = load(in), middle = load(in + kLanes);
    for (int x = 0; x < task.width; ++x) {
      V right = load(in + (x + 2) * kLanes);
      IGC_HOLD(right);
#pragma GCC unroll 4
      for (int o = 0; o < O; ++o) {
        V g = load(gradient[o] + x * kLanes);
        IGC_HOLD(g);
        sum[o][0] += left * g;
        sum[o][1] += middle * g;
        sum[o][2] += right * g;
      }
      left = middle;
      middle = right;
    }
  }
  float* to = task.gradients + job.weights;
#pragma GCC unroll 3
  for (int t = 0; t < 3; ++t) {
#pragma GCC unroll 4
    for (int o = 0; o < O; ++o) {
      const size_t place = (static_cast<size_t>(input) * task.tap_count + tap + t) * job.outputs;
      *reinterpret_cast<V8U*>(to + (place + first + o) * kLanes) += sum[o][t];
    }
  }
}
#else
/*! lane_gradient for nine taps in three rows, each side by side: see lane_tile_3. */
template <int O>
IGC_KERNEL void lane_gradient_3(const WeightTask& task, const Job& job, int input, int first,
                                int tap) {
  V sum[O][9] = {};
  const float* in_block = task.in.base + job.in[input] * task.in.block;
  const int whole = task.width / P;
  for (int y = 0; y < task.rows; ++y) {
    const float* in = in_block + y * task.in_row_step * task.in.row;
    const float* row = task.gradient.base + y * task.gradient.row;
    const float* gradient[O];
    for (int o = 0; o < O; ++o) gradient[o] = row + job.out[first + o] * task.gradient.block;
    V left[3];
#pragma GCC unroll 3
    for (int k = 0; k < 3; ++k) left[k] = load(in + task.taps[tap + 3 * k]);
    for (int x = 0; x < whole; ++x) {
      V g[O];
#pragma GCC unroll 16
      for (int o = 0; o < O; ++o) g[o] = load(gradient[o] + x * W);
      in += W;
#pragma GCC unroll 3
      for (int k = 0; k < 3; ++k) {
        const V right = load(in + task.taps[tap + 3 * k]);
        const V middle = between(left[k], right);
#pragma GCC unroll 16
        for (int o = 0; o < O; ++o) {
          sum[o][3 * k] += left[k] * g[o];
          sum[o][3 * k + 1] += middle * g[o];
          sum[o][3 * k + 2] += right * g[o];
        }
        left[k] = right;
      }
    }
    if (task.width % P != 0) {
#pragma GCC unroll 16
      for (int o = 0; o < O; ++o) {
        const V g = load_half(gradient[o] + whole * W);
#pragma GCC unroll 16
        for (int t = 0; t < 9; ++t) sum[o][t] += load_half(in + task.taps[tap + t]) * g;
      }
    }
  }
  float* to = task.gradients + job.weights;
#pragma GCC unroll 16
  for (int t = 0; t < 9; ++t) {
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o) {
      const size_t place = (static_cast<size_t>(input) * task.tap_count + tap + t) * job.outputs;
      *reinterpret_cast<V8U*>(to + (place + first + o) * kLanes) += fold(sum[o][t]);
    }
  }
}
#endif

/*! Lanes [lane, lane + J) of one input at one tap; `place` is where that tap's weights begin. */
template <bool kStep, int O, int J>
IGC_KERNEL void product_gradient(const WeightTask& task, const Job& job, int input, int first,
                                 int tap, int lane, size_t place) {
  V sum[J][O] = {};
  const ptrdiff_t step = static_cast<ptrdiff_t>(task.in_step) * kLanes;
  const float* in_block = task.in.base + job.in[input] * task.in.block + task.taps[tap];
  const int whole = task.width / P;
  for (int y = 0; y < task.rows; ++y) {
    const float* in = in_block + y * task.in_row_step * task.in.row;
    const float* row = task.gradient.base + y * task.gradient.row;
    const float* gradient[O];
    for (int o = 0; o < O; ++o) gradient[o] = row + job.out[first + o] * task.gradient.block;
    for (int x = 0; x < whole; ++x) {
      V g[O];
#pragma GCC unroll 16
      for (int o = 0; o < O; ++o) g[o] = load(gradient[o] + x * W);
#pragma GCC unroll 16
      for (int j = 0; j < J; ++j) {
        const V value = spread<kStep>(in, step, lane + j);
#pragma GCC unroll 16
        for (int o = 0; o < O; ++o) sum[j][o] += value * g[o];
      }
      in += P * (kStep ? step : kLanes);
    }
    if (P > 1 && task.width % P != 0) {
#pragma GCC unroll 16
      for (int j = 0; j < J; ++j) {
        const V value = splat(in[lane + j]);
#pragma GCC unroll 16
        for (int o = 0; o < O; ++o) sum[j][o] += value * load_half(gradient[o] + whole * W);
      }
    }
  }
  float* to = task.gradients + place;
#pragma GCC unroll 16
  for (int j = 0; j < J; ++j) {
    const size_t row = static_cast<size_t>(lane + j) * job.outputs;
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o) {
      *reinterpret_cast<V8U*>(to + (row + first + o) * kLanes) += fold(sum[j][o]);
    }
  }
}

typedef void (*LaneGradient)(const WeightTask&, const Job&, int, int, int);
typedef void (*ProductGradient)(const WeightTask&, const Job&, int, int, int, int, size_t);

template <bool kStep, int O, int T>
constexpr LaneGradient lane_function() {
  if constexpr (O * T > kBudget) {
    return nullptr;
  } else {
    return lane_gradient<kStep, O, T>;
  }
}

template <bool kStep, int O, int J>
constexpr ProductGradient product_function() {
  if constexpr (O * J > kBudget) {
    return nullptr;
  } else {
    return product_gradient<kStep, O, J>;
  }
}

#define IGC_LANE(S, O) \
  { lane_function<S, O, 1>(), lane_function<S, O, 3>(), lane_function<S, O, 9>() }
#define IGC_LANES(S) \
  { IGC_LANE(S, 1), IGC_LANE(S, 2), IGC_LANE(S, 3), IGC_LANE(S, 4) }
#define IGC_PRODUCT(S, O)                                                              \
  {                                                                                    \
    product_function<S, O, 1>(), product_function<S, O, 2>(), product_function<S, O, 3>(), \
        product_function<S, O, 4>(), product_function<S, O, 8>()                       \
  }
#define IGC_PRODUCTS(S) \
  { IGC_PRODUCT(S, 1), IGC_PRODUCT(S, 2), IGC_PRODUCT(S, 3), IGC_PRODUCT(S, 4) }

constexpr LaneGradient kLaneGradients[2][kMostOutputs][3] = {IGC_LANES(false), IGC_LANES(true)};
constexpr ProductGradient kProductGradients[2][kMostOutputs][5] = {IGC_PRODUCTS(false),
                                                                  IGC_PRODUCTS(true)};
constexpr int kTapCounts[3] = {1, 3, 9};
constexpr int kLaneCounts[5] = {1, 2, 3, 4, 8};

void lane_gradients(const WeightTask& task, const Job& job, bool step) {
#if IGC_PIXELS == 1
  if (job.outputs > 2 && in_threes(task)) {
    const LaneGradient function = job.outputs == 3 ? lane_gradient_3<3> : lane_gradient_3<4>;
    for (int i = 0; i < job.inputs; ++i) {
      for (int tap = 0; tap < task.tap_count; tap += 3) function(task, job, i, 0, tap);
    }
    return;
  }
#else
  if (task.tap_count == 9 && in_threes(task)) {
    for (int first = 0; first < job.outputs; first += 2) {
      for (int i = 0; i < job.inputs; ++i) {
        (first + 1 < job.outputs ? lane_gradient_3<2> : lane_gradient_3<1>)(task, job, i, first, 0);
      }
    }
    return;
  }
#endif
  for (int tap = 0; tap < task.tap_count;) {
    int size = 2;
    while (kTapCounts[size] > task.tap_count - tap) --size;
    const int most = kBudget / kTapCounts[size];
    const int pieces = (job.outputs + most - 1) / most;
    for (int piece = 0, first = 0; piece < pieces; ++piece) {
      const int end = job.outputs * (piece + 1) / pieces;
      for (int i = 0; i < job.inputs; ++i) {
        kLaneGradients[step][end - first - 1][size](task, job, i, first, tap);
      }
      first = end;
    }
    tap += kTapCounts[size];
  }
}

void product_gradients(const WeightTask& task, const Job& job, bool step) {
  size_t place = job.weights;
  for (int i = 0; i < job.inputs; ++i) {
    for (int tap = 0; tap < task.tap_count; ++tap) {
      for (int lane = 0; lane < job.lanes[i];) {
        int size = 4;
        while (kLaneCounts[size] > job.lanes[i] - lane || kLaneCounts[size] > kBudget) --size;
        // with few registers, outputs together are worth more than lanes together
        while (size > 3 && kLaneCounts[size] * (job.outputs < 3 ? job.outputs : 3) > kBudget) {
          --size;
        }
        const int most = kBudget / kLaneCounts[size];
        const int pieces = (job.outputs + most - 1) / most;
        for (int piece = 0, first = 0; piece < pieces; ++piece) {
          const int end = job.outputs * (piece + 1) / pieces;
          kProductGradients[step][end - first - 1][size](task, job, i, first, tap, lane, place);
          first = end;
        }
        lane += kLaneCounts[size];
      }
      place += static_cast<size_t>(job.lanes[i]) * job.outputs * kLanes;
    }
  }
}

void weight_gradient(const WeightTask& task) {
  const bool step = task.in_step != 1;
  for (int j = 0; j < task.job_count; ++j) {
    if (task.lane_wise) {
      lane_gradients(task, task.jobs[j], step);
    } else {
      product_gradients(task, task.jobs[j], step);
    }
  }
}

// Vectors of a row that are taken together where they are summed up, so that no sum waits.
constexpr int kTogether = 4;

IGC_INLINE V load_part(const float* at, bool half) { return half ? load_half(at) : load(at); }
IGC_INLINE void store_part(float* at, bool half, V value) {
  if (half) {
    store_half(at, value);
  } else {
    store(at, value);
  }
}

/*!
 * Call `body(k, offset, half)` for every vector of a row; `half` where only one pixel is left, and
 * k from 0 to kTogether - 1 in turns.
 */
template <typename Body>
IGC_INLINE void each_vector(int width, const Body& body) {
  const int end = width / P * W;
  int x = 0;
  for (; x + kTogether * W <= end; x += kTogether * W) {
#pragma GCC unroll 4
    for (int k = 0; k < kTogether; ++k) body(k, x + k * W, false);
  }
  for (; x < end; x += W) body(0, x, false);
  if (P > 1 && width % P != 0) body(0, x, true);
}

IGC_INLINE V8 fold_all(const V (&sums)[kTogether]) {
  return fold((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

template <bool kTwo, bool kLimit>
IGC_KERNEL void affine_rows(const float* in, ptrdiff_t in_row, V a, const float* in2,
                            ptrdiff_t in2_row, V a2, V b, V lowest, V highest, float* out,
                            ptrdiff_t out_row, int rows, int width) {
  for (int y = 0; y < rows; ++y) {
    each_vector(width, [&](int, int x, bool half) __attribute__((always_inline)) {
      V value = load_part(in + x, half) * a + b;
      if constexpr (kTwo) value += load_part(in2 + x, half) * a2;
      if constexpr (kLimit) value = at_most(at_least(value, lowest), highest);
      store_part(out + x, half, value);
    });
    in += in_row;
    if constexpr (kTwo) in2 += in2_row;
    out += out_row;
  }
}

void affine(const float* in, ptrdiff_t in_row, const float* scale, const float* shift,
            const float* in2, ptrdiff_t in2_row, const float* scale2, const float* shift2,
            bool limit, float low, float high, float* out, ptrdiff_t out_row, int rows,
            int width) {
  const V one = splat(1.0f);
  const V a = scale == nullptr ? one : lanes(scale);
  const V a2 = scale2 == nullptr ? one : lanes(scale2);
  V b = shift == nullptr ? V{} : lanes(shift);
  if (shift2 != nullptr) b += lanes(shift2);
  const auto function = in2 == nullptr ? (limit ? affine_rows<false, true> : affine_rows<false, false>)
                                       : (limit ? affine_rows<true, true> : affine_rows<true, false>);
  function(in, in_row, a, in2, in2_row, a2, b, splat(low), splat(high), out, out_row, rows, width);
}

void moments(const float* in, ptrdiff_t in_row, const float* centre, int rows, int width,
             float* sums) {
  const V middle = lanes(centre);
  V first[kTogether] = {}, second[kTogether] = {};
  for (int y = 0; y < rows; ++y) {
    each_vector(width, [&](int k, int x, bool half) __attribute__((always_inline)) {
      const V value = load_part(in + x, half) - (half ? load_half(centre) : middle);
      first[k] += value;
      second[k] += value * value;
    });
    in += in_row;
  }
  *reinterpret_cast<V8U*>(sums) += fold_all(first);
  *reinterpret_cast<V8U*>(sums + kLanes) += fold_all(second);
}

template <bool kLimit>
IGC_KERNEL void mask_rows(const float* gradient, ptrdiff_t gradient_row, const float* z,
                          ptrdiff_t z_row, V a, V b, V lowest, V highest, V middle, float* out,
                          ptrdiff_t out_row, int rows, int width, float* sums) {
  V first[kTogether] = {}, second[kTogether] = {};
  for (int y = 0; y < rows; ++y) {
    each_vector(width, [&](int k, int x, bool half) __attribute__((always_inline)) {
      const V given = load_part(z + x, half);
      V passed = load_part(gradient + x, half);
      if constexpr (kLimit) {
        const V value = given * a + b;
        passed = value < lowest ? V{} : passed;
        passed = value > highest ? V{} : passed;
      }
      first[k] += passed;
      second[k] += passed * (given - middle);
      store_part(out + x, half, passed);
    });
    gradient += gradient_row;
    z += z_row;
    out += out_row;
  }
  *reinterpret_cast<V8U*>(sums) += fold_all(first);
  *reinterpret_cast<V8U*>(sums + kLanes) += fold_all(second);
}

void mask(const float* gradient, ptrdiff_t gradient_row, const float* z, ptrdiff_t z_row,
          const float* scale, const float* shift, bool limit, float low, float high,
          const float* mean, float* out, ptrdiff_t out_row, int rows, int width, float* sums) {
  const auto function = limit ? mask_rows<true> : mask_rows<false>;
  function(gradient, gradient_row, z, z_row, lanes(scale), lanes(shift), splat(low), splat(high),
           lanes(mean), out, out_row, rows, width, sums);
}

void combine(const float* gradient, ptrdiff_t gradient_row, const float* z, ptrdiff_t z_row,
             const float* a, const float* b, const float* c, float* out, ptrdiff_t out_row,
             int rows, int width) {
  const V first = lanes(a), second = lanes(b), third = lanes(c);
  for (int y = 0; y < rows; ++y) {
    each_vector(width, [&](int, int x, bool half) __attribute__((always_inline)) {
      const V scaled = load_part(gradient + x, half) * first;
      store_part(out + x, half, scaled + load_part(z + x, half) * second + third);
    });
    gradient += gradient_row;
    z += z_row;
    out += out_row;
  }
}

}  // namespace

extern const Kernels kKernels;
const Kernels kKernels = {IGC_ISA_NAME, conv, weight_gradient, affine, moments, mask, combine};

}  // namespace IGC_ISA
}  // namespace igc
