/* planes_bits.h: sums of planes_tile.h compared with limits: bits.
 *
 * With sum of g, and how many groups of 4 bits of the pixel have an odd count, a filter's bit is
 *
 *     sum + odd / 2 >= limit of its class and of odd % 2           (bc_plane_call)
 *
 * Of few steps all of this fits a byte, and the sums begin with odd / 2. */
#ifndef BC_ISA_PLANES_BITS_H
#define BC_ISA_PLANES_BITS_H

#include "planes_sums.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("no-tree-ter", "no-tree-reassoc") /* as pairs_tile.h asks for */
#endif

/* Bits come in as 0 or 255 and push those before them down: after eight, the first is the lowest.
 * The average rounds up, which changes nothing, as what it pushes out is 0 until then. */
static BC_INLINE V push_bit(V bits, V bit) {
    return BC_MM(avg_epu8)(bits, bit);
}

/* Of a few steps: where a filter's limit is above the sum. */
static BC_INLINE V below_byte(const bc_plane_limit limit, V index, V sum) {
    return greater8(BC_MM(shuffle_epi8)(repeat_at(limit[0]), index), sum);
}

/* The same of 16 bits. */
static BC_INLINE V below_word(const bc_plane_limit limit, V index, V low, V high) {
    const V a = BC_MM(shuffle_epi8)(repeat_at(limit[0]), index),
            b = BC_MM(shuffle_epi8)(repeat_at(limit[1]), index);
    return BC_MM(packs_epi16)(greater16(BC_MM(unpacklo_epi8)(a, b), low),
                              greater16(BC_MM(unpackhi_epi8)(a, b), high));
}

/* Pairs [pair, pair + np), whose sums fit bytes: their filters' bits into bits[v], 1 where below.
 */
static BC_INLINE void few_steps(const int np, const int nv, const bc_plane_call *call,
                                const plane_tile *tile, size_t lane, size_t pair, V bits[NV]) {
    V all[4], second[4];
    plane_place place = place_of(call, lane, pair);
    BC_UNROLL
    for (int c = 0; c < np * nv; c++) {
        all[c] = tile->all[c % nv];
        second[c] = tile->second[c % nv];
    }
    plane_slot(np, nv, &place, call->steps, all, second);
    BC_UNROLL
    for (int c = 0; c < np * nv; c++) {
        const int v = c % nv;
        const bc_plane_limit *limit = tile->limit[v] + 2 * (pair + (size_t)(c / nv));
        V sums[2];
        separate_halves(sums, all[c], second[c]);
        BC_UNROLL
        for (int f = 0; f < 2; f++)
            bits[v] = push_bit(bits[v], below_byte(limit[f], tile->index[v], sums[f]));
    }
}

/* The same of sums of 16 bits. */
static BC_INLINE void many_steps(const int np, const int nv, const bc_plane_call *call,
                                 const plane_tile *tile, size_t lane, size_t pair, V bits[NV]) {
    plane_sum sums[4][2];
    plane_sums(np, nv, place_of(call, lane, pair), call->steps, sums);
    BC_UNROLL
    for (int c = 0; c < np * nv; c++) {
        const int v = c % nv;
        const bc_plane_limit *limit = tile->limit[v] + 2 * (pair + (size_t)(c / nv));
        BC_UNROLL
        for (int f = 0; f < 2; f++) {
            V low, high;
            in_order(&low, &high, sums[c][f]);
            low = BC_MM(add_epi16)(low, BC_MM(srli_epi16)(tile->odd[v][0], 1));
            high = BC_MM(add_epi16)(high, BC_MM(srli_epi16)(tile->odd[v][1], 1));
            bits[v] = push_bit(bits[v], below_word(limit[f], tile->index[v], low, high));
        }
    }
}

/* Bytes of the filters of 8 panels to a word per lane. */
static BC_INLINE void words_of_lanes(uint64_t *to, const V panel[8]) {
    V two[8], four[8];
    BC_UNROLL
    for (int i = 0; i < 8; i += 2) {
        two[i] = BC_MM(unpacklo_epi8)(panel[i], panel[i + 1]);
        two[i + 1] = BC_MM(unpackhi_epi8)(panel[i], panel[i + 1]);
    }
    BC_UNROLL
    for (int i = 0; i < 4; i++) { /* of panels 0 to 3, 4 to 7 */
        const int at = i / 2 * 4 + i % 2;
        four[2 * i] = BC_MM(unpacklo_epi16)(two[at], two[at + 2]);
        four[2 * i + 1] = BC_MM(unpackhi_epi16)(two[at], two[at + 2]);
    }
    BC_UNROLL
    for (int i = 0; i < 4; i++) { /* lanes 4 i to 4 i + 3 of every 16 */
        store_lanes(to + 4 * i, 128, BC_MM(unpacklo_epi32)(four[i], four[4 + i]));
        store_lanes(to + 4 * i + 2, 128, BC_MM(unpackhi_epi32)(four[i], four[4 + i]));
    }
}

/* n bytes of every word to lanes that are outputs, lanes [from, from + lanes) of the call. */
static BC_INLINE void write_words(const bc_plane_call *call, size_t from, size_t lanes,
                                  const uint64_t *words, size_t n, uint8_t *out) {
    size_t x = call->x + from, line = x / call->line, stride = call->out_stride;
    x %= call->line;
    out += (line * call->width + bc_min(x, call->width) - call->x) * stride;
    for (size_t i = 0; i < lanes; x = 0) {
        const size_t some = x < call->width ? bc_min(call->width - x, lanes - i) : 0;
        if (n == 8 && stride == 8)
            memcpy(out, words + i, some * 8);
        else if (n == 8)
            for (size_t j = 0; j < some; j++)
                memcpy(out + j * stride, words + i + j, 8);
        else
            for (size_t j = 0; j < some; j++)
                for (size_t k = 0; k < n; k++)
                    out[j * stride + k] = (uint8_t)(words[i + j] >> 8 * k);
        out += some * stride;
        i += call->line - x;
    }
}

/* A tile of nv vectors, and all panels. */
static BC_INLINE void tau_tile(const int nv, const bool few, const bc_plane_call *call,
                               size_t lane) {
    enum { NP = 2 };
    const size_t lanes = bc_min(call->lanes - lane, (size_t)nv * LANES);
    const V one = BC_MM(set1_epi16)(1);
    plane_tile tile;
    BC_UNROLL
    for (int v = 0; v < nv; v++) {
        const size_t at = lane + (size_t)v * LANES;
        V *odd = tile.odd[v];
        count_odd(odd, call, at);
        const V half =
                    BC_MM(packus_epi16)(BC_MM(srli_epi16)(odd[0], 1), BC_MM(srli_epi16)(odd[1], 1)),
                parity = BC_MM(packus_epi16)(BC_SI (and)(odd[0], one), BC_SI (and)(odd[1], one));
        begin_halves(BC_SI(xor)(half, BC_MM(set1_epi8)((char)128)), &tile.all[v], &tile.second[v]);
        tile.index[v] = BC_SI(or)(loadu(call->classes + at), parity);
        tile.limit[v] = call->limit[at + LANES > call->turn];
    }
    for (size_t q = 0; q < call->out_bytes; q += 8) {
        _Alignas(64) uint64_t words[NV * LANES];
        V panel[8][NV];
        const size_t panels = q < call->panels ? bc_min(call->panels - q, 8) : 0;
        BC_UNROLL
        for (int i = 0; i < 8 * nv; i++)
            panel[i / nv][i % nv] = BC_SI(setzero)();
        for (size_t i = 0; i < panels; i++) {
            V bits[NV];
            BC_UNROLL
            for (int v = 0; v < nv; v++)
                bits[v] = BC_SI(setzero)();
            for (size_t pair = 0; pair < PANEL_PAIRS; pair += NP)
                (few ? few_steps : many_steps)(NP, nv, call, &tile, lane,
                                               (q + i) * PANEL_PAIRS + pair, bits);
            BC_UNROLL
            for (int v = 0; v < nv; v++)
                panel[i][v] = BC_SI(xor)(bits[v], BC_MM(set1_epi8)(-1));
        }
        for (int v = 0; v < nv; v++) {
            V of[8];
            BC_UNROLL
            for (int i = 0; i < 8; i++)
                of[i] = panel[i][v];
            words_of_lanes(words + v * LANES, of);
        }
        write_words(call, lane, lanes, words, bc_min(call->out_bytes - q, 8), call->out + q);
    }
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

#endif
