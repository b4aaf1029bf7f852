#include "convolution.h"

#include <algorithm>
#include <map>
#include <set>

namespace igc {
namespace {

/*! One tensor's lanes, seen as the groups of a convolution. */
struct Side {
  int members;                    // channels of a group
  std::vector<int> channel;       // at each slot; -1 where the lane is empty
  const std::vector<int>* slot;

  Side(const std::vector<int>& slots, int blocks, int groups)
      : members(static_cast<int>(slots.size()) / groups),
        channel(static_cast<size_t>(blocks) * kLanes, -1),
        slot(&slots) {
    for (size_t c = 0; c < slots.size(); ++c) channel[slots[c]] = static_cast<int>(c);
  }
};

/*! Blocks of outputs cut into jobs of like size. */
std::vector<std::vector<int>> cut(const std::vector<int>& blocks) {
  const int count = static_cast<int>(blocks.size());
  const int pieces = (count + kMostOutputs - 1) / kMostOutputs;
  std::vector<std::vector<int>> found;
  for (int p = 0; p < pieces; ++p) {
    found.emplace_back(blocks.begin() + count * p / pieces,
                       blocks.begin() + count * (p + 1) / pieces);
  }
  return found;
}

/*! Writes the jobs of a convolution, from `in` to `out`, over some of its taps. */
class Writer {
 public:
  Writer(const Layer& layer, const Side& in, const Side& out, bool backward,
         const std::vector<int>& taps)
      : layer_(layer), in_(in), out_(out), backward_(backward), taps_(taps) {}

  Jobs lane_wise() {
    // the groups stand in lanes, in the same order for all members of both sides
    const std::vector<int> first_in = first_blocks(in_), first_out = first_blocks(out_);
    // ... which may leave blocks between them to other members
    std::set<int> runs;
    for (size_t c = 0; c < in_.slot->size(); c += in_.members) {
      runs.insert((*in_.slot)[c] / kLanes - first_in[0]);
    }
    const auto blocks = [&](std::vector<int> first, int run) {
      for (int& block : first) block += run;
      return first;
    };
    for (const int run : runs) {
      const std::vector<int> inputs = blocks(first_in, run);
      for (const std::vector<int>& outputs : cut(blocks(first_out, run))) {
        begin(inputs, {}, outputs);
        for (int i = 0; i < in_.members; ++i) {
          for (const int tap : taps_) {
            for (const int block : outputs) {
              for (int lane = 0; lane < kLanes; ++lane) {
                const int to = out_.channel[block * kLanes + lane];
                const int from = to < 0 ? -1 : to / out_.members * in_.members + i;
                jobs_.source.push_back(source(from, to, tap));
              }
            }
          }
        }
      }
    }
    return finish();
  }

  Jobs product() {
    const int groups = static_cast<int>(in_.slot->size()) / in_.members;
    for (int group = 0; group < groups; ++group) {
      const std::map<int, int> inputs = blocks_of(in_, group);
      std::vector<int> in_blocks, lanes, out_blocks;
      for (const auto& entry : inputs) {
        in_blocks.push_back(entry.first);
        lanes.push_back(entry.second);
      }
      for (const auto& entry : blocks_of(out_, group)) out_blocks.push_back(entry.first);
      for (const std::vector<int>& outputs : cut(out_blocks)) {
        begin(in_blocks, lanes, outputs);
        for (size_t i = 0; i < in_blocks.size(); ++i) {
          for (const int tap : taps_) {
            for (int j = 0; j < lanes[i]; ++j) {
              for (const int block : outputs) {
                for (int lane = 0; lane < kLanes; ++lane) {
                  jobs_.source.push_back(source(in_.channel[in_blocks[i] * kLanes + j],
                                                out_.channel[block * kLanes + lane], tap));
                }
              }
            }
          }
        }
      }
    }
    return finish();
  }

 private:
  /*! The first block of each member. */
  static std::vector<int> first_blocks(const Side& side) {
    std::vector<int> first(side.members, static_cast<int>(side.channel.size()));
    for (size_t c = 0; c < side.slot->size(); ++c) {
      int& block = first[c % side.members];
      block = std::min(block, (*side.slot)[c] / kLanes);
    }
    return first;
  }

  /*! The blocks of a group, each with how many of its lanes are to be looked at. */
  static std::map<int, int> blocks_of(const Side& side, int group) {
    std::map<int, int> found;
    for (int m = 0; m < side.members; ++m) {
      const int slot = (*side.slot)[group * side.members + m];
      int& lanes = found[slot / kLanes];
      lanes = std::max(lanes, slot % kLanes + 1);
    }
    return found;
  }

  int source(int from, int to, int tap) const {
    if (from < 0 || to < 0) return -1;
    // the parameter is laid out by the channels of the forward direction
    const int given = backward_ ? to : from, made = backward_ ? from : to;
    const int members = backward_ ? out_.members : in_.members;
    const int taps = layer_.kernel[0] * layer_.kernel[1];
    return (made * members + given % members) * taps + tap;
  }

  void begin(const std::vector<int>& inputs, const std::vector<int>& lanes,
             const std::vector<int>& outputs) {
    Job job = {};
    job.inputs = static_cast<int>(inputs.size());
    job.outputs = static_cast<int>(outputs.size());
    std::copy(outputs.begin(), outputs.end(), job.out);
    job.weights = jobs_.source.size();
    jobs_.jobs.push_back(job);
    jobs_.lists.push_back(inputs);
    jobs_.lists.push_back(lanes);
  }

  Jobs finish() {
    for (size_t k = 0; k < jobs_.jobs.size(); ++k) {
      jobs_.jobs[k].in = jobs_.lists[2 * k].data();
      jobs_.jobs[k].lanes = jobs_.lists[2 * k + 1].data();
    }
    return std::move(jobs_);
  }

  const Layer& layer_;
  const Side& in_;
  const Side& out_;
  const bool backward_;
  const std::vector<int>& taps_;
  Jobs jobs_;
};

std::vector<Phase> plan_phases(const Layer& layer, const Side& in, const Side& out,
                               bool lane_wise) {
  std::vector<Phase> phases;
  for (int ry = 0; ry < layer.stride[0]; ++ry) {
    for (int rx = 0; rx < layer.stride[1]; ++rx) {
      Phase phase;
      // the first pixel whose distance to the padded edge leaves the remainder
      const auto first = [](int remainder, int pad, int stride) {
        return ((remainder - pad) % stride + stride) % stride;
      };
      phase.y = first(ry, layer.pad[0], layer.stride[0]);
      phase.x = first(rx, layer.pad[1], layer.stride[1]);
      std::vector<int> taps;
      for (int ky = ry; ky < layer.kernel[0]; ky += layer.stride[0]) {
        // backwards: side by side in the gradient, as the kernels like it
        for (int kx = layer.kernel[1] - 1; kx >= rx; --kx) {
          if ((kx - rx) % layer.stride[1] != 0) continue;
          taps.push_back(ky * layer.kernel[1] + kx);
          phase.shift_y.push_back((phase.y + layer.pad[0] - ky) / layer.stride[0]);
          phase.shift_x.push_back((phase.x + layer.pad[1] - kx) / layer.stride[1]);
        }
      }
      Writer writer(layer, out, in, true, taps);
      phase.jobs = lane_wise ? writer.lane_wise() : writer.product();
      phases.push_back(std::move(phase));
    }
  }
  return phases;
}

}  // namespace

Convolution plan_convolution(const Program& program, const Layout& layout, int number,
                             bool backward) {
  const Layer& layer = program.layers[number];
  Convolution found;
  found.layer = layer;
  found.lane_wise = layout.lane_wise[number];
  found.blocks_in = layout.blocks[layer.x];
  found.blocks_out = layout.blocks[number + 1];
  found.slot_out = layout.slot[number + 1];
  const int taps = layer.kernel[0] * layer.kernel[1];
  found.weights_per_output = program.channels[layer.x] / layer.groups * taps;
  const Side in(layout.slot[layer.x], found.blocks_in, layer.groups);
  const Side out(layout.slot[number + 1], found.blocks_out, layer.groups);
  std::vector<int> all(taps);
  for (int t = 0; t < taps; ++t) all[t] = t;
  Writer writer(layer, in, out, false, all);
  found.forward = found.lane_wise ? writer.lane_wise() : writer.product();
  if (backward) found.backward = plan_phases(layer, in, out, found.lane_wise);
  return found;
}

std::vector<ptrdiff_t> tap_offsets(const Layer& layer, ptrdiff_t row) {
  std::vector<ptrdiff_t> offsets;
  for (int y = 0; y < layer.kernel[0]; ++y) {
    for (int x = 0; x < layer.kernel[1]; ++x) offsets.push_back(y * row + x * kLanes);
  }
  return offsets;
}

size_t Convolution::bytes() const {
  size_t count = forward.source.size();
  for (const Phase& phase : backward) count += phase.jobs.source.size();
  return count * sizeof(int);
}

void pack(const Convolution& conv, const Jobs& jobs, const float* weights, const float* factors,
          float* packed, size_t begin, size_t end) {
  for (size_t k = begin; k < end; ++k) {
    const int source = jobs.source[k];
    if (source < 0) {
      packed[k] = 0;
    } else if (factors == nullptr) {
      packed[k] = weights[source];
    } else {
      packed[k] = weights[source] * factors[conv.slot_out[source / conv.weights_per_output]];
    }
  }
}

}  // namespace igc
