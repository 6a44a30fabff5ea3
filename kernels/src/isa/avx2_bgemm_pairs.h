/* avx2_bgemm_pairs.h: the parts of the binary product by table look-up. */
#ifndef BC_ISA_AVX2_BGEMM_PAIRS_H
#define BC_ISA_AVX2_BGEMM_PAIRS_H

#include "avx2_bgemm.h"

enum {
    NR = 32,        /* filters in a vector: 4 panels */
    NV = 4,         /* most vectors in a tile, of filters times pairs of pixels */
    STEPS = 16,     /* of 4 bits in a word */
    PART_WORDS = 9, /* most words of K in a tile: what its slots hold, and what stays in L1 */
    SLOTS = 3       /* in which a tile adds up: 60, 48 and 36 steps, so 240, 192 and 144 at most */
};

/* Sums of both pixels of a pair in a tile, each plus what it began with; filters in order. */
typedef uint8_t bc_pair_bytes[SLOTS][2][NR];

/* Sums of both pixels over all of K, modulo 2^16: x[i] + 256 y[i], then y[i], where x are filters
 * 0, 2, 4, .. and y 1, 3, 5, .. */
typedef uint16_t bc_pair_sums[2][NR];

/* avx2_bgemm_expand.c: where the table of a step lies in those of avx2_bgemm_tile.c, in bytes:
 * [pair][word of K][step] of m pixels; a last odd one is paired with itself. */
void bc_pairs_choose__avx2(uint16_t *to, size_t m, size_t taps, size_t cw, const uint64_t *const *a,
                           size_t skip);

/* avx2_bgemm_expand.c: words [k, k + words) of K of n <= 4 panels at w, of k_words each, as a
 * vector of 4 bits of 32 filters per step; a missing panel repeats the one before. */
void bc_pairs_weights__avx2(uint8_t *to, const uint64_t *w, size_t n, size_t k_words, size_t k,
                            size_t words);

/* avx2_bgemm_tile.c: bytes[pair][v] = `begin` + products of as many of np pairs as a tile takes,
 * which it returns, and nv <= NV vectors of filters, over words <= PART_WORDS of K. Weights:
 * [word][step] of a vector, `stride` bytes from one vector to the next; tables: `apart` steps from
 * one pair to the next. */
size_t bc_pairs_tile__avx2(size_t np, size_t nv, const uint8_t *w, size_t stride,
                           const uint16_t *chosen, size_t apart, size_t words, uint8_t begin,
                           bc_pair_bytes *bytes);

/* avx2_bgemm_sums.c: adds n bytes[] that began with 0 to sums[]; first: writes them. */
void bc_pairs_add__avx2(size_t n, const bc_pair_bytes *bytes, bc_pair_sums *sums, bool first);

/* avx2_bgemm_sums.c: a rectangle of the call's output: m pixels from p on, panels [q, q + panels).
 */
typedef struct bc_pair_rectangle {
    const bc_bgemm_call *call;
    size_t p, m, q, panels;
} bc_pair_rectangle;

/* avx2_bgemm_sums.c: writes rectangles: sums of all of K [pair][vector] as numbers, or as bits. */
void bc_pairs_numbers__avx2(const bc_pair_rectangle *to, const bc_pair_sums *sums);
void bc_pairs_bits__avx2(const bc_pair_rectangle *to, const bc_pair_sums *sums);

/* avx2_bgemm_limits.c: the limits of a pixel, for bytes that began with BC_PAIR_BEGIN. */
enum { BC_PAIR_BEGIN = 128 };
typedef struct bc_pair_limits {
    _Alignas(32) uint8_t slot[NV][SLOTS][NR];
    const int32_t *row; /* that they are made of; NULL: none yet */
} bc_pair_limits;

/* avx2_bgemm_limits.c: the same for the sums of a tile that is all of K. limits: of the pixel
 * before, if it was one of the same panels. */
void bc_pairs_bytes_to_bits__avx2(const bc_pair_rectangle *to, const bc_pair_bytes *bytes,
                                  bc_pair_limits *limits);

#endif
