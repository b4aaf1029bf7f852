/*! The kernels for AVX2 with FMA: vectors of one pixel, 16 registers. */
#define IGC_ISA avx2
#define IGC_ISA_NAME "avx2"
#define IGC_PIXELS 1
#define IGC_BUDGET 12
#include "kernels_body.h"
