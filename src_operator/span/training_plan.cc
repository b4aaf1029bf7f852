/*! What the training of a span keeps, in which order gradients come, and where all of it lies. */
#include "training.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

namespace igc {
namespace {

bool is_pointwise(const Layer& layer) {
  return layer.kernel[0] * layer.kernel[1] * layer.stride[0] * layer.stride[1] == 1;
}

}  // namespace

Training::Training(const Program& program, const Layout& layout, int height, int width,
                   const Kernels* kernels)
    : program_(program),
      layout_(layout),
      kernels_(kernels),
      shapes_(program.shapes(height, width)),
      consumers_(program.channels.size(), 0),
      store_of_(program.channels.size(), -1),
      shared_(program.channels.size(), false) {
  for (const Layer& layer : program.layers) {
    ++consumers_[layer.x];
    if (layer.kind == Kind::kAdd) ++consumers_[layer.y];
  }
  ++consumers_[program.result()];
  plan_units();
  plan_shares();
  place_buffers();
  place();
}

int Training::new_store(int tensor, bool vector) {
  Store store;
  store.frame.blocks = layout_.blocks[tensor];
  store.frame.height = shapes_[tensor].height;
  store.frame.width = shapes_[tensor].width;
  store.vector = vector;
  store.tensor = tensor;
  store.made = static_cast<int>(units_.size());
  stores_.push_back(store);
  return static_cast<int>(stores_.size()) - 1;
}

int Training::plan_pointwise(int in, int in2, int tensor) {
  Unit unit;
  unit.what = What::kPointwise;
  unit.in = in;
  unit.in2 = in2;
  unit.out = new_store(tensor, stores_[in].vector);
  units_.push_back(unit);
  return unit.out;
}

void Training::plan_conv(int number, int in) {
  const Layer& layer = program_.layers[number];
  Unit unit;
  unit.what = What::kConv;
  unit.layer = layer;
  unit.in = in;
  unit.conv = static_cast<int>(convolutions_.size());
  convolutions_.push_back(plan_convolution(program_, layout_, number, true));
  unit.out = new_store(number + 1, stores_[in].vector);
  store_of_[number + 1] = unit.out;
  units_.push_back(std::move(unit));
}

void Training::plan_units() {
  store_of_[0] = new_store(0, false);
  stores_[0].made = -1;
  shared_[0] = consumers_[0] > 1;
  for (int k = 0; k < static_cast<int>(program_.layers.size()); ++k) {
    const Layer& layer = program_.layers[k];
    const int tensor = k + 1;
    if (store_of_[tensor] >= 0) continue;  // a ReLU that its addition took
    int in = store_of_[layer.x];
    shared_[tensor] = consumers_[tensor] > 1;
    switch (layer.kind) {
      case Kind::kPermute:
        store_of_[tensor] = in;
        shared_[tensor] = shared_[tensor] || shared_[layer.x];
        break;
      case Kind::kBatchNorm:
        if (shared_[layer.x] || stores_[in].norm >= 0 || stores_[in].masked || is_data(in)) {
          in = plan_pointwise(in, -1, tensor);
        }
        stores_[in].norm = k;
        store_of_[tensor] = in;
        break;
      case Kind::kRelu:
      case Kind::kClip: {
        if (shared_[layer.x] || stores_[in].limit || stores_[in].masked || is_data(in)) {
          in = plan_pointwise(in, -1, tensor);
        }
        Store& store = stores_[in];
        const bool relu = layer.kind == Kind::kRelu;
        store.limit = store.masked = true;
        store.low = layer.low;
        store.high = relu ? INFINITY : layer.high;
        store.pass_low = relu ? FLT_MIN : layer.low;
        store.pass_high = store.high;
        store_of_[tensor] = in;
        break;
      }
      case Kind::kAdd: {
        const auto unlimited = [this](int read) {
          return stores_[store_of_[read]].limit ? plan_pointwise(store_of_[read], -1, read)
                                                : store_of_[read];
        };
        const int first = unlimited(layer.x), second = unlimited(layer.y);
        const int out = plan_pointwise(first, second, tensor);
        store_of_[tensor] = out;
        // the ReLU behind an addition is part of it, if it alone reads the sum
        for (size_t next = k + 1; !shared_[tensor] && next < program_.layers.size(); ++next) {
          const Layer& follower = program_.layers[next];
          if (follower.x != tensor || follower.kind != Kind::kRelu) continue;
          units_.back().relu = true;
          stores_[out].masked = true;
          stores_[out].pass_low = FLT_MIN;
          stores_[out].pass_high = INFINITY;
          store_of_[next + 1] = out;
          shared_[next + 1] = consumers_[next + 1] > 1;
        }
        break;
      }
      case Kind::kConv:
        plan_conv(k, in);
        break;
      case Kind::kDense:
        if (!stores_[in].vector) {
          Unit pool;
          pool.what = What::kAverage;
          pool.in = in;
          pool.out = in = new_store(layer.x, true);
          units_.push_back(pool);
        }
        plan_conv(k, in);
        break;
      case Kind::kMaxPool:
      case Kind::kAvgPool: {
        Unit unit;
        unit.what = layer.kind == Kind::kMaxPool ? What::kMaxPool : What::kAverage;
        unit.layer = layer;
        unit.in = in;
        unit.out = new_store(tensor, layer.kind == Kind::kAvgPool);
        store_of_[tensor] = unit.out;
        units_.push_back(unit);
        break;
      }
    }
  }
  // two convolutions, of which the second is 1 x 1 and alone reads the first, go image by image
  for (size_t u = 0; u + 1 < units_.size(); ++u) {
    Unit& unit = units_[u];
    const Unit& next = units_[u + 1];
    if (unit.what != What::kConv || next.what != What::kConv || next.in != unit.out) continue;
    const Store& between = stores_[unit.out];
    const bool paired_before = u > 0 && units_[u - 1].paired;
    unit.paired = !paired_before && !between.vector && between.norm < 0 && !between.masked &&
                  is_pointwise(next.layer) && !shared_[next.layer.x] &&
                  store_of_[program_.result()] != unit.out;
  }
}

/*! Note that a unit hands a gradient to a store, as the backward pass meets it. */
void Training::share(int unit, int store, Share* share, std::vector<int>* readers_left) {
  Store& found = stores_[store];
  const int count = static_cast<int>(units_.size());
  // a pair goes back image by image, both at once
  const int time = count - 1 - (unit < count && units_[unit].paired ? unit + 1 : unit);
  share->first = found.buffer < 0;
  share->last = --(*readers_left)[store] == 0;
  if (share->first) {
    found.buffer = static_cast<int>(buffers_.size());
    Buffer buffer;
    buffer.floats = found.vector ? lanes_of(store) : image_floats(found.frame);
    buffer.from = time;
    buffers_.push_back(buffer);
  }
  int& to = buffers_[found.buffer].to;
  to = std::max(to, count - 1 - found.made);
}

void Training::plan_shares() {
  std::vector<int> readers_left(stores_.size(), 0);
  for (size_t u = 0; u < units_.size(); ++u) {
    const Unit& unit = units_[u];
    if (u > 0 && units_[u - 1].paired) continue;
    ++readers_left[unit.in];
    if (unit.in2 >= 0) ++readers_left[unit.in2];
  }
  const std::vector<int> readers = readers_left;
  ++readers_left[store_of_[program_.result()]];
  share(static_cast<int>(units_.size()), store_of_[program_.result()], &result_share_,
        &readers_left);
  for (int u = static_cast<int>(units_.size()) - 1; u >= 0; --u) {
    Unit& unit = units_[u];
    if (u > 0 && units_[u - 1].paired) continue;  // its gradient never leaves the cache
    if (unit.what == What::kPointwise) {
      const auto give = [&](int store, Share* share) {
        share->in_place = true;
        stores_[store].buffer = stores_[unit.out].buffer;
      };
      // the operand's gradient is the result's: in one buffer, where nothing that is still to read
      // it can find it changed
      const auto is_free = [&](int store) {
        return store >= 0 && !is_data(store) && stores_[store].buffer < 0 &&
               stores_[unit.out].norm < 0 && store != store_of_[program_.result()];
      };
      const auto only_read = [&](int store) {
        return is_free(store) && readers[store] == 1 && !stores_[store].masked &&
               units_[stores_[store].made].what != What::kPointwise;
      };
      const bool first = only_read(unit.in), second = only_read(unit.in2);
      if (first) give(unit.in, &unit.share);
      if (second) give(unit.in2, &unit.share2);
      // one that is changed later goes along where the other has been read by then
      const auto follows = [&](int store, int other) {
        if (!is_free(store) || stores_[other].made != u - 1 || stores_[store].vector) return false;
        const Unit& reader = units_[u - 1];  // of the other's gradient: from a copy, if it changes
        const bool copies = reader.what == What::kConv && stores_[other].norm >= 0;
        return (copies || reader.in != store) &&
               (!stores_[store].masked || readers_left[store] > 1);
      };
      if (!first && (second ? follows(unit.in, unit.in2) : is_free(unit.in))) {
        give(unit.in, &unit.share);
      } else if (!second && first && unit.in2 >= 0 && follows(unit.in2, unit.in)) {
        give(unit.in2, &unit.share2);
      }
    }
    share(u, unit.in, &unit.share, &readers_left);
    if (unit.share.in_place) unit.share.first = true;
    if (unit.in2 >= 0) {
      share(u, unit.in2, &unit.share2, &readers_left);
      if (unit.share2.in_place) unit.share2.first = true;
    }
  }
}

/*! Gradients that do not live together share memory. The data's has a place of its own. */
void Training::place_buffers() {
  for (size_t b = 0; b < buffers_.size(); ++b) {
    Buffer& buffer = buffers_[b];
    if (static_cast<int>(b) == stores_[0].buffer) continue;
    for (bool moved = true; moved;) {
      moved = false;
      for (size_t other = 0; other < b; ++other) {
        const Buffer& there = buffers_[other];
        if (static_cast<int>(other) == stores_[0].buffer) continue;
        const bool together = there.from <= buffer.to && buffer.from <= there.to;
        if (together && buffer.offset < there.offset + there.floats &&
            there.offset < buffer.offset + buffer.floats) {
          buffer.offset = there.offset + there.floats;
          moved = true;
        }
      }
    }
    gradient_floats_ = std::max(gradient_floats_, buffer.offset + buffer.floats);
  }
}

/*! Where everything lies, and how much scratch a thread needs. */
void Training::place() {
  size_t factors = 0;
  for (size_t s = 0; s < stores_.size(); ++s) {
    Store& store = stores_[s];
    store.factors = factors;
    factors += lanes_of(static_cast<int>(s)) * kFactors;
    most_lanes_ = std::max(most_lanes_, lanes_of(static_cast<int>(s)));
    if (is_data(static_cast<int>(s))) continue;
    store.offset = value_floats_;
    value_floats_ += store.vector ? lanes_of(static_cast<int>(s)) : image_floats(store.frame);
  }
  factors_.reserve(factors);
  for (size_t s = 0; s < stores_.size(); ++s) {
    const int store = static_cast<int>(s);
    std::fill_n(factor(store, kScale), lanes_of(store), 1.0f);
    std::fill_n(factor(store, kShift), lanes_of(store) * (kFactors - 1), 0.0f);
  }
  for (size_t u = 0; u < units_.size(); ++u) {
    Unit& unit = units_[u];
    unit.frame_in = stores_[unit.in].frame;
    unit.frame_gradient = stores_[unit.out].frame;
    if (unit.what == What::kConv) {
      const Convolution& conv = convolutions_[unit.conv];
      const Layer& layer = unit.layer;
      unit.frame_in.top = layer.pad[0];
      unit.frame_in.left = layer.pad[1];
      unit.taps = tap_offsets(layer, unit.frame_in.row());
      unit.weights = forward_floats_;
      forward_floats_ += (conv.forward.source.size() + 15) / 16 * 16;
      Frame& frame = unit.frame_gradient;
      for (const Phase& phase : conv.backward) {
        const int rows = (unit.frame_in.height - phase.y + layer.stride[0] - 1) / layer.stride[0];
        const int columns = (unit.frame_in.width - phase.x + layer.stride[1] - 1) / layer.stride[1];
        for (const int shift : phase.shift_y) {
          frame.top = std::max({frame.top, -shift, rows + shift - frame.height});
        }
        for (const int shift : phase.shift_x) {
          frame.left = std::max({frame.left, -shift, columns + shift - frame.width});
        }
      }
      for (const Phase& phase : conv.backward) {
        unit.phase_weights.push_back(backward_floats_);
        backward_floats_ += (phase.jobs.source.size() + 15) / 16 * 16;
        unit.phase_taps.emplace_back();
        for (size_t t = 0; t < phase.shift_y.size(); ++t) {
          unit.phase_taps.back().push_back(phase.shift_y[t] * frame.row() +
                                           static_cast<ptrdiff_t>(phase.shift_x[t]) * kLanes);
        }
      }
      const bool second = u > 0 && units_[u - 1].paired;
      const size_t partner =
          second ? (convolutions_[units_[u - 1].conv].forward.source.size() + 15) / 16 * 16 : 0;
      weight_floats_ =
          std::max(weight_floats_, (conv.forward.source.size() + 15) / 16 * 16 + partner);
      if (unit.paired) middle_floats_ = std::max(middle_floats_, image_floats(frame));
    }
    if (!stores_[unit.in].vector) {
      in_floats_ = std::max(in_floats_, image_floats(unit.frame_in));
    }
    if (!stores_[unit.out].vector) {
      gradient_scratch_ = std::max(gradient_scratch_, image_floats(unit.frame_gradient));
    }
  }
  in_floats_ = std::max(in_floats_, image_floats(stores_[store_of_[program_.result()]].frame));
}

}  // namespace igc
