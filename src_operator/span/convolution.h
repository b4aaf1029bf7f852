/*! A convolution over lanes: its jobs, and the order of its weights. */
#ifndef IGC_OPERATOR_SPAN_CONVOLUTION_H_
#define IGC_OPERATOR_SPAN_CONVOLUTION_H_

#include <vector>

#include "kernels.h"
#include "layout.h"
#include "program.h"

namespace igc {

/*! Jobs over the same packed weights, in one direction. They point into it: it is not copied. */
struct Jobs {
  Jobs() = default;
  Jobs(Jobs&&) = default;
  Jobs& operator=(Jobs&&) = default;

  std::vector<Job> jobs;
  std::vector<int> source;  // of each packed weight: its place in the parameter; -1: a zero
  std::vector<std::vector<int>> lists;  // what the jobs point into
};

/*!
 * The part of a data gradient that falls on every stride-th pixel, from pixel (y, x) on; all of it
 * where the stride is 1. Pixel n of it takes the output's gradient at n + shift for each tap.
 */
struct Phase {
  int y, x;
  std::vector<int> shift_y, shift_x;  // of each tap that reaches it
  Jobs jobs;
};

/*! What about a convolution, or a dense layer on a map of one pixel, no map's size changes. */
struct Convolution {
  Layer layer;
  bool lane_wise;
  int blocks_in, blocks_out;
  Jobs forward;
  std::vector<Phase> backward;
  int weights_per_output;       // of the parameter
  std::vector<int> slot_out;    // of each output channel

  /*! What the tables of weights take. */
  size_t bytes() const;
};

/*! Plan layer number `layer` of a program. The phases are left out unless they are wanted. */
Convolution plan_convolution(const Program& program, const Layout& layout, int layer,
                             bool backward);

/*! The offsets of all taps in a map with rows of `row` floats. */
std::vector<ptrdiff_t> tap_offsets(const Layer& layer, ptrdiff_t row);

/*!
 * Write packed weights [begin, end), each times the factor at the slot of its output channel if
 * there are factors.
 */
void pack(const Convolution& conv, const Jobs& jobs, const float* weights, const float* factors,
          float* packed, size_t begin, size_t end);

}  // namespace igc

#endif  // IGC_OPERATOR_SPAN_CONVOLUTION_H_
