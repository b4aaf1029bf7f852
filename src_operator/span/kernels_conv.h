/*! Convolutions, tile by tile. Part of kernels_body.h, which includes it. */

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

/*!
 * Add what every pixel of a tile reads, from `in` on, times its weights: all lanes, or lane j for
 * all of them. With few registers the smaller of both sides is held in them.
 */
template <bool kStep, bool kSpread, int O, int R, int X>
IGC_INLINE void add_inputs(const ConvTask& task, const float* in, int j, const float* weight,
                           V (&sum)[O][R][X]) {
  const ptrdiff_t row = task.in.row * task.in_row_step;
  const ptrdiff_t step = kStep ? static_cast<ptrdiff_t>(task.in_step) * kLanes : kLanes;
  const auto read = [&](int r, int x) __attribute__((always_inline)) {
    const float* at = in + r * row + x * P * step;
    if constexpr (kSpread) return spread<kStep>(at, step, j);
    return kStep ? load_step(at, step) : load(at);
  };
  if constexpr (P == 1 && O > R * X) {
    V value[R][X];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int x = 0; x < X; ++x) {
        value[r][x] = read(r, x);
        IGC_HOLD(value[r][x]);
      }
    }
#pragma GCC unroll 16
    for (int o = 0; o < O; ++o) {
      V w = lanes(weight + o * kLanes);
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
      w[o] = lanes(weight + o * kLanes);
      IGC_HOLD(w[o]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int x = 0; x < X; ++x) {
        V value = read(r, x);
        if constexpr (kSpread || O > 1) IGC_HOLD(value);
#pragma GCC unroll 16
        for (int o = 0; o < O; ++o) sum[o][r][x] += value * w[o];
      }
    }
  }
}

/*! T taps, known here so that some go without a branch between them; 0: any number. */
template <bool kStep, int T, int O, int R, int X>
IGC_KERNEL void lane_tile(const ConvTask& task, const Job& job, const Tiles& tiles) {
  const ptrdiff_t* const taps = task.taps;
  const int tap_count = task.tap_count;
  each_tile<R, X>(task, tiles, [&](const Tile& tile) __attribute__((always_inline)) {
    V sum[O][R][X];
    start(task, job, sum);
    const float* weight = task.weights + job.weights;
    for (int i = 0; i < job.inputs; ++i) {
      const float* block = tile.in + job.in[i] * task.in.block;
      const auto add = [&](int t) __attribute__((always_inline)) {
        add_inputs<kStep, false>(task, block + taps[t], 0, weight, sum);
        weight += O * kLanes;
      };
      if constexpr (T > 0) {
#pragma GCC unroll 3
        for (int t = 0; t < T; ++t) add(t);
      } else {
        for (int t = 0; t < tap_count; ++t) add(t);
      }
    }
    finish(task, job, tile, sum);
  });
}

#if IGC_PIXELS == 1
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

template <bool kStep, int O, int R, int X>
IGC_KERNEL void product_tile(const ConvTask& task, const Job& job, const Tiles& tiles) {
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
        const auto add = [&](int j) __attribute__((always_inline)) {
          add_inputs<kStep, true>(task, in, j, weight, sum);
          weight += O * kLanes;
        };
        if (P == 1 && count == kLanes) {  // the usual case, without a branch for each lane
#pragma GCC unroll 8
          for (int j = 0; j < kLanes; ++j) add(j);
        } else {
          for (int j = 0; j < count; ++j) add(j);
        }
      }
    }
    finish(task, job, tile, sum);
  });
}

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
  } else if constexpr (kTile == kLane3) {
#if IGC_PIXELS == 1
    if constexpr (O > 1) {
      return nullptr;
    } else {
      return lane_tile_3<R, X>;
    }
#else
    return lane_tile_3<O, R, X>;
#endif
  } else {
    // (more registers hold a loop's sums as well)
    constexpr int taps = P == 1 && (kTile == kLane9 || kTile == kLane9Step) ? 9 : 0;
    return lane_tile<kTile == kLaneStep || kTile == kLane9Step, taps, O, R, X>;
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
  int64_t depth = job.inputs;
  for (int i = 0; !task.lane_wise && i < job.inputs; ++i) depth += job.lanes[i] - 1;
  depth *= task.tap_count;
  int64_t costs[3], least = 0;
  int best = 0;
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
    int64_t all = 0;
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
