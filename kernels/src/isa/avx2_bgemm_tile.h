/* avx2_bgemm_tile.h: the inner loop of binary products of many pixels: a shuffle as table look-up.
 *
 * Let v be 4 activation bits of a pixel and u the same 4 bits of a filter. Both p = popcount(v ^ u)
 * and odd(v) + odd(u), where odd() tells whether a count is odd, are odd or are not; so
 *
 *     g = (p - odd(v) + odd(u)) / 2
 *
 * is an integer, and always 0, 1 or 2: where v = u it is 0, and as each further bit in which u
 * differs adds 1 to p and turns odd(u), every second one adds 1 to g. The sums of odd(v) and odd(u)
 * over K belong to the pixel and to the filter alone, and are made once; what is left to add up are
 * numbers up to 2, not 4:
 *
 *     sum of p = 2 * sum of g + sum of odd(v) - sum of odd(u)
 *
 * With v' of the neighbouring pixel, g(v, u) + 16 g(v', u) is entry u of a 16-byte table that
 * depends on v and v' alone, and vpshufb looks up 32 filters at once: 256 multiply-accumulates of
 * two pixels. Seven steps of 4 bits give x = a + 16 b with a, b <= 14:
 *
 *   x       = 7 vpshufb, 6 vpaddb
 *   all    += x           vpaddb
 *   second += x >> 4      vpsrlw, vpaddb
 *
 * 16 instructions for 7 * 256 multiply-accumulates, where sums of popcounts fit three steps, 8 for
 * 3 * 256, and a table for one pixel alone does 128 in 2. The shift is one of 16 bits, so the
 * low 4 bits of every odd byte come into the even one below it. That does no harm: with A and B the
 * sums of a and b, modulo 256,
 *
 *   odd byte:   all = A1 + 16 B1, second = B1
 *   even byte:  all = A0 + 16 B0, second = B0 + 16 A1 = B0 + 16 all1
 *
 * as 16 * 16 B1 is 0; so B0 = second0 - 16 all1, and A = all - 16 second in both.
 *
 * Tile: 2 pixels x 128 filters, 4 pixels x 64, or 8 x 32, all the same code: NV accumulators all,
 * second and x, a table, and weights: operands in memory where one pair of pixels uses them. Zen 4
 * loads two vectors a cycle, which 4 x 64 would miss if every pair loaded its weights anew.
 * Files that include it put "no-tree-ter" in front, or compilers move loads and shuffles to where
 * their results are added, and more of them are alive than there are registers. */
#ifndef BC_ISA_AVX2_BGEMM_TILE_H
#define BC_ISA_AVX2_BGEMM_TILE_H

#include "avx2_bgemm_pairs.h"

#include <immintrin.h>

enum { GROUP = 7, UNIT_STEPS = UNIT * STEPS };

/* bc_pair_table__avx2[v + 16 v'][u] */
extern const uint8_t bc_pair_table__avx2[256][16];

static BC_INLINE __m256i pair_table(const uint8_t *tables, size_t at) {
    return _mm256_broadcastsi128_si256(*(const __m128i *)(const void *)(tables + at));
}

/* What a tile reads, and where it is. */
typedef struct tile_place {
    const uint8_t *tables, *w[NV];
    const uint16_t *const *list[NV]; /* of each pair: its next round */
    size_t unit;                     /* words of a round */
} tile_place;

/* Steps [step, step + n), n <= GROUP, of all vectors side by side. */
static BC_INLINE void tile_group(const int np, const int nv, const int n, const tile_place *place,
                                 const uint16_t *const at[NV], const int step, __m256i all[NV],
                                 __m256i second[NV]) {
    __m256i x[NV], wv[NV];
    BC_UNROLL
    for (int i = 0; i < n; i++) {
        BC_UNROLL
        for (int v = 0; v < nv; v++) {
            wv[v] = *(const __m256i *)(const void *)(place->w[v] + (step + i) * NR);
            if (np > 1)
                BC_KEEP_X(wv[v]); /* loaded once for all pairs */
        }
        BC_UNROLL
        for (int pair = 0; pair < np; pair++) {
            const __m256i t = pair_table(place->tables, at[pair][step + i]);
            __m256i *xp = x + pair * nv;
            BC_UNROLL
            for (int v = 0; v < nv; v++) {
                const __m256i y = _mm256_shuffle_epi8(t, wv[v]);
                xp[v] = i ? _mm256_add_epi8(xp[v], y) : y;
                BC_KEEP_X(xp[v]);
            }
        }
    }
    BC_UNROLL
    for (int c = 0; c < np * nv; c++) {
        all[c] = _mm256_add_epi8(all[c], x[c]);
        BC_KEEP_X(all[c]);
        second[c] = _mm256_add_epi8(second[c], _mm256_srli_epi16(x[c], 4));
        BC_KEEP_X(second[c]);
    }
}

/* The next `steps` of the weights. What is kept would else become a register for every address. */
static BC_INLINE void tile_advance(const int nv, const int steps, tile_place *place) {
    BC_UNROLL
    for (int v = 0; v < nv; v++) {
        place->w[v] += steps * NR;
        BC_KEEP_R(place->w[v]);
    }
}

static BC_INLINE void tile_tables(const int np, tile_place *place, const uint16_t *at[NV]) {
    BC_UNROLL
    for (int pair = 0; pair < np; pair++) {
        at[pair] = *place->list[pair]++;
        BC_KEEP_R(at[pair]);
    }
}

/* The next `words` <= SLOT words of K: all and second, which both begin with `begin`,
 * a multiple of 16: it stays what it is in both sums. */
static BC_INLINE void tile_slot(const int np, const int nv, tile_place *place, size_t words,
                                const __m256i *begin, __m256i all[NV], __m256i second[NV]) {
    const uint16_t *at[NV];
    BC_UNROLL
    for (int c = 0; c < np * nv; c++)
        all[c] = second[c] = *begin;
    const size_t whole = place->unit == UNIT ? UNIT : SLOT + 1;
    for (; words >= whole; words -= UNIT) {
        tile_tables(np, place, at);
        BC_UNROLL
        for (int step = 0; step < UNIT_STEPS; step += GROUP)
            tile_group(np, nv, step + GROUP <= UNIT_STEPS ? GROUP : UNIT_STEPS % GROUP, place, at,
                       step, all, second);
        tile_advance(nv, UNIT_STEPS, place);
    }
    while (words) {
        size_t n = bc_min(words, place->unit);
        words -= n;
        tile_tables(np, place, at);
        do {
            tile_group(np, nv, 6, place, at, 0, all, second);
            tile_group(np, nv, 5, place, at, 6, all, second);
            tile_group(np, nv, 5, place, at, 11, all, second);
            tile_advance(nv, STEPS, place);
            BC_UNROLL
            for (int pair = 0; pair < np; pair++) {
                at[pair] += STEPS;
                BC_KEEP_R(at[pair]);
            }
        } while (--n);
    }
}

/* Sums of both pixels, filters in order. */
static BC_INLINE void tile_separate(__m256i sums[2], __m256i all, __m256i second) {
    const __m256i high = _mm256_set1_epi8((char)0xf0), even = _mm256_set1_epi16(0xf0);
    const __m256i b = _mm256_and_si256(_mm256_slli_epi16(second, 4), high),
                  a = _mm256_and_si256(_mm256_srli_epi16(all, 4), even);
    sums[0] = _mm256_sub_epi8(all, b);
    sums[1] = _mm256_sub_epi8(second, a);
}

/* The place of the tile at pair `pair` of a rectangle. */
static BC_INLINE void tile_begin(tile_place *place, const int np, const int nv,
                                 const bc_pair_rectangle *r, size_t pair) {
    const bc_pair_tables *t = r->tables;
    place->tables = bc_pair_table__avx2[0];
    place->unit = t->unit;
    BC_UNROLL
    for (int v = 0; v < nv; v++)
        place->w[v] = r->w + (size_t)v * r->stride;
    BC_UNROLL
    for (int i = 0; i < np; i++)
        place->list[i] = t->list + (r->pair + pair + (size_t)i) * t->units + r->round;
}

/* fn(np, nv, r, from, context) does whole tiles of np pairs and nv vectors of filters from pair
 * `from` on, and returns where they end. This does all pairs of r, the last ones one by one. */
#define BC_TILES(fn, r, context)                                                                   \
    do {                                                                                           \
        switch (((r)->panels + 3) / 4) {                                                           \
        case 1:                                                                                    \
            fn(1, 1, r, fn(4, 1, r, 0, context), context);                                         \
            break;                                                                                 \
        case 2:                                                                                    \
            fn(1, 2, r, fn(2, 2, r, 0, context), context);                                         \
            break;                                                                                 \
        case 3:                                                                                    \
            fn(1, 3, r, 0, context);                                                               \
            break;                                                                                 \
        default:                                                                                   \
            fn(1, 4, r, 0, context);                                                               \
        }                                                                                          \
    } while (0)

#endif
