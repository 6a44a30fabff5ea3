/* avx2_bgemm_pairs.h: the three parts of the binary product by table look-up. */
#ifndef BC_ISA_AVX2_BGEMM_PAIRS_H
#define BC_ISA_AVX2_BGEMM_PAIRS_H

#include "avx2_bgemm.h"

enum {
    NR = 32,    /* filters in a vector: 4 panels */
    NV = 4,     /* most vectors in a tile */
    STEPS = 16, /* of 4 bits in a word */
};

/* Of both pixels of a pair; filters in the order 0-7, 16-23, 8-15, 24-31. */
typedef uint16_t bc_pair_sums[2][NR];

/* avx2_bgemm_expand.c: table numbers [pair][word of K][step] of m pixels; a last odd one is paired
 * with itself. Up to 3 words more are written. */
void bc_pairs_choose__avx2(uint8_t *to, size_t m, size_t taps, size_t cw, const uint64_t *const *a,
                           size_t skip);

/* ... and words of K of 32 filters, panels p[0..4), as a vector of 4 bits each per step,
 * `stride` bytes apart. */
void bc_pairs_weights__avx2(uint8_t *to, size_t stride, const uint64_t *const p[4], size_t words);

/* avx2_bgemm_tile.c: sums[pair][v] (+)= products of as many of np pairs as a tile takes, which it
 * returns, and nv <= NV vectors of filters. Weights: w[word][step][vector]; tables: `apart` bytes
 * from one pair to the next, two more bytes may be read. */
size_t bc_pairs_tile__avx2(size_t np, size_t nv, const uint8_t *w, const uint8_t *chosen,
                           size_t apart, size_t words, bc_pair_sums *sums, bool first);

#endif
