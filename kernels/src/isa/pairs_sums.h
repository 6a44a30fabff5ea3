/* pairs_sums.h: binary products by table look-up, added up in 16 bits. */
#ifndef BC_ISA_PAIRS_SUMS_H
#define BC_ISA_PAIRS_SUMS_H

#include "pairs_tile.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("no-tree-ter", "no-tree-reassoc") /* as pairs_tile.h asks for */
#endif

/* Bytes of both pixels to their sums. */
static BC_INLINE void add_pair(pair_sums sums, V all, V second, bool first) {
    V bytes[2];
    separate_halves(bytes, all, second);
    BC_UNROLL
    for (int pixel = 0; pixel < 2; pixel++) {
        V *to = (V *)(void *)sums[pixel], both = bytes[pixel], odd = BC_MM(srli_epi16)(both, 8);
        if (!first) {
            both = BC_MM(add_epi16)(both, to[0]);
            odd = BC_MM(add_epi16)(odd, to[1]);
        }
        BC_SI(store)(to, both);
        BC_SI(store)(to + 1, odd);
    }
}

static BC_INLINE size_t sum_tiles(const int np, const int nv, const pair_rectangle *r, size_t pair,
                                  pair_sums *sums) {
    const V zero = BC_SI(setzero)();
    for (; pair + (size_t)np <= r->pairs; pair += (size_t)np) {
        V all[NV], second[NV];
        tile_place place;
        tile_begin(&place, np, nv, r, pair);
        tile_slot(np, nv, &place, r->words, &zero, all, second);
        pair_sums *to = sums + pair * (size_t)nv;
        if (r->k == 0) {
            BC_UNROLL
            for (int c = 0; c < np * nv; c++)
                add_pair(to[c], all[c], second[c], true);
        } else {
            BC_UNROLL
            for (int c = 0; c < np * nv; c++)
                add_pair(to[c], all[c], second[c], false);
        }
    }
    return pair;
}

static void pairs_add(const pair_rectangle *part, pair_sums *sums) {
    BC_TILES(sum_tiles, part, sums);
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

#endif
