/*!
 * A step of Nesterov's momentum as the originals have it, on plain memory. Nothing here knows
 * MXNet.
 *
 *   g <- rescale * gradient, limited to [-clip, clip]
 *   g <- g + decay * weight            where decay is not 0
 *   momentum <- mu * momentum + g
 *   weight <- weight - rate * (g + mu * momentum)
 *
 * Each product and each sum is rounded by itself, as where an operator computes each of them: the
 * result is the same, bit for bit.
 */
#ifndef IGC_OPERATOR_NESTEROV_H_
#define IGC_OPERATOR_NESTEROV_H_

#include <cstdint>

extern "C" {

/*!
 * Update `count` elements in place.
 *
 * clip  a limit of the gradient, or a negative number for none
 *
 * Returns NULL, or a text that says what is wrong. The text lives as long as the library.
 */
const char* igc_nesterov_cpu(int64_t count, float* weight, const float* gradient, float* momentum,
                             float rate, float decay, float mu, float rescale, float clip);
}

#endif  // IGC_OPERATOR_NESTEROV_H_
