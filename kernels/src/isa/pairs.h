/* pairs.h: the parts of the binary product by table look-up (pairs_tile.h), for instruction sets
 * that cannot count bits in vectors. pairs_product.h includes all of them.
 *
 * The including file, a translation unit of its own, defines before:
 *   V             its vectors of integers
 *   BC_MM(name)   the intrinsic of that width, as in BC_MM(add_epi8)
 *   BC_SI(name)   the same where the name ends with the vector's type, as in BC_SI(and)
 *   BC_KEEP       BC_KEEP_X or BC_KEEP_V
 *   PANELS, NV    panels in a vector; most vectors in a tile, of filters times pairs of pixels
 *   LEAST_PANELS  that are faster looked up than counted
 *   pair_bits     an unsigned type of a bit per byte of a vector
 *
 * and between this and pairs_product.h, with two_lanes at hand:
 *   repeat(x)     a vector of lanes of 16 bytes x each
 *   lanes(p, at)  a vector of 16 bytes from word `at` on of each of p[0], p[2], .. p[PANELS - 2]
 *   above8(x, y), above16(x0, y0, x1, y1)  pair_bits of signed x > y; the 16-bit numbers of lane l
 *                 in x0 and x1 are those of bytes 0 to 7 and 8 to 15 of the lane */
#ifndef BC_ISA_PAIRS_H
#define BC_ISA_PAIRS_H

#include "bgemm_call.h"
#include "simd.h"

#include <immintrin.h>

enum {
    NR = PANELS * 8,          /* filters in a vector */
    STEPS = 16,               /* of 4 bits in a word */
    SPREAD_WORD = STEPS * NR, /* bytes of a word of K of a vector of weights */
    UNIT = 3,                 /* most words of a round of a tile; the last one may have fewer */
    SLOT = 2 * UNIT,          /* most words that bytes add up: 192 at most */
    AT_ONCE = 9,              /* most words of K whose sums become bits without becoming 16 bits */
    BLOCK_PAIRS = 48,         /* most pairs of pixels whose tables are there at once */
    STRETCH_PAIRS = 256,      /* most pairs that share tables .. */
    STRETCH_UNITS = 1200,     /* .. and rounds of all these */
    CHOSEN_WORDS = 32 * 58    /* words of pairs whose tables are there: 50 pixels of 3x3x512 */
};

/* Sums over all of K of both pixels of a pair, modulo 2^16: x[i] + 256 y[i], then y[i], where x are
 * filters 0, 2, 4, .. and y 1, 3, 5, .. */
typedef uint16_t pair_sums[2][NR];

/* pairs_choose.h: where the tables of pairs of pixels lie in those of pairs_tile.h, in
 * bytes, for a stretch of pixels of a call; blocks of it are made one after the other. An entry is
 * a tap of a pair, or all of it. */
typedef struct pair_tables {
    const bc_bgemm_call *call;
    size_t p, m;        /* the stretch: pixels [p, p + m) */
    size_t unit, units; /* words of a round, UNIT or a tap that shares; rounds of a pair */
    size_t entry_words, per_pair; /* per pair: entries */
    size_t below;                 /* pairs from one to that under it; 0: they share nothing */
    size_t entries, at, made;     /* of the ring; where the next is written; how many were */
    const uint16_t *list[STRETCH_UNITS]; /* [pair][round]: [word][step] */
    uint16_t before[STRETCH_PAIRS];      /* made before a pair */
    uint32_t entry_odd[STRETCH_UNITS];   /* [pair][entry]: as odd */
    uint32_t odd[STRETCH_PAIRS];    /* groups of 4 bits with an odd count: pixel 0 + 2^16 pixel 1 */
    uint8_t half[STRETCH_PAIRS][2]; /* [pair][pixel]: half of odd, for AT_ONCE */
    _Alignas(64) uint16_t chosen[CHOSEN_WORDS * STEPS];
} pair_tables;

/* A rectangle of the call's output: pairs [pair, pair + pairs) of a stretch, panels [q, q +
 * panels). Of its weights, words [k, k + words) of K: vectors `stride` bytes apart, [word][step],
 * and `odd` of all of K in the same way. */
typedef struct pair_rectangle {
    const pair_tables *tables;
    size_t pair, pairs, m, q, panels; /* m: pixels */
    size_t k, words, round;           /* round: k / unit */
    const uint8_t *w, *odd;
    size_t stride;
} pair_rectangle;

/* Limits that were made last, of rows of them in turns. */
enum { LIMIT_ROWS = 8 };
typedef struct pair_limits {
    _Alignas(64) uint8_t part[LIMIT_ROWS][2][NV][2][NR]; /* [row][odd % 2][vector][part] */
    const int32_t *row[LIMIT_ROWS]; /* and first panel that they are made of; NULL: none yet */
    size_t next;                    /* to be replaced */
    const int32_t *last;
    uint8_t (*last_part)[NV][2][NR];
} pair_limits;

/* Vectors that hold so many panels. */
static BC_INLINE size_t pair_vectors(size_t panels) {
    return (panels + PANELS - 1) / PANELS;
}

/* Lanes of 16 bytes from word `at` on of p[0] and of p[2]. */
static BC_INLINE __m256i two_lanes(const uint64_t *const *p, size_t at) {
    const __m128i *low = (const __m128i *)(const void *)(p[0] + at),
                  *high = (const __m128i *)(const void *)(p[2] + at);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(*low), *high, 1);
}

static BC_INLINE V load(const void *from) {
    return *(const V *)from;
}

#endif
