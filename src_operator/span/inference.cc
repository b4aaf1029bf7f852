/*! The evaluation of a span. */
#include "inference.h"

#include <algorithm>
#include <cmath>

#include "pool.h"
#include "transfer.h"

namespace igc {
namespace {

/*!
 * Put zeros around rows [begin, end) of a block of a map that has the rows above and below a tensor
 * of so many rows as rows of its own, `top` of them above.
 */
void clear_around(const Frame& frame, const Map& map, int block, int begin, int end, int top,
                  int height) {
  frame.clear_halo(map, block, block + 1, begin, end);
  for (int y = begin; y < end; ++y) {
    if (y >= top && y < top + height) continue;
    std::memset(map.at(block, y, -frame.left), 0, map.row * sizeof(float));
  }
}

}  // namespace

void Inference::release() {
  version_ = 0;
  batch_ = 0;
  for (Floats* memory : {&packed_, &vectors_}) memory->release();
  arenas_.clear();
  scratch_.clear();
}

size_t Inference::bytes() const {
  size_t sum = packed_.bytes() + factors_.bytes() + vectors_.bytes();
  for (const Convolution& conv : convolutions_) sum += conv.bytes();
  for (const Floats& arena : arenas_) sum += arena.bytes();
  for (const Floats& scratch : scratch_) sum += scratch.bytes();
  return sum;
}

/*! The scale and shift of a unit's normalisations and bias, at the lanes of its channels. */
void Inference::fold(const Unit& unit, const float* const* parameters,
                     std::vector<double>* folding) {
  const std::vector<int>& slot = layout_.slot[stores_[unit.out].tensor];
  float* scale = factors_.data() + unit.factors;
  float* shift = scale + static_cast<size_t>(stores_[unit.out].frame.blocks) * kLanes;
  const size_t lanes = shift - scale;
  double* a = folding->data();
  double* b = a + lanes;
  std::fill(a, b + lanes, 0.0);
  for (size_t c = 0; c < slot.size(); ++c) {
    a[slot[c]] = 1;
    if (unit.layer.bias) b[slot[c]] = parameters[unit.layer.parameter + 1][c];
  }
  for (const int number : unit.norms) {
    const Layer& norm = program_.layers[number];
    const float* const* p = parameters + norm.parameter;
    // what the channels are called changes with every permutation; the lanes do not
    const std::vector<int>& slots = layout_.slot[number + 1];
    for (size_t c = 0; c < slots.size(); ++c) {
      const double gamma = norm.fix_gamma ? 1.0 : p[0][c];
      const double factor = gamma / std::sqrt(p[3][c] + norm.eps);
      a[slots[c]] *= factor;
      b[slots[c]] = (b[slots[c]] - p[2][c]) * factor + p[1][c];
    }
  }
  for (size_t k = 0; k < lanes; ++k) {
    scale[k] = static_cast<float>(a[k]);
    shift[k] = static_cast<float>(b[k]);
  }
}

void Inference::pack_parameters(const float* const* parameters, const Worker& worker) {
  for (size_t u = worker.index(); u < units_.size(); u += worker.count()) {
    if (units_[u].has_factors) fold(units_[u], parameters, &folding_[worker.index()]);
  }
  worker.wait();
  for (const Unit& unit : units_) {
    if (unit.what != What::kConv) continue;
    const Convolution& conv = convolutions_[unit.conv];
    const float* factors = unit.norms.empty() ? nullptr : factors_.data() + unit.factors;
    const size_t count = conv.forward.source.size();
    pack(conv, conv.forward, parameters[unit.layer.parameter], factors,
         packed_.data() + unit.weights, worker.begin(count), worker.end(count));
  }
}

Map Inference::map_of(int store, int64_t image, float* arena) const {
  const Store& s = stores_[store];
  if (s.vector) {
    const ptrdiff_t block = static_cast<ptrdiff_t>(batch_) * kLanes;
    return {vectors_.data() + s.offset * batch_ + image * kLanes, block, block};
  }
  return s.frame.map(arena + s.offset);
}

void Inference::load(const float* data, int64_t image, float* arena, int begin, int end) const {
  const Store& store = stores_[0];
  const Frame& frame = store.frame;
  const Map map = map_of(0, image, arena);
  const std::vector<int>& slot = layout_.slot[0];
  const int64_t plane = static_cast<int64_t>(frame.height) * frame.width;
  to_lanes(data + image * plane * static_cast<int64_t>(slot.size()), slot, frame.height,
           frame.width, map, begin, end);
  if (begin < end) frame.clear_halo(map, begin, end);  // an empty share touches no edge
}

void Inference::unload(const float* arena, int64_t image, float* result, int begin,
                       int end) const {
  const int tensor = program_.result();
  const Store& store = stores_[store_of_[tensor]];
  const Map map = map_of(store_of_[tensor], image, const_cast<float*>(arena));
  const std::vector<int>& slot = layout_.slot[tensor];
  const int64_t plane = static_cast<int64_t>(store.frame.height) * store.frame.width;
  from_lanes(map, slot, store.frame.height, store.frame.width,
             result + image * plane * static_cast<int64_t>(slot.size()), begin, end);
}

void Inference::unload_vectors(int64_t batch, float* result, const Worker& worker) const {
  const int tensor = program_.result();
  const std::vector<int>& slot = layout_.slot[tensor];
  for (size_t n = worker.begin(batch); n < worker.end(batch); ++n) {
    from_lanes(map_of(store_of_[tensor], n, nullptr), slot, 1, 1, result + n * slot.size(), 0, 1);
  }
}

/*!
 * Output rows [begin, end) of a convolution. Row 0 of the map `in` is row `in_top` of the tensor,
 * and so on for `out`; `add` counts like the tensor.
 */
void Inference::run_conv(const Unit& unit, const Map& in, int in_top, const Map& out, int out_top,
                         int begin, int end, int width, const Map& add, size_t job_begin,
                         size_t job_end) const {
  const Convolution& conv = convolutions_[unit.conv];
  const Layer& layer = unit.layer;
  ConvTask task = {};
  task.lane_wise = conv.lane_wise;
  task.jobs = conv.forward.jobs.data() + job_begin;
  task.job_count = static_cast<int>(job_end - job_begin);
  task.weights = packed_.data() + unit.weights;
  task.taps = unit.taps.data();
  task.tap_count = static_cast<int>(unit.taps.size());
  task.in = in;
  task.in.base = in.at(0, begin * layer.stride[0] - layer.pad[0] - in_top, -layer.pad[1]);
  task.out = out;
  task.out.base = out.at(0, begin - out_top, 0);
  task.rows = end - begin;
  task.width = width;
  task.in_step = layer.stride[1];
  task.in_row_step = layer.stride[0];
  task.out_step = task.out_row_step = 1;
  if (unit.has_factors) {
    task.bias = factors_.data() + unit.factors + static_cast<size_t>(conv.blocks_out) * kLanes;
  }
  if (unit.add >= 0) {
    task.add = add;
    task.add.base = add.at(0, begin, 0);
  }
  task.limit = unit.limit;
  task.low = unit.low;
  task.high = unit.high;
  kernels_->conv(task);
}

/*! Rows [begin, end) of what a chain makes of one image, band by band. */
void Inference::run_chain(const Chain& chain, int64_t image, float* arena, float* scratch,
                          int begin, int end) const {
  const Unit& last = units_[chain.end - 1];
  const Unit& spatial = units_[chain.spatial];
  const bool has_before = chain.spatial > chain.begin;
  const bool has_after = chain.spatial + 1 < chain.end;
  const Frame& out_frame = stores_[last.out].frame;
  const Map out = map_of(last.out, image, arena);
  const Map first_in = map_of(units_[chain.begin].in, image, arena);
  const auto add_of = [&](const Unit& unit) {
    return unit.add < 0 ? Map() : map_of(unit.add, image, arena);
  };
  const Layer& layer = spatial.layer;
  float* after_memory = scratch + (has_before ? (chain.before.floats() + 63) / 16 * 16 : 0);
  const Map before = has_before ? chain.before.map(scratch) : Map();
  const Map after = has_after ? chain.after.map(after_memory) : Map();
  const int in_height = stores_[spatial.in].frame.height;
  const int in_width = stores_[spatial.in].frame.width;
  int have = 0, have_top = 0;  // rows [have_top, have) of the spatial input are in `before`
  if (has_before) chain.before.clear_halo(before, 0, chain.before.height);
  for (int y = begin; y < end; y += chain.band) {
    const int to = std::min(end, y + chain.band);
    const int in_top = y * layer.stride[0] - layer.pad[0];
    const int in_end = (to - 1) * layer.stride[0] - layer.pad[0] + layer.kernel[0];
    if (has_before) {
      const Unit& unit = units_[chain.begin];
      int from = std::max(in_top, 0);
      if (y > begin && have > in_top) {  // what the last band computed already moves up
        const int keep = have - std::max(in_top, have_top);
        for (int b = 0; b < chain.before.blocks; ++b) {
          std::memmove(before.at(b, std::max(in_top, have_top) - in_top, -chain.before.left),
                       before.at(b, std::max(in_top, have_top) - have_top, -chain.before.left),
                       static_cast<size_t>(keep) * before.row * sizeof(float));
        }
        from = have;
      }
      const auto clear = [&](int first, int past) {
        for (int b = 0; b < chain.before.blocks && first < past; ++b) {
          std::memset(before.at(b, first - in_top, -chain.before.left), 0,
                      static_cast<size_t>(past - first) * before.row * sizeof(float));
        }
      };
      clear(in_top, 0);
      clear(std::max(in_height, in_top), in_end);
      const int until = std::min(in_end, in_height);
      if (from < until) {
        run_conv(unit, first_in, 0, before, in_top, from, until, in_width, add_of(unit), 0,
                 convolutions_[unit.conv].forward.jobs.size());
      }
      have = until;
      have_top = in_top;
    }
    run_conv(spatial, has_before ? before : first_in, has_before ? in_top : 0,
             has_after ? after : out, has_after ? y : 0, y, to, out_frame.width, add_of(spatial), 0,
             convolutions_[spatial.conv].forward.jobs.size());
    if (has_after) {
      run_conv(last, after, y, out, 0, y, to, out_frame.width, add_of(last), 0,
               convolutions_[last.conv].forward.jobs.size());
    }
  }
  out_frame.clear_halo(out, begin, end);
}

/*!
 * A chain on a small map: all threads share each convolution's jobs, and rows of a job where there
 * are too few for all to have as much to do. Each clears the halo of what it writes, since a line
 * of the cache that two cores write goes to and fro.
 */
void Inference::run_chain_by_jobs(const Chain& chain, int64_t image, float* arena, float* scratch,
                                  const Worker& worker) const {
  const Unit& last = units_[chain.end - 1];
  const Unit& spatial = units_[chain.spatial];
  const Layer& layer = spatial.layer;
  const Frame& out_frame = stores_[last.out].frame;
  Frame before_frame = chain.before, after_frame = chain.after;
  before_frame.height = (out_frame.height - 1) * layer.stride[0] + layer.kernel[0];
  after_frame.height = out_frame.height;
  const Map before = before_frame.map(scratch);
  const Map after = after_frame.map(
      scratch + (chain.spatial > chain.begin ? (before_frame.floats() + 63) / 16 * 16 : 0));
  const int top = -layer.pad[0];
  for (int u = chain.begin; u < chain.end; ++u) {
    const Unit& unit = units_[u];
    const bool to_before = u < chain.spatial, from_before = u == chain.spatial && u > chain.begin;
    const bool to_after = u == chain.spatial && u + 1 < chain.end, from_after = u > chain.spatial;
    const Frame& frame = stores_[unit.out].frame;
    const std::vector<Job>& jobs = convolutions_[unit.conv].forward.jobs;
    const Map in = from_before ? before : from_after ? after : map_of(unit.in, image, arena);
    const Map out = to_before ? before : to_after ? after : map_of(unit.out, image, arena);
    const int rows = to_before ? std::min(frame.height, before_frame.height + top) : frame.height;
    // (a window is larger than its padding, so that there are rows)
    const size_t items = jobs.size() * rows, past = worker.end(items);
    for (size_t item = worker.begin(items); item < past;) {
      const size_t job = item / rows;
      const int row = static_cast<int>(item % rows);
      const size_t whole = row > 0 ? 0 : (past - item) / rows;
      const size_t job_end = job + std::max<size_t>(whole, 1);
      const int end =
          whole > 0 ? rows : static_cast<int>(std::min<size_t>(rows, row + past - item));
      run_conv(unit, in, from_before ? top : 0, out, to_before ? top : 0, row, end, frame.width,
               unit.add < 0 ? Map() : map_of(unit.add, image, arena), job, job_end);
      for (size_t j = job; j < job_end && !to_after; ++j) {
        for (int o = 0; o < jobs[j].outputs; ++o) {
          const int block = jobs[j].out[o];
          if (u + 1 == chain.end) {
            out_frame.clear_halo(out, block, block + 1, row, end);
          } else {
            const int past_last = end == rows ? before_frame.height : end - top;
            clear_around(before_frame, out, block, row == 0 ? 0 : row - top, past_last, -top,
                         frame.height);
          }
        }
      }
      item += whole > 0 ? whole * rows : end - row;
    }
    if (u + 1 < chain.end) worker.wait();
  }
}

/*! Rows [begin, end) of a unit that is no convolution. */
void Inference::run_simple(const Unit& unit, int64_t image, float* arena, int begin,
                           int end) const {
  const Frame& in_frame = stores_[unit.in].frame;
  const Frame& frame = stores_[unit.out].frame;
  const Map in = map_of(unit.in, image, arena), out = map_of(unit.out, image, arena);
  if (unit.what == What::kAverage) {
    if (begin > 0) return;  // one thread takes the whole map
    average(kernels_, in_frame, in, out);
    return;
  }
  if (unit.what == What::kMaxPool) {
    max_pool(unit.layer, in_frame, in, frame, out, begin, end);
  } else {
    const float* scale = factors_.data() + unit.factors;
    const float* shift = scale + static_cast<size_t>(frame.blocks) * kLanes;
    const Map add = unit.add < 0 ? Map() : map_of(unit.add, image, arena);
    for (int b = 0; b < frame.blocks; ++b) {
      kernels_->affine(in.at(b, begin, 0), in.row, unit.has_factors ? scale + b * kLanes : nullptr,
                       unit.has_factors ? shift + b * kLanes : nullptr,
                       unit.add < 0 ? nullptr : add.at(b, begin, 0), add.row, nullptr, nullptr,
                       unit.limit, unit.low, unit.high, out.at(b, begin, 0), out.row, end - begin,
                       frame.width);
    }
  }
  if (begin < end) frame.clear_halo(out, begin, end);
}

/*! One image, by one thread. */
void Inference::run_image(const float* data, int64_t image, float* arena, float* scratch,
                          float* result) {
  load(data, image, arena, 0, stores_[0].frame.height);
  for (const Chain& chain : chains_) {
    const Unit& unit = units_[chain.begin];
    const int height = stores_[units_[chain.end - 1].out].frame.height;
    if (unit.what == What::kConv) {
      run_chain(chain, image, arena, scratch, 0, height);
    } else {
      run_simple(unit, image, arena, 0, height);
    }
  }
  const int store = store_of_[program_.result()];
  if (!stores_[store].vector) {
    unload(arena, image, result, 0, stores_[store].frame.height);
  }
}

/*! One image, by all threads together. */
void Inference::run_image_together(const float* data, int64_t image, float* result,
                                   const Worker& worker) {
  float* arena = arenas_[0].data();
  const auto rows = [&](int height) {
    return std::make_pair(static_cast<int>(worker.begin(height)),
                          static_cast<int>(worker.end(height)));
  };
  const auto first = rows(stores_[0].frame.height);
  load(data, image, arena, first.first, first.second);
  worker.wait();
  for (const Chain& chain : chains_) {
    const Unit& unit = units_[chain.begin];
    const Frame& frame = stores_[units_[chain.end - 1].out].frame;
    const auto share = rows(frame.height);
    if (unit.what != What::kConv) {
      if (unit.what != What::kAverage) {
        run_simple(unit, image, arena, share.first, share.second);
      } else if (worker.index() == 0) {
        run_simple(unit, image, arena, 0, frame.height);
      }
    } else if (chain.by_jobs) {
      run_chain_by_jobs(chain, image, arena, scratch_[0].data(), worker);
    } else if (share.first < share.second) {
      run_chain(chain, image, arena, scratch_[worker.index()].data(), share.first, share.second);
    }
    worker.wait();
  }
  const int store = store_of_[program_.result()];
  if (!stores_[store].vector) {
    const auto share = rows(stores_[store].frame.height);
    unload(arena, image, result, share.first, share.second);
    worker.wait();
  }
}

/*! What comes after the average: the images are the pixels of one row. */
void Inference::run_vectors(int64_t batch, const Worker& worker) const {
  for (size_t u = first_vector_unit_; u < units_.size(); ++u) {
    const Unit& unit = units_[u];
    const Map in = map_of(unit.in, 0, nullptr), out = map_of(unit.out, 0, nullptr);
    const Map add = unit.add < 0 ? Map() : map_of(unit.add, 0, nullptr);
    const int width = static_cast<int>(batch), blocks = stores_[unit.out].frame.blocks;
    if (unit.what == What::kConv) {
      const size_t jobs = convolutions_[unit.conv].forward.jobs.size();
      run_conv(unit, in, 0, out, 0, 0, 1, width, add, worker.begin(jobs), worker.end(jobs));
    } else {
      const float* scale = factors_.data() + unit.factors;
      const float* shift = scale + static_cast<size_t>(blocks) * kLanes;
      for (size_t b = worker.begin(blocks); b < worker.end(blocks); ++b) {
        const int block = static_cast<int>(b);
        kernels_->affine(in.at(block, 0, 0), 0, unit.has_factors ? scale + b * kLanes : nullptr,
                         unit.has_factors ? shift + b * kLanes : nullptr,
                         unit.add < 0 ? nullptr : add.at(block, 0, 0), 0, nullptr, nullptr,
                         unit.limit, unit.low, unit.high, out.at(block, 0, 0), 0, 1, width);
      }
    }
    worker.wait();
  }
}

void Inference::run(int64_t batch, const float* data, const float* const* parameters,
                    uint64_t version, float* result, int threads) {
  if (batch == 0) return;
  check_batch(batch);
  threads = std::max(threads, 1);
  // vectors of all stores that are some, for the whole batch
  if (batch != batch_) {
    size_t blocks = 0;
    for (Store& store : stores_) {
      if (!store.vector) continue;
      store.offset = blocks * kLanes;
      blocks += store.frame.blocks;
    }
    vectors_.reserve(blocks * kLanes * batch);
    batch_ = batch;
  }
  if (arenas_.size() < static_cast<size_t>(threads)) {
    arenas_.resize(threads);
    scratch_.resize(threads);
  }
  for (int t = 0; t < threads; ++t) {
    scratch_[t].reserve(scratch_floats_);
    if (t == 0 || batch >= threads) arenas_[t].reserve(arena_floats_);
  }
  packed_.reserve(packed_floats_);
  size_t most_lanes = 0;
  for (const Store& store : stores_) {
    most_lanes = std::max(most_lanes, static_cast<size_t>(store.frame.blocks) * kLanes);
  }
  // here and not in the threads, where nothing may be thrown
  folding_.resize(std::max(folding_.size(), static_cast<size_t>(threads)));
  for (std::vector<double>& folding : folding_) folding.resize(2 * most_lanes);
  const bool is_packed = version != 0 && version == version_;
  version_ = version;
  run_team(threads, [&](const Worker& worker) {
    if (!is_packed) {
      pack_parameters(parameters, worker);
      worker.wait();
    }
    // images that each thread takes by itself; OpenMP may have given fewer threads than there are
    const int64_t alone = batch < threads ? 0 : batch / worker.count();
    for (int64_t k = 0; k < alone; ++k) {
      run_image(data, worker.index() * alone + k, arenas_[worker.index()].data(),
                scratch_[worker.index()].data(), result);
    }
    worker.wait();
    for (int64_t image = alone * worker.count(); image < batch; ++image) {
      run_image_together(data, image, result, worker);
    }
    run_vectors(batch, worker);
    if (stores_[store_of_[program_.result()]].vector) unload_vectors(batch, result, worker);
  });
}

}  // namespace igc
