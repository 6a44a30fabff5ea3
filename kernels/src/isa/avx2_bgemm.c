/* avx2_bgemm.c: binary products without a vector popcount instruction: which of two ways. */
#include "avx2_bgemm.h"

static void run(const bc_bgemm_call *call) {
    if (!bc_bgemm_pairs__avx2(call))
        bc_bgemm_few__avx2(call);
}

BC_BGEMM_RUN(avx2, run)
