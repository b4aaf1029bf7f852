/*! The kernels for AVX-512: vectors of two pixels, 32 registers. */
#define IGC_ISA avx512
#define IGC_ISA_NAME "avx512"
#define IGC_PIXELS 2
#define IGC_BUDGET 24
#include "kernels_body.h"
