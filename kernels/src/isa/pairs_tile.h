/* pairs_tile.h: the inner loop of binary products of many pixels: a shuffle as table look-up.
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
 * depends on v and v' alone, and vpshufb looks up 32 filters at once on AVX2, 64 on AVX-512: 256 or
 * 512 multiply-accumulates of two pixels. Seven steps of 4 bits give x = a + 16 b with a, b <= 14:
 *
 *   x       = 7 vpshufb, 6 vpaddb
 *   all    += x           vpaddb
 *   second += x >> 4      vpsrlw, vpaddb
 *
 * On AVX2, 16 instructions for 7 * 256 multiply-accumulates, where sums of popcounts fit three
 * steps, 8 for 3 * 256, and a table for one pixel alone does 128 in 2. The shift is one of 16 bits,
 * so the low 4 bits of every odd byte come into the even one below it. That does no harm: with A
 * and B the sums of a and b, modulo 256,
 *
 *   odd byte:   all = A1 + 16 B1, second = B1
 *   even byte:  all = A0 + 16 B0, second = B0 + 16 A1 = B0 + 16 all1
 *
 * as 16 * 16 B1 is 0; so B0 = second0 - 16 all1, and A = all - 16 second in both.
 *
 * Tiles are a few pairs of pixels x a few vectors of filters, all the same code: NV accumulators
 * all, second and x, a table, and weights: operands in memory where one pair of pixels uses them.
 * Zen 4 loads two vectors a cycle, which 4 pixels x 64 filters of AVX2 would miss if every pair
 * loaded its weights anew. Files that include it put "no-tree-ter" in front, or compilers move
 * loads and shuffles to where their results are added, and more of them are alive than there are
 * registers. */
#ifndef BC_ISA_PAIRS_TILE_H
#define BC_ISA_PAIRS_TILE_H

#include "half_bytes.h"
#include "pairs.h"

enum { GROUP = 7, UNIT_STEPS = UNIT * STEPS };

/* g(v, u). */
#define BITS(x) (((x) & 1) + ((x) >> 1 & 1) + ((x) >> 2 & 1) + ((x) >> 3 & 1))
#define HALF(v, u) ((BITS((v) ^ (u)) - BITS(v) % 2 + BITS(u) % 2) / 2)
#define ENTRY(v, u) (HALF((v) % 16, u) + 16 * HALF((v) / 16, u))
#define ENTRY4(v, u) ENTRY(v, u), ENTRY(v, (u) + 1), ENTRY(v, (u) + 2), ENTRY(v, (u) + 3)
#define TABLE(v) {ENTRY4(v, 0), ENTRY4(v, 4), ENTRY4(v, 8), ENTRY4(v, 12)}
#define TABLE4(v) TABLE(v), TABLE((v) + 1), TABLE((v) + 2), TABLE((v) + 3)
#define TABLE16(v) TABLE4(v), TABLE4((v) + 4), TABLE4((v) + 8), TABLE4((v) + 12)
#define TABLE64(v) TABLE16(v), TABLE16((v) + 16), TABLE16((v) + 32), TABLE16((v) + 48)
/* look_up[v + 16 v'][u] */
static _Alignas(64) const uint8_t look_up[256][16] = {TABLE64(0), TABLE64(64), TABLE64(128),
                                                      TABLE64(192)};
#undef BITS
#undef HALF
#undef ENTRY
#undef ENTRY4
#undef TABLE
#undef TABLE4
#undef TABLE16
#undef TABLE64

static BC_INLINE V pair_table(const uint8_t *tables, size_t at) {
    return repeat(*(const __m128i *)(const void *)(tables + at));
}

/* What a tile reads, and where it is. */
typedef struct tile_place {
    const uint8_t *tables, *w[NV];
    const uint16_t *const *list[NV]; /* of each pair: its next round */
    size_t unit;                     /* words of a round */
} tile_place;

/* Steps [step, step + n), n <= GROUP, of all vectors side by side. */
static BC_INLINE void tile_group(const int np, const int nv, const int n, const tile_place *place,
                                 const uint16_t *const at[NV], const int step, V all[NV],
                                 V second[NV]) {
    V x[NV], wv[NV];
    BC_UNROLL
    for (int i = 0; i < n; i++) {
        BC_UNROLL
        for (int v = 0; v < nv; v++) {
            wv[v] = *(const V *)(const void *)(place->w[v] + (step + i) * NR);
            if (np > 1)
                BC_KEEP(wv[v]); /* loaded once for all pairs */
        }
        BC_UNROLL
        for (int pair = 0; pair < np; pair++) {
            const V t = pair_table(place->tables, at[pair][step + i]);
            V *xp = x + pair * nv;
            BC_UNROLL
            for (int v = 0; v < nv; v++) {
                const V y = BC_MM(shuffle_epi8)(t, wv[v]);
                xp[v] = i ? BC_MM(add_epi8)(xp[v], y) : y;
                BC_KEEP(xp[v]);
            }
        }
    }
    BC_UNROLL
    for (int c = 0; c < np * nv; c++) {
        all[c] = BC_MM(add_epi8)(all[c], x[c]);
        BC_KEEP(all[c]);
        second[c] = BC_MM(add_epi8)(second[c], BC_MM(srli_epi16)(x[c], 4));
        BC_KEEP(second[c]);
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
                                const V *begin, V all[NV], V second[NV]) {
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

/* The place of the tile at pair `pair` of a rectangle. */
static BC_INLINE void tile_begin(tile_place *place, const int np, const int nv,
                                 const pair_rectangle *r, size_t pair) {
    const pair_tables *t = r->tables;
    place->tables = look_up[0];
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
        const size_t vectors = pair_vectors((r)->panels);                                          \
        if (vectors == 1)                                                                          \
            fn(1, 1, r, fn(NV, 1, r, 0, context), context);                                        \
        else if (NV == 2)                                                                          \
            fn(1, 2, r, 0, context);                                                               \
        else if (vectors == 2)                                                                     \
            fn(1, 2, r, fn(NV / 2, 2, r, 0, context), context);                                    \
        else if (vectors == 3)                                                                     \
            fn(1, NV - 1, r, 0, context);                                                          \
        else                                                                                       \
            fn(1, NV, r, 0, context);                                                              \
    } while (0)

#endif
