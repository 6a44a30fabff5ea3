/* avx2_bgemm.h: the two ways of the binary product on AVX2. */
#ifndef BC_ISA_AVX2_BGEMM_H
#define BC_ISA_AVX2_BGEMM_H

#include "avx2.h"

/* avx2_bgemm_pairs.c: by table look-up; false: not for few pixels, a very large K or hundreds of
 * taps, and nothing is done. */
bool bc_bgemm_pairs__avx2(const bc_bgemm_call *call);

/* avx2_bgemm_few.c: by counting the bits, any sizes. */
void bc_bgemm_few__avx2(const bc_bgemm_call *call);

#endif
