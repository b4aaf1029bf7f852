/*! The kernels for any processor: the compiler makes of eight lanes what it can. */
#define IGC_ISA portable
#define IGC_ISA_NAME "portable"
#define IGC_PIXELS 1
#define IGC_BUDGET 12
#include "kernels_body.h"
