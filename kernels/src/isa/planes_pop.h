/* planes_pop.h: sums of planes_tile.h as rows of numbers. */
#ifndef BC_ISA_PLANES_POP_H
#define BC_ISA_PLANES_POP_H

#include "planes_sums.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("no-tree-ter", "no-tree-reassoc") /* as pairs_tile.h asks for */
#endif

/* 2 sum + odd - filter's odd: the count of bits that differ. */
static BC_INLINE V whole(V sum, V odd, V own) {
    return BC_MM(add_epi16)(BC_MM(add_epi16)(sum, sum), BC_MM(sub_epi16)(odd, own));
}

/* Counts of pairs [pair, pair + np): filter[v][low, high][filter of the panel]. */
static BC_INLINE void pop_pairs(const int np, const int nv, const bool one_slot,
                                const bc_plane_call *call, const plane_tile *tile, size_t lane,
                                size_t pair, V filter[NV][2][8]) {
    const V zero = BC_SI(setzero)();
    plane_sum sums[4][2];
    V bytes[4][2];
    if (one_slot)
        slot_sums(np, nv, place_of(call, lane, pair), call->steps, bytes);
    else
        plane_sums(np, nv, place_of(call, lane, pair), call->steps, sums);
    BC_UNROLL
    for (int i = 0; i < 2 * np * nv; i++) {
        const int c = i / 2, v = c % nv;
        const size_t f = 2 * (pair + (size_t)(c / nv)) + (size_t)(i % 2), at = f % BC_PANEL_BINARY;
        const V own = BC_MM(set1_epi16)((short)call->filter_odd[f]);
        V low, high;
        if (one_slot) {
            low = BC_MM(unpacklo_epi8)(bytes[c][i % 2], zero);
            high = BC_MM(unpackhi_epi8)(bytes[c][i % 2], zero);
        } else {
            in_order(&low, &high, sums[c][i % 2]);
        }
        filter[v][0][at] = whole(low, tile->odd[v][0], own);
        filter[v][1][at] = whole(high, tile->odd[v][1], own);
    }
}

/* Numbers of the 8 filters of a panel, of 8 lanes in each 16 bytes, to rows of 8. */
static BC_INLINE void rows_of_lanes(int16_t (*to)[8], const V filter[8]) {
    V two[8], four[8];
    BC_UNROLL
    for (int i = 0; i < 8; i += 2) {
        two[i] = BC_MM(unpacklo_epi16)(filter[i], filter[i + 1]);
        two[i + 1] = BC_MM(unpackhi_epi16)(filter[i], filter[i + 1]);
    }
    BC_UNROLL
    for (int i = 0; i < 4; i++) { /* of filters 0 to 3, 4 to 7 */
        const int at = i / 2 * 4 + i % 2;
        four[2 * i] = BC_MM(unpacklo_epi32)(two[at], two[at + 2]);
        four[2 * i + 1] = BC_MM(unpackhi_epi32)(two[at], two[at + 2]);
    }
    BC_UNROLL
    for (int i = 0; i < 4; i++) { /* lanes 2 i, 2 i + 1 of every 8 */
        store_lanes(to + 2 * i, 256, BC_MM(unpacklo_epi64)(four[i], four[4 + i]));
        store_lanes(to + 2 * i + 1, 256, BC_MM(unpackhi_epi64)(four[i], four[4 + i]));
    }
}

/* Rows of a panel to lanes that are outputs, as write_words. */
static BC_INLINE void write_rows(const bc_plane_call *call, size_t from, size_t lanes,
                                 const int16_t (*rows)[8], int32_t *pop) {
    size_t x = call->x + from, line = x / call->line;
    x %= call->line;
    pop += (line * call->width + bc_min(x, call->width) - call->x) * call->ld;
    for (size_t i = 0; i < lanes; x = 0) {
        const size_t some = x < call->width ? bc_min(call->width - x, lanes - i) : 0;
        for (size_t j = 0; j < some; j++, pop += call->ld)
            _mm256_storeu_si256(
                (__m256i *)(void *)pop,
                _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(const void *)rows[i + j])));
        i += call->line - x;
    }
}

static BC_INLINE void pop_tile(const int nv, const bool one_slot, const bc_plane_call *call,
                               size_t lane) {
    enum { NP = 2 };
    const size_t lanes = bc_min(call->lanes - lane, (size_t)nv * LANES);
    plane_tile tile;
    for (int v = 0; v < nv; v++)
        count_odd(tile.odd[v], call, lane + (size_t)v * LANES);
    for (size_t q = 0; q < call->panels; q++) {
        _Alignas(64) int16_t rows[NV * LANES][8];
        V filter[NV][2][8];
        for (size_t pair = 0; pair < PANEL_PAIRS; pair += NP)
            pop_pairs(NP, nv, one_slot, call, &tile, lane, q * PANEL_PAIRS + pair, filter);
        for (int v = 0; v < nv; v++) {
            rows_of_lanes(rows + v * LANES, filter[v][0]);
            rows_of_lanes(rows + v * LANES + 8, filter[v][1]);
        }
        write_rows(call, lane, lanes, (const int16_t (*)[8])rows, call->pop + q * 8);
    }
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

#endif
