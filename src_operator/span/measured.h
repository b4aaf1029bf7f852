/*! Kernels that note how long they take and how much they do. */
#ifndef IGC_OPERATOR_SPAN_MEASURED_H_
#define IGC_OPERATOR_SPAN_MEASURED_H_

#include <string>

#include "kernels.h"

namespace igc {

/*! The same kernels with a stopwatch each. One set in a process: the last one asked for. */
const Kernels* measured(const Kernels* kernels);

/*! What was noted since the last call, as igc_span_measurements of span.h tells it. */
std::string take_measurements();

}  // namespace igc

#endif  // IGC_OPERATOR_SPAN_MEASURED_H_
