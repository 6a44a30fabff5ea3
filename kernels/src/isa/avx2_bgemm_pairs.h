/* avx2_bgemm_pairs.h: the parts of the binary product by table look-up. */
#ifndef BC_ISA_AVX2_BGEMM_PAIRS_H
#define BC_ISA_AVX2_BGEMM_PAIRS_H

#include "avx2_bgemm.h"

enum {
    NR = 32,               /* filters in a vector: 4 panels */
    NV = 4,                /* most vectors in a tile, of filters times pairs of pixels */
    STEPS = 16,            /* of 4 bits in a word */
    UNIT = 3,              /* most words of a round of a tile; the last one may have fewer */
    SLOT = 2 * UNIT,       /* most words that bytes add up: 192 at most */
    AT_ONCE = 9,           /* most words of K whose sums become bits without becoming 16 bits */
    BLOCK_PAIRS = 48,      /* most pairs of pixels whose tables are there at once */
    STRETCH_PAIRS = 256,   /* most pairs that share tables .. */
    STRETCH_UNITS = 1200,  /* .. and rounds of all these */
    CHOSEN_WORDS = 32 * 58 /* words of pairs whose tables are there: 50 pixels of 3x3x512 */
};

/* Sums over all of K of both pixels of a pair, modulo 2^16: x[i] + 256 y[i], then y[i], where x are
 * filters 0, 2, 4, .. and y 1, 3, 5, .. */
typedef uint16_t bc_pair_sums[2][NR];

/* avx2_bgemm_choose.c: where the tables of pairs of pixels lie in those of avx2_bgemm_tile.h, in
 * bytes, for a stretch of pixels of a call; blocks of it are made one after the other. An entry is
 * a tap of a pair, or all of it. */
typedef struct bc_pair_tables {
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
} bc_pair_tables;

void bc_pairs_stretch__avx2(bc_pair_tables *t, const bc_bgemm_call *call, size_t p, size_t m,
                            size_t block);
/* Pairs [from, from + n) of the stretch, n <= block; an odd pixel is paired with itself. */
void bc_pairs_choose__avx2(bc_pair_tables *t, size_t from, size_t n);

/* avx2_bgemm_expand.c: words [k, k + words) of K of n <= 4 panels at w, of k_words each, as a
 * vector of 4 bits of 32 filters per step; a missing panel repeats the one before. Adds to odd how
 * many groups of 4 bits have an odd count: of panels 0 and 2, then of 1 and 3. */
void bc_pairs_weights__avx2(uint8_t *to, uint16_t odd[NR], const uint64_t *w, size_t n,
                            size_t k_words, size_t k, size_t words);

/* A rectangle of the call's output: pairs [pair, pair + pairs) of a stretch, panels [q, q +
 * panels). Of its weights, words [k, k + words) of K: vectors `stride` bytes apart, [word][step],
 * and `odd` of all of K in the same way. */
typedef struct bc_pair_rectangle {
    const bc_pair_tables *tables;
    size_t pair, pairs, m, q, panels; /* m: pixels */
    size_t k, words, round;           /* round: k / unit */
    const uint8_t *w, *odd;
    size_t stride;
} bc_pair_rectangle;

/* avx2_bgemm_sums.c: adds products to sums[pair][vector]; k == 0: writes them. */
void bc_pairs_add__avx2(const bc_pair_rectangle *part, bc_pair_sums *sums);

/* Limits that were made last, of rows of them in turns. */
enum { LIMIT_ROWS = 8 };
typedef struct bc_pair_limits {
    _Alignas(32) uint8_t part[LIMIT_ROWS][2][NV][2][NR]; /* [row][odd % 2][vector][part] */
    const int32_t *row[LIMIT_ROWS]; /* and first panel that they are made of; NULL: none yet */
    size_t next;                    /* to be replaced */
    const int32_t *last;
    uint8_t (*last_part)[NV][2][NR];
} bc_pair_limits;

/* avx2_bgemm_numbers.c: writes sums of all of K as numbers, or as bits. */
void bc_pairs_numbers__avx2(const bc_pair_rectangle *r, const bc_pair_sums *sums);
void bc_pairs_bits__avx2(const bc_pair_rectangle *r, const bc_pair_sums *sums,
                         bc_pair_limits *limits);

/* avx2_bgemm_at_once.c: all of it to bits, for K of at most AT_ONCE words, which need no sums. */
void bc_pairs_at_once__avx2(const bc_pair_rectangle *r, bc_pair_limits *limits);

#endif
