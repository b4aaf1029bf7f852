/*! Gradients of weights. Part of kernels_body.h, which includes it. */

/*! Where row y of the gradients of outputs [first, first + O) of the job begins. */
template <int O>
IGC_INLINE void find_rows(const WeightTask& task, const Job& job, int first, int y,
                          const float* (&rows)[O]) {
  const float* row = task.gradient.base + y * task.gradient.row;
  for (int o = 0; o < O; ++o) rows[o] = row + job.out[first + o] * task.gradient.block;
}

/*! Add sums to the gradients of taps [tap, tap + T) of one input, and of those outputs. */
template <int O, int T>
IGC_INLINE void add_taps(const WeightTask& task, const Job& job, int input, int first, int tap,
                         const V (&sum)[O][T]) {
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
    const float* gradient[O];
    find_rows(task, job, first, y, gradient);
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
  add_taps(task, job, input, first, tap, sum);
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
    const float* gradient[O];
    find_rows(task, job, first, y, gradient);
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
  add_taps(task, job, input, first, tap, sum);
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
    const float* gradient[O];
    find_rows(task, job, first, y, gradient);
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
  add_taps(task, job, input, first, tap, sum);
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
    const float* gradient[O];
    find_rows(task, job, first, y, gradient);
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
