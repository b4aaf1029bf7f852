/*! How a span is evaluated: units, chains, and where everything lies. */
#include "inference.h"

#include <algorithm>
#include <cmath>

namespace igc {
namespace {

// What a chain may keep in the cache between its convolutions, beside weights and tensors.
constexpr size_t kBandFloats = 48 * 1024;
// The same where a 1 x 1 convolution comes first: of its rows some are needed by two bands.
constexpr size_t kBandFloatsBefore = 112 * 1024;
// Maps of at most so many pixels are shared out among threads by channels, not by rows.
constexpr int kFewPixels = 14 * 14;

}  // namespace

Inference::Inference(const Program& program, const Layout& layout, int height, int width,
                     const Kernels* kernels)
    : program_(program),
      layout_(layout),
      kernels_(kernels),
      shapes_(program.shapes(height, width)),
      consumers_(program.channels.size()),
      store_of_(program.channels.size(), -1) {
  for (size_t k = 0; k < program.layers.size(); ++k) {
    const Layer& layer = program.layers[k];
    consumers_[layer.x].push_back(static_cast<int>(k));
    if (layer.kind == Kind::kAdd) consumers_[layer.y].push_back(static_cast<int>(k));
  }
  plan_units();
  plan_stores();
  plan_chains();
}

bool Inference::is_spatial(const Unit& unit) const {
  const Layer& layer = unit.layer;
  return layer.kernel[0] * layer.kernel[1] > 1 || layer.stride[0] * layer.stride[1] > 1 ||
         layer.pad[0] + layer.pad[1] > 0;
}

/*! Give a unit what follows its tensor, as far as it can take it; return the tensor it ends in. */
int Inference::follow(Unit* unit, int tensor) {
  for (;;) {
    store_of_[tensor] = unit->out;
    if (consumers_[tensor].size() != 1) return tensor;
    const int number = consumers_[tensor][0];
    const Layer& layer = program_.layers[number];
    switch (layer.kind) {
      case Kind::kPermute:
        break;
      case Kind::kBatchNorm:
        if (unit->add >= 0 || unit->limit) return tensor;
        unit->norms.push_back(number);
        break;
      case Kind::kRelu:
      case Kind::kClip:
        if (unit->limit) return tensor;
        unit->limit = true;
        unit->low = layer.low;
        unit->high = layer.kind == Kind::kRelu ? INFINITY : layer.high;
        break;
      case Kind::kAdd: {
        const int other = store_of_[layer.x == tensor ? layer.y : layer.x];
        if (unit->add >= 0 || unit->limit || other < 0 || other == unit->out) return tensor;
        unit->add = other;
        break;
      }
      default:
        return tensor;
    }
    tensor = number + 1;
  }
}

void Inference::plan_units() {
  const auto new_store = [this](int tensor, bool vector) {
    Store store;
    const Shape& shape = shapes_[tensor];
    store.frame.blocks = layout_.blocks[tensor];
    store.frame.height = shape.height;
    store.frame.width = shape.width;
    store.vector = vector;
    store.tensor = tensor;
    stores_.push_back(store);
    return static_cast<int>(stores_.size()) - 1;
  };
  store_of_[0] = new_store(0, false);
  bool in_vectors = false;
  for (size_t k = 0; k < program_.layers.size(); ++k) {
    const Layer& layer = program_.layers[k];
    const int tensor = static_cast<int>(k) + 1;
    if (store_of_[tensor] >= 0) continue;
    if (layer.kind == Kind::kPermute) {
      store_of_[tensor] = store_of_[layer.x];
      continue;
    }
    Unit unit;
    unit.layer = layer;
    unit.in = store_of_[layer.x];
    const bool from_vector = stores_[unit.in].vector;
    in_vectors = in_vectors || layer.kind == Kind::kAvgPool || layer.kind == Kind::kDense;
    // a dense layer on a map of one pixel makes a vector of it by an average
    if (layer.kind == Kind::kDense && !from_vector) {
      Unit pool;
      pool.what = What::kAverage;
      pool.in = unit.in;
      pool.out = new_store(layer.x, true);
      unit.in = pool.out;
      units_.push_back(pool);
    }
    unit.out = new_store(tensor, in_vectors);
    switch (layer.kind) {
      case Kind::kConv:
      case Kind::kDense:
        unit.what = What::kConv;
        unit.conv = static_cast<int>(convolutions_.size());
        convolutions_.push_back(plan_convolution(program_, layout_, static_cast<int>(k), false));
        follow(&unit, tensor);
        break;
      case Kind::kMaxPool:
        unit.what = What::kMaxPool;
        store_of_[tensor] = unit.out;
        break;
      case Kind::kAvgPool:
        unit.what = What::kAverage;
        store_of_[tensor] = unit.out;
        break;
      case Kind::kAdd:
        unit.add = store_of_[layer.y];
        unit.what = What::kPointwise;
        follow(&unit, tensor);
        break;
      default:
        unit.what = What::kPointwise;
        if (layer.kind == Kind::kBatchNorm) {
          unit.norms.push_back(static_cast<int>(k));
        } else {
          unit.limit = true;
          unit.low = layer.low;
          unit.high = layer.kind == Kind::kRelu ? INFINITY : layer.high;
        }
        follow(&unit, tensor);
    }
    units_.push_back(std::move(unit));
  }
}

/*! The halos, and where vectors begin. */
void Inference::plan_stores() {
  const int count = static_cast<int>(units_.size());
  first_vector_unit_ = count;
  for (int u = count - 1; u >= 0; --u) {
    if (units_[u].in >= 0 && stores_[units_[u].in].vector) first_vector_unit_ = u;
  }
  for (const Unit& unit : units_) {
    if (unit.what != What::kConv) continue;
    Frame& frame = stores_[unit.in].frame;
    frame.top = std::max(frame.top, unit.layer.pad[0]);
    frame.left = std::max(frame.left, unit.layer.pad[1]);
  }
}

int Inference::readers(int store) const {
  int count = store == store_of_[program_.result()];
  for (const Unit& unit : units_) count += (unit.in == store) + (unit.add == store);
  return count;
}

/*! Whether the next unit is a convolution that alone reads what this one makes. */
bool Inference::continues(int unit) const {
  if (unit + 1 >= first_vector_unit_) return false;
  const Unit &now = units_[unit], &next = units_[unit + 1];
  return now.what == What::kConv && next.what == What::kConv && next.in == now.out &&
         readers(now.out) == 1;
}

void Inference::plan_chains() {
  for (int u = 0; u < first_vector_unit_;) {
    Chain chain = {};
    chain.begin = u;
    chain.end = u + 1;
    chain.spatial = u;
    if (units_[u].what == What::kConv) {
      if (!is_spatial(units_[u]) && continues(u) && is_spatial(units_[u + 1])) {
        chain.spatial = u + 1;
        chain.end = u + 2;
      }
      const int last = chain.end - 1;
      // a dense stem leaves the 1 x 1 convolution behind it to the channel-wise one that follows
      const bool leave = units_[u].layer.groups == 1 && last + 2 < first_vector_unit_ &&
                         continues(last) && continues(last + 1) && chain.spatial == u &&
                         is_spatial(units_[last + 2]);
      if (is_spatial(units_[chain.spatial]) && continues(last) && !is_spatial(units_[last + 1]) &&
          !leave) {
        ++chain.end;
      }
    }
    chains_.push_back(chain);
    u = chain.end;
  }
  for (Chain& chain : chains_) {
    if (units_[chain.begin].what != What::kConv) continue;
    const Unit& spatial = units_[chain.spatial];
    const Layer& layer = spatial.layer;
    const Shape& shape = {0, stores_[spatial.out].frame.height, stores_[spatial.out].frame.width};
    chain.before = stores_[spatial.in].frame;
    chain.after = stores_[spatial.out].frame;
    chain.after.top = chain.after.left = 0;
    chain.before.top = 0;
    const bool has_before = chain.spatial > chain.begin;
    const bool has_after = chain.spatial + 1 < chain.end;
    const auto sizes = [&](int rows) {
      chain.before.height = (rows - 1) * layer.stride[0] + layer.kernel[0];
      chain.after.height = rows;
      return (has_before ? chain.before.floats() + 64 : 0) +
             (has_after ? chain.after.floats() + 64 : 0);
    };
    chain.band = shape.height;
    if (has_before || has_after) {
      const size_t room = has_before ? kBandFloatsBefore : kBandFloats;
      while (chain.band > 2 && sizes(chain.band) > room) chain.band = (chain.band + 1) / 2;
    }
    chain.scratch = sizes(chain.band);
    scratch_floats_ = std::max(scratch_floats_, chain.scratch);
    chain.by_jobs = shape.height * shape.width <= kFewPixels;
    if (chain.by_jobs) {  // the whole map is one band
      scratch_floats_ = std::max(scratch_floats_, sizes(shape.height));
      sizes(chain.band);
    }
  }

  place_stores();
  place_parameters();
}

/*! Stores inside a chain need no room; the others share it where they do not live together. */
void Inference::place_stores() {
  for (size_t c = 0; c < chains_.size(); ++c) {
    const int now = static_cast<int>(c);
    for (int u = chains_[c].begin; u < chains_[c].end; ++u) {
      stores_[units_[u].in].last = now;
      if (units_[u].add >= 0) stores_[units_[u].add].last = now;
      stores_[units_[u].out].first = stores_[units_[u].out].last = now;
    }
  }
  stores_[store_of_[program_.result()]].last = static_cast<int>(chains_.size());
  std::vector<bool> inside(stores_.size(), false);
  for (const Chain& chain : chains_) {
    for (int u = chain.begin; u + 1 < chain.end; ++u) inside[units_[u].out] = true;
  }
  const auto size_of = [](const Store& store) {
    return (store.frame.floats() + 79) / 16 * 16;
  };
  std::vector<int> placed;
  for (size_t s = 0; s < stores_.size(); ++s) {
    Store& store = stores_[s];
    if (store.vector || inside[s]) continue;
    store.offset = 0;
    for (bool moved = true; moved;) {
      moved = false;
      for (const int other : placed) {
        const Store& there = stores_[other];
        const bool together = there.first <= store.last && store.first <= there.last;
        const size_t there_end = there.offset + size_of(there);
        if (together && store.offset < there_end && there.offset < store.offset + size_of(store)) {
          store.offset = there_end;
          moved = true;
        }
      }
    }
    placed.push_back(static_cast<int>(s));
    arena_floats_ = std::max(arena_floats_, store.offset + size_of(store));
  }
}

void Inference::place_parameters() {
  size_t factors = 0;
  for (Unit& unit : units_) {
    unit.has_factors = !unit.norms.empty() || unit.layer.bias;
    unit.factors = factors;
    factors += 2 * static_cast<size_t>(stores_[unit.out].frame.blocks) * kLanes;
    if (unit.what != What::kConv) continue;
    unit.weights = packed_floats_;
    packed_floats_ += (convolutions_[unit.conv].forward.source.size() + 15) / 16 * 16;
    unit.taps = tap_offsets(unit.layer, stores_[unit.in].frame.row());
  }
  factors_.reserve(factors);
}

}  // namespace igc
