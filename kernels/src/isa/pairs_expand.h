/* pairs_expand.h: weights of the binary product by table look-up, pairs_tile.h: filters
 * to vectors of 4 bits each. */
#ifndef BC_ISA_PAIRS_EXPAND_H
#define BC_ISA_PAIRS_EXPAND_H

#include "pairs.h"

#include <string.h>

/* Adds bytes of filters to 16 bits: panels 0, 2, .. then 1, 3, .. */
static BC_INLINE void add_bytes(uint16_t sums[NR], V bytes) {
    const V zero = BC_SI(setzero)();
    V *to = (V *)(void *)sums;
    BC_SI(store)(to, BC_MM(add_epi16)(*to, BC_MM(unpacklo_epi8)(bytes, zero)));
    BC_SI(store)(to + 1, BC_MM(add_epi16)(to[1], BC_MM(unpackhi_epi8)(bytes, zero)));
}

/* Words [k, k + words) of K of n <= PANELS panels at w, of k_words each, as a vector of 4 bits of
 * NR filters per step; a missing panel repeats the last. Adds to odd how many groups of 4 bits have
 * an odd count: of panels 0, 2, .., then of 1, 3, .. */
static void pairs_weights(uint8_t *to, uint16_t odd[NR], const uint64_t *w, size_t n,
                          size_t k_words, size_t k, size_t words) {
    const uint64_t *p[PANELS];
    /* >> 4 by a multiplication: the ports of shifts are those of shuffles, of which there are many
     */
    const V nibble = BC_MM(set1_epi8)(15), shift = BC_MM(set1_epi16)(1 << 12);
    const V zip = repeat(_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    const V is_odd = repeat(_mm_setr_epi8(0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0));
    for (size_t j = 0; j < PANELS; j++)
        p[j] = w + bc_min(j, n - 1) * k_words * 8;
    for (const size_t end = k + words; k < end; k++, to += STEPS * NR) {
        V bytes[2][4]; /* panels 0, 2, .. in the lanes, panels 1, 3, .. */
        BC_UNROLL
        for (int q = 0; q < 2; q++) {
            V two[4], four[4];
            BC_UNROLL
            for (int i = 0; i < 4; i++) /* filters 2i, 2i + 1, their bytes alternating */
                two[i] = BC_MM(shuffle_epi8)(lanes(p + q, k * 8 + 2 * (size_t)i), zip);
            BC_UNROLL
            for (int i = 0; i < 4; i += 2) {
                four[i] = BC_MM(unpacklo_epi16)(two[i], two[i + 1]);
                four[i + 1] = BC_MM(unpackhi_epi16)(two[i], two[i + 1]);
            }
            BC_UNROLL
            for (int i = 0; i < 2; i++) { /* bytes 4i, 4i + 1 | 4i + 2, 4i + 3 of all eight */
                bytes[q][2 * i] = BC_MM(unpacklo_epi32)(four[i], four[i + 2]);
                bytes[q][2 * i + 1] = BC_MM(unpackhi_epi32)(four[i], four[i + 2]);
            }
        }
        V sum = BC_SI(setzero)();
        BC_UNROLL
        for (size_t i = 0; i < 8; i++) {
            const V a = bytes[0][i / 2], b = bytes[1][i / 2];
            const V byte = i % 2 ? BC_MM(unpackhi_epi64)(a, b) : BC_MM(unpacklo_epi64)(a, b);
            const V low = BC_SI (and)(byte, nibble),
                    high = BC_SI (and)(BC_MM(mulhi_epu16)(byte, shift), nibble);
            BC_SI(store)((V *)(void *)(to + i * NR), low);
            BC_SI(store)((V *)(void *)(to + (i + 8) * NR), high);
            sum = BC_MM(add_epi8)(sum, BC_MM(add_epi8)(BC_MM(shuffle_epi8)(is_odd, low),
                                                       BC_MM(shuffle_epi8)(is_odd, high)));
        }
        add_bytes(odd, sum);
    }
}

static void pairs_spread(size_t panels, size_t k_words, const uint64_t *w, void *to) {
    uint8_t *out = to;
    for (size_t q = 0; q < panels; q += PANELS, out += (k_words + 1) * SPREAD_WORD) {
        _Alignas(64) uint16_t odd[NR] = {0};
        pairs_weights(out, odd, w + q * k_words * 8, bc_min(PANELS, panels - q), k_words, 0,
                      k_words);
        memcpy(out + k_words * SPREAD_WORD, odd, sizeof odd);
    }
}

#endif
