/* pairs_at_once.h: binary products of at most 576 bits, compared with limits as bytes, so that
 * they never become 16 bits.
 *
 * The sum of a pixel is r0 + z: r0 <= 192 of the first 6 words, z <= 96 + 72 of the other three and
 * of half its odd groups. With T, the least sum that is above the limit, in parts c0 + c1,
 *
 *     r0 + z >= T  <=>  r0 - c0 >= c1 - z
 *
 * and saturated bytes do for it: c0 = min(T, 128). For T >= 128, r0 - c0 is in -128..64 and c1 - z
 * saturates only where the answer is clear; below, c1 is 0, so c1 - z <= 0, and r0 - c0 >= -127. */
#ifndef BC_ISA_PAIRS_AT_ONCE_H
#define BC_ISA_PAIRS_AT_ONCE_H

#include "pairs_tile.h"
#include "pairs_limits.h"

#include <string.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("no-tree-ter", "no-tree-reassoc") /* as pairs_tile.h asks for */
#endif

enum { BEGIN = 128, NEVER = 192 + 96 + 72 + 1 };

/* T, as limit_vector has them. */
static BC_INLINE V switch_points(const int16_t limit[NR / 2]) {
    const V t = BC_MM(adds_epi16)(load(limit), BC_MM(set1_epi16)(1));
    return BC_MM(min_epi16)(BC_MM(max_epi16)(t, BC_SI(setzero)()), BC_MM(set1_epi16)(NEVER));
}

static void make_parts(uint8_t to[NV][2][NR], const pair_rectangle *r, const int32_t *row,
                       int parity) {
    const V most = BC_MM(set1_epi16)(128), begin = BC_MM(set1_epi8)((char)BEGIN);
    for (size_t v = 0; v < pair_vectors(r->panels); v++) {
        _Alignas(64) int16_t limit[2][NR / 2];
        limit_vector(limit, r, v, row, parity);
        const V x = switch_points(limit[0]), y = switch_points(limit[1]),
                x0 = BC_MM(min_epi16)(x, most), y0 = BC_MM(min_epi16)(y, most),
                x1 = BC_MM(sub_epi16)(x, x0), y1 = BC_MM(sub_epi16)(y, y0);
        BC_SI(store)((V *)(void *)to[v][0], BC_SI(xor)(BC_MM(packus_epi16)(x0, y0), begin));
        BC_SI(store)((V *)(void *)to[v][1], BC_SI(xor)(BC_MM(packus_epi16)(x1, y1), begin));
    }
}

/* Sums of a pixel that began with BEGIN. */
static BC_INLINE pair_bits bits_of(V r0, V r1, V half, uint8_t limit[2][NR]) {
    const V z = BC_MM(add_epi8)(r1, half), u = BC_MM(subs_epi8)(r0, load(limit[0])),
            q = BC_MM(subs_epi8)(load(limit[1]), z);
    return ~above8(q, u);
}

/* The bits of n panels. */
static BC_INLINE void store_bits(uint8_t *out, pair_bits bits, size_t n) {
    if (n == PANELS) {
        memcpy(out, &bits, PANELS);
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(bits >> 8 * i);
}

typedef struct once_context {
    pair_limits *limits;
    size_t last; /* panels of the last vector */
} once_context;

static BC_INLINE size_t once_tiles(const int np, const int nv, const pair_rectangle *r, size_t pair,
                                   const once_context *to) {
    const bc_bgemm_call *call = r->tables->call;
    const V begin = BC_MM(set1_epi8)((char)BEGIN), *beginning = &begin;
    const size_t words = bc_min(r->words, SLOT);
    for (; pair + (size_t)np <= r->pairs; pair += (size_t)np) {
        V all[NV], second[NV], first[NV][2];
        tile_place place;
        tile_begin(&place, np, nv, r, pair);
        BC_KEEP_R(beginning); /* not in a register during the rounds */
        tile_slot(np, nv, &place, words, beginning, all, second);
        BC_UNROLL
        for (int c = 0; c < np * nv; c++)
            separate_halves(first[c], all[c], second[c]);
        tile_slot(np, nv, &place, r->words - words, beginning, all, second);
        BC_UNROLL
        for (int c = 0; c < np * nv; c += nv) {
            V rest[NV][2];
            BC_UNROLL
            for (int v = 0; v < nv; v++)
                separate_halves(rest[v], all[c + v], second[c + v]);
            const size_t i = pair + (size_t)(c / nv), at = r->pair + i;
            const int32_t *const *row = call->limit + r->tables->p + 2 * at;
            uint8_t *out = call->out + (r->tables->p + 2 * at) * call->out_stride + r->q;
            const uint8_t *halves = r->tables->half[at];
            const uint32_t odd = r->tables->odd[at];
            BC_UNROLL
            for (size_t j = 0; j < 2; j++, out += call->out_stride) {
                if (2 * i + j == r->m)
                    break;
                const V half = BC_MM(set1_epi8)((char)halves[j]);
                uint8_t (*limit)[2][NR] =
                    limit_of(to->limits, r, row[j], odd >> 16 * j, make_parts);
                BC_UNROLL
                for (int v = 0; v < nv; v++)
                    store_bits(out + PANELS * v,
                               bits_of(first[c + v][j], rest[v][j], half, limit[v]),
                               v + 1 < nv ? PANELS : to->last);
            }
        }
    }
    return pair;
}

static void pairs_at_once(const pair_rectangle *r, pair_limits *limits) {
    const once_context to = {limits, (r->panels - 1) % PANELS + 1};
    BC_TILES(once_tiles, r, &to);
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

#endif
