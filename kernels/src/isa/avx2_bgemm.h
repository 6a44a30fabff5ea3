/* avx2_bgemm.h: the two ways of the binary product on AVX2, and where both send
 * their sums. */
#ifndef BC_ISA_AVX2_BGEMM_H
#define BC_ISA_AVX2_BGEMM_H

#include "avx2.h"

/* One call of bgemm or bgemm_tau. */
typedef struct bc_bgemm_call {
    size_t m, panels, taps, cw;
    const uint64_t *const *a;
    size_t skip;
    const uint64_t *w;
    const uint8_t *spread; /* the same weights as bc_spread__avx2 makes them, or NULL */
    /* Sums go to rows of int32, or (pop NULL) to bits. */
    int32_t *pop;
    size_t ld;
    const int32_t *const *limit;
    uint8_t *out;
    size_t out_stride;
} bc_bgemm_call;

/* avx2_bgemm_pairs.c: by table look-up, where it fits: not for few pixels, a very large K or
 * hundreds of taps. */
bool bc_bgemm_pairs_fit__avx2(size_t m, size_t taps, size_t cw);
void bc_bgemm_pairs__avx2(const bc_bgemm_call *call);

/* avx2_bgemm_few.c: by counting the bits, any sizes. */
void bc_bgemm_few__avx2(const bc_bgemm_call *call);

#endif
