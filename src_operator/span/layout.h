/*! Which channel of a tensor stands in which lane, so that permutations vanish. */
#ifndef IGC_OPERATOR_SPAN_LAYOUT_H_
#define IGC_OPERATOR_SPAN_LAYOUT_H_

#include <vector>

#include "program.h"

namespace igc {

/*!
 * Places for all channels of all tensors of a program.
 *
 * Tensors that a permutation, a normalisation, an addition or a channel-wise convolution ties
 * together have their channels in the same places: a permutation only changes what they are
 * called. A lane-wise convolution wants the members of a group in one lane, each member in a run of
 * blocks of its own; a product wants every block to belong to one group. Lanes may stay empty.
 */
struct Layout {
  std::vector<std::vector<int>> slot;  // of each tensor's channels: block * 8 + lane
  std::vector<int> blocks;             // of each tensor
  std::vector<bool> lane_wise;         // for each layer that is a convolution
};

/*! Throws SpanError where a program has no such layout. */
Layout plan_layout(const Program& program);

}  // namespace igc

#endif  // IGC_OPERATOR_SPAN_LAYOUT_H_
