/* half_bytes.h: vectors whose bytes hold two numbers of 4 bits, and words turned to such: what
 * products by table look-up share, whichever of pixels and filters have the tables (pairs_tile.h,
 * planes.h). V, BC_MM and BC_SI as there. */
#ifndef BC_ISA_HALF_BYTES_H
#define BC_ISA_HALF_BYTES_H

#include "simd.h"

#include <immintrin.h>

/* From sums modulo 256 as pairs_tile.h has them, those of the lower and of the upper halves. */
static BC_INLINE void separate_halves(V sums[2], V all, V second) {
    const V high = BC_MM(set1_epi8)((char)0xf0), even = BC_MM(set1_epi16)(0xf0);
    const V b = BC_SI (and)(BC_MM(slli_epi16)(second, 4), high),
            a = BC_SI (and)(BC_MM(srli_epi16)(all, 4), even);
    sums[0] = BC_MM(sub_epi8)(all, b);
    sums[1] = BC_MM(sub_epi8)(second, a);
}

/* What separate_halves takes to x and x. */
static BC_INLINE void begin_halves(V x, V *all, V *second) {
    const V high = BC_MM(set1_epi8)((char)0xf0), even = BC_MM(set1_epi16)(0xf0);
    *all = BC_MM(add_epi8)(x, BC_SI (and)(BC_MM(slli_epi16)(x, 4), high));
    *second = BC_MM(add_epi8)(x, BC_SI (and)(BC_MM(srli_epi16)(*all, 4), even));
}

/* words[q][i]: in each 16 bytes, words 2 i, 2 i + 1 of eight; q: of the first eight of 16, of the
 * others. to[i]: byte i / 2 of all 16, its lower half for even i, its upper half for odd i; for
 * i < n. Returns how many of these have an odd count. */
static BC_INLINE V turn_words(V *to, const int n, const V words[2][4]) {
    /* >> 4 by a multiplication: the ports of shifts are those of shuffles, of which there are many
     */
    const V nibble = BC_MM(set1_epi8)(15), shift = BC_MM(set1_epi16)(1 << 12);
    const V zip = repeat(_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    const V is_odd = repeat(_mm_setr_epi8(0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0));
    V bytes[2][4], odd = BC_SI(setzero)();
    BC_UNROLL
    for (int q = 0; q < 2; q++) {
        V two[4], four[4];
        BC_UNROLL
        for (int i = 0; i < 4; i++) /* words 2 i, 2 i + 1, their bytes alternating */
            two[i] = BC_MM(shuffle_epi8)(words[q][i], zip);
        BC_UNROLL
        for (int i = 0; i < 4; i += 2) {
            four[i] = BC_MM(unpacklo_epi16)(two[i], two[i + 1]);
            four[i + 1] = BC_MM(unpackhi_epi16)(two[i], two[i + 1]);
        }
        BC_UNROLL
        for (int i = 0; i < 2; i++) { /* bytes 4 i, 4 i + 1 | 4 i + 2, 4 i + 3 of all eight */
            bytes[q][2 * i] = BC_MM(unpacklo_epi32)(four[i], four[i + 2]);
            bytes[q][2 * i + 1] = BC_MM(unpackhi_epi32)(four[i], four[i + 2]);
        }
    }
    BC_UNROLL
    for (int i = 0; i < n; i += 2) {
        const V a = bytes[0][i / 4], b = bytes[1][i / 4];
        const V byte = i / 2 % 2 ? BC_MM(unpackhi_epi64)(a, b) : BC_MM(unpacklo_epi64)(a, b);
        to[i] = BC_SI (and)(byte, nibble);
        to[i + 1] = BC_SI (and)(BC_MM(mulhi_epu16)(byte, shift), nibble);
        odd = BC_MM(add_epi8)(odd, BC_MM(add_epi8)(BC_MM(shuffle_epi8)(is_odd, to[i]),
                                                   BC_MM(shuffle_epi8)(is_odd, to[i + 1])));
    }
    return odd;
}

#endif
