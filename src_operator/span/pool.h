/*! Pooling over maps in lanes. */
#ifndef IGC_OPERATOR_SPAN_POOL_H_
#define IGC_OPERATOR_SPAN_POOL_H_

#include "kernels.h"
#include "memory.h"
#include "program.h"

namespace igc {

/*! Output rows [begin, end) of a maximum over windows; padding never wins. */
void max_pool(const Layer& layer, const Frame& in_frame, const Map& in, const Frame& out_frame,
              const Map& out, int begin, int end);

/*! Add each output's gradient to the first of its window's largest values. */
void max_pool_gradient(const Layer& layer, const Frame& in_frame, const Map& in,
                       const Frame& out_frame, const Map& given, const Map& to);

/*! The average over a map: one pixel. */
void average(const Kernels* kernels, const Frame& frame, const Map& in, const Map& out);

}  // namespace igc

#endif  // IGC_OPERATOR_SPAN_POOL_H_
