/* pairs_expand.h: weights of the binary product by table look-up, pairs_tile.h: filters
 * to vectors of 4 bits each. */
#ifndef BC_ISA_PAIRS_EXPAND_H
#define BC_ISA_PAIRS_EXPAND_H

#include "half_bytes.h"
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
    for (size_t j = 0; j < PANELS; j++)
        p[j] = w + bc_min(j, n - 1) * k_words * 8;
    for (const size_t end = k + words; k < end; k++, to += STEPS * NR) {
        V eight[2][4], bits[STEPS]; /* panels 0, 2, .. in the lanes, panels 1, 3, .. */
        BC_UNROLL
        for (size_t i = 0; i < 8; i++)
            eight[i / 4][i % 4] = lanes(p + i / 4, k * 8 + 2 * (i % 4));
        add_bytes(odd, turn_words(bits, STEPS, (const V(*)[4])eight));
        BC_UNROLL
        for (int i = 0; i < STEPS; i++) /* the lower halves of the word's bytes, then the upper */
            BC_SI(store)((V *)(void *)(to + (i % 2 * 8 + i / 2) * NR), bits[i]);
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
