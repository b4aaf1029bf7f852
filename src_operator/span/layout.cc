#include "layout.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "kernels.h"

namespace igc {
namespace {

int blocks_for(int channels) { return (channels + kLanes - 1) / kLanes; }

/*! How many times more lanes than channels. */
double waste(int channels) { return static_cast<double>(blocks_for(channels)) * kLanes / channels; }

const char* const kMixed =
    " of the program mixes groups in a way that no layout of channels in lanes serves";

/*! Tensors whose channels stand in the same places. */
struct Family {
  std::vector<int> colour;  // of each place: channels of different colours share no block
  std::vector<int> slot;    // empty until it is settled
};

/*! Which group convolutions are tried lane-wise first. */
enum class Preference { kLeastWaste, kSpatial, kPointwise };

class Planner {
 public:
  Planner(const Program& program, Preference preference)
      : program_(program), preference_(preference) {}

  Layout plan() {
    join();
    std::vector<int> lanes, undecided;
    for (int k = 0; k < static_cast<int>(program_.layers.size()); ++k) {
      const Layer& layer = program_.layers[k];
      if (layer.kind != Kind::kConv || is_channel_wise(layer)) continue;
      // products only part channels into colours, as long as nothing is settled
      if (prefers_lanes(layer)) {
        lanes.push_back(k);
      } else if (is_undecided(layer)) {
        undecided.push_back(k);
      } else {
        try_product(k);
      }
    }
    // an order of groups that is settled spreads from tensor to tensor before another one begins
    while (!lanes.empty()) {
      auto next = std::find_if(lanes.begin(), lanes.end(), [this](int k) {
        return is_settled(program_.layers[k].x) || is_settled(k + 1);
      });
      if (next == lanes.end()) next = lanes.begin();
      if (!try_lanes(*next) && !try_product(*next)) {
        throw SpanError("statement " + std::to_string(*next + 1) + kMixed);
      }
      lanes.erase(next);
    }
    for (const int k : undecided) {
      if (!try_product(k) && !try_lanes(k)) {
        throw SpanError("statement " + std::to_string(k + 1) + kMixed);
      }
    }
    return result();
  }

 private:
  bool is_channel_wise(const Layer& layer) const {
    return layer.groups == program_.channels[layer.x] && layer.groups == layer.channels;
  }
  static bool is_spatial(const Layer& layer) { return layer.kernel[0] * layer.kernel[1] > 1; }
  bool prefers_lanes(const Layer& layer) const {
    if (layer.groups == 1) return false;
    if (preference_ != Preference::kLeastWaste) {
      return is_spatial(layer) == (preference_ == Preference::kSpatial);
    }
    const double lanes = waste(layer.groups), product = waste(layer.channels / layer.groups);
    return lanes < product || (lanes == product && is_spatial(layer));
  }

  /*! Both ways waste as little: the one that suits what the others have settled. */
  bool is_undecided(const Layer& layer) const {
    return layer.groups > 1 && preference_ == Preference::kLeastWaste &&
           waste(layer.groups) == waste(layer.channels / layer.groups);
  }

  bool is_settled(int tensor) const { return !families_[family_[tensor]].slot.empty(); }

  /*! Tie tensors together, with what each calls the places of their family. */
  void join() {
    enter_new(program_.channels[0]);
    for (const Layer& layer : program_.layers) {
      std::vector<int> places = place_[layer.x];
      if (layer.kind == Kind::kPermute) {
        const int count = static_cast<int>(places.size()), group = count / layer.factor;
        for (int c = 0; c < count; ++c) {
          places[c] = place_[layer.x][c % layer.factor * group + c / layer.factor];
        }
      } else if (layer.kind == Kind::kAdd) {
        merge(layer.x, layer.y);
      } else if (layer.kind == Kind::kDense ||
                 (layer.kind == Kind::kConv && !is_channel_wise(layer))) {
        enter_new(layer.channels);
        continue;
      }
      family_.push_back(family_[layer.x]);
      place_.push_back(places);
    }
  }

  void enter_new(int channels) {
    family_.push_back(static_cast<int>(families_.size()));
    families_.push_back({std::vector<int>(channels, 0), {}});
    place_.emplace_back(channels);
    std::iota(place_.back().begin(), place_.back().end(), 0);
  }

  void merge(int x, int y) {
    const int kept = family_[x], gone = family_[y];
    if (kept == gone) {
      if (place_[x] != place_[y]) {
        throw SpanError("the program adds a tensor to a permutation of itself");
      }
      return;
    }
    std::vector<int> renamed(place_[y].size());
    for (size_t c = 0; c < renamed.size(); ++c) renamed[place_[y][c]] = place_[x][c];
    for (size_t t = 0; t < family_.size(); ++t) {
      if (family_[t] != gone) continue;
      family_[t] = kept;
      for (int& place : place_[t]) place = renamed[place];
    }
  }

  /*!
   * The order in which the groups of a convolution stand in a tensor whose slots are settled:
   * group g of each member at order[g] from the member's first block. Empty where members differ.
   */
  std::vector<int> order_of(int tensor, int groups) const {
    const std::vector<int>& slot = families_[family_[tensor]].slot;
    const std::vector<int>& places = place_[tensor];
    const int members = static_cast<int>(places.size()) / groups;
    std::vector<int> order(groups);
    for (int m = 0; m < members; ++m) {
      int first = slot[places[m]];
      for (int g = 0; g < groups; ++g) first = std::min(first, slot[places[g * members + m]]);
      first = first / kLanes * kLanes;
      for (int g = 0; g < groups; ++g) {
        const int position = slot[places[g * members + m]] - first;
        if (m > 0 && order[g] != position) return {};
        order[g] = position;
      }
    }
    return order;
  }

  /*! An order in which no block of any member has two colours. */
  std::vector<int> order_by_colours(const int (&tensors)[2], int groups) const {
    std::vector<std::vector<int>> colours(groups);
    for (const int tensor : tensors) {
      const std::vector<int>& places = place_[tensor];
      for (size_t c = 0; c < places.size(); ++c) {
        colours[c * groups / places.size()].push_back(
            families_[family_[tensor]].colour[places[c]]);
      }
    }
    std::map<std::vector<int>, int> numbers;
    for (const std::vector<int>& found : colours) numbers.emplace(found, 0);
    int next = 0;
    for (auto& entry : numbers) entry.second = next++;
    std::vector<int> number;
    for (const std::vector<int>& found : colours) number.push_back(numbers[found]);
    return by_colour(number);
  }

  /*! The slots that give each member a run of blocks, with the groups in an order. */
  std::vector<int> slots_in(int tensor, const std::vector<int>& order) const {
    const std::vector<int>& places = place_[tensor];
    const int members = static_cast<int>(places.size() / order.size());
    const int run = blocks_for(*std::max_element(order.begin(), order.end()) + 1) * kLanes;
    std::vector<int> slot(places.size());
    for (int c = 0; c < static_cast<int>(places.size()); ++c) {
      slot[places[c]] = c % members * run + order[c / members];
    }
    return slot;
  }

  static bool is_pure(const std::vector<int>& slot, const std::vector<int>& colour) {
    std::map<int, int> of_block;
    for (size_t place = 0; place < slot.size(); ++place) {
      const auto found = of_block.emplace(slot[place] / kLanes, colour[place]);
      if (found.first->second != colour[place]) return false;
    }
    return true;
  }

  bool try_lanes(int number) {
    const Layer& layer = program_.layers[number];
    const int tensors[] = {layer.x, number + 1};
    std::vector<int> order;
    for (const int tensor : tensors) {
      if (!is_settled(tensor)) continue;
      const std::vector<int> settled = order_of(tensor, layer.groups);
      if (settled.empty() || !(order.empty() || order == settled)) return false;
      order = settled;
    }
    if (order.empty()) order = order_by_colours(tensors, layer.groups);
    for (const int tensor : tensors) {
      const Family& family = families_[family_[tensor]];
      if (family.slot.empty() && !is_pure(slots_in(tensor, order), family.colour)) return false;
    }
    for (const int tensor : tensors) {
      Family& family = families_[family_[tensor]];
      if (family.slot.empty()) family.slot = slots_in(tensor, order);
      // where input and output are one family, settling the one may spoil the other
      if (order_of(tensor, layer.groups) != order) {
        throw SpanError("statement " + std::to_string(number + 1) +
                        " of the program is tied to itself by a permutation");
      }
    }
    lane_wise_.push_back(number);
    return true;
  }

  std::vector<int> groups_of(int tensor, int groups) const {
    const std::vector<int>& places = place_[tensor];
    const int members = static_cast<int>(places.size()) / groups;
    std::vector<int> group(places.size());
    for (size_t c = 0; c < places.size(); ++c) group[places[c]] = static_cast<int>(c) / members;
    return group;
  }

  bool try_product(int number) {
    const Layer& layer = program_.layers[number];
    if (layer.groups == 1) return true;
    const int tensors[] = {layer.x, number + 1};
    for (const int tensor : tensors) {
      const Family& family = families_[family_[tensor]];
      const std::vector<int> group = groups_of(tensor, layer.groups);
      if (!family.slot.empty() && !is_pure(family.slot, group)) return false;
    }
    for (const int tensor : tensors) refine(&families_[family_[tensor]].colour,
                                            groups_of(tensor, layer.groups));
    return true;
  }

  /*! Part the colours further, by another colouring. */
  static void refine(std::vector<int>* colour, const std::vector<int>& by) {
    std::map<std::pair<int, int>, int> numbers;
    for (size_t k = 0; k < by.size(); ++k) numbers.emplace(std::make_pair((*colour)[k], by[k]), 0);
    int next = 0;
    for (auto& entry : numbers) entry.second = next++;
    for (size_t k = 0; k < by.size(); ++k) {
      (*colour)[k] = numbers[std::make_pair((*colour)[k], by[k])];
    }
  }

  /*! Channels in order, each colour beginning a block of its own. */
  static std::vector<int> by_colour(const std::vector<int>& colour) {
    std::vector<int> order(colour.size()), slot(colour.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return colour[a] < colour[b]; });
    int next = 0;
    for (size_t k = 0; k < order.size(); ++k) {
      if (k > 0 && colour[order[k]] != colour[order[k - 1]]) next = blocks_for(next) * kLanes;
      slot[order[k]] = next++;
    }
    return slot;
  }

  Layout result() {
    Layout layout;
    for (size_t t = 0; t < family_.size(); ++t) {
      Family& family = families_[family_[t]];
      if (family.slot.empty()) family.slot = by_colour(family.colour);
      std::vector<int> slot;
      for (const int place : place_[t]) slot.push_back(family.slot[place]);
      layout.blocks.push_back(*std::max_element(slot.begin(), slot.end()) / kLanes + 1);
      layout.slot.push_back(std::move(slot));
    }
    layout.lane_wise.assign(program_.layers.size(), false);
    for (size_t k = 0; k < program_.layers.size(); ++k) {
      const Layer& layer = program_.layers[k];
      if (layer.kind == Kind::kConv) layout.lane_wise[k] = is_channel_wise(layer);
    }
    for (const int k : lane_wise_) layout.lane_wise[k] = true;
    return layout;
  }

  const Program& program_;
  const Preference preference_;
  std::vector<Family> families_;
  std::vector<int> family_;              // of each tensor
  std::vector<std::vector<int>> place_;  // of each tensor's channels in its family
  std::vector<int> lane_wise_;
};

}  // namespace

Layout plan_layout(const Program& program) {
  // what wastes least for each convolution by itself may not go together
  for (const Preference preference : {Preference::kLeastWaste, Preference::kSpatial}) {
    try {
      return Planner(program, preference).plan();
    } catch (const SpanError&) {
    }
  }
  return Planner(program, Preference::kPointwise).plan();
}

}  // namespace igc
