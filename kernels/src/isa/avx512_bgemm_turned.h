/* avx512_bgemm_turned.h: the tile for many pixels of few words, where what is left per tile counts.
 *
 * Weights are turned once per call: a vector holds half a word of 16 filters, not a word of 8. So
 * sums are int32 of 16 filters from the start, and no `vpermt2d` has to make them, which costs
 * twice what an addition does, because only two of the four ports can do it, and one of these
 * counts bits. The instructions of the product are the same. Tile: 7 pixels x 32 filters. */
#ifndef BC_ISA_AVX512_BGEMM_TURNED_H
#define BC_ISA_AVX512_BGEMM_TURNED_H

#include "avx512_bgemm.h"

#include <string.h>

BC_TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512vpopcntdq")

enum { TURNED_WORDS = 18, TURNED_NR = 2 * NR, TURNED_LEAST = 6 };

/* Turning a panel's word costs some four cycles, and saves about as many in every tile. Of
 * TURNED_LEAST tiles, all have 6 or 7 pixels, so there are no others. */
static inline bool turning_pays(size_t m, size_t panels, size_t words) {
    const size_t cuts = (m + MR - 1) / MR;
    return panels > 1 && words <= TURNED_WORDS && cuts >= TURNED_LEAST && cuts > words;
}

typedef struct turned {
    size_t taps, skip, end; /* half words [skip, end) under every tap */
    const uint32_t *w;      /* [half words][nq][16] */
} turned;

/* Of 2 nq panels. */
static BC_INLINE void turn(const int nq, size_t words, const uint64_t *w, uint32_t *to) {
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    for (size_t i = 0; i < words; i++, w += NR, to += 2 * nq * TURNED_NR) {
        BC_UNROLL
        for (int q = 0; q < nq; q++) {
            const uint64_t *from = w + (size_t)(2 * q) * words * NR;
            const __m512i low = _mm512_load_si512((const void *)from),
                          high = _mm512_load_si512((const void *)(from + words * NR));
            _mm512_store_si512((void *)(to + q * TURNED_NR),
                               _mm512_permutex2var_epi32(low, even, high));
            _mm512_store_si512((void *)(to + (nq + q) * TURNED_NR),
                               _mm512_permutex2var_epi32(low, odd, high));
        }
    }
}

/* Half a word of a tile: xor, popcount, add. */
static BC_INLINE void half_word(const int mr, const int nq, const bool first, const uint64_t *x[MR],
                                size_t i, const uint32_t *w, __m512i sum[MR][2]) {
    __m512i v[2];
    BC_UNROLL
    for (int q = 0; q < nq; q++)
        v[q] = _mm512_load_si512((const void *)(w + q * TURNED_NR));
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        int32_t half;
        memcpy(&half, (const char *)x[r] + i * sizeof half, sizeof half);
        __m512i xr = _mm512_set1_epi32(half);
        BC_KEEP_V(xr);
        BC_UNROLL
        for (int q = 0; q < nq; q++) {
            const __m512i bits = _mm512_popcnt_epi32(_mm512_xor_si512(xr, v[q]));
            sum[r][q] = first ? bits : _mm512_add_epi32(sum[r][q], bits);
            BC_KEEP_V(sum[r][q]);
        }
    }
}

/* All products of a tile. */
static BC_INLINE void accumulate_turned(const int mr, const int nq, const turned *with,
                                        const uint64_t *const *a, __m512i sum[MR][2]) {
    BC_KEEP_R(with);
    const uint32_t *w = with->w;
    const uint64_t *x[MR];
    size_t i = with->skip;
    point(mr, with->taps, a, x);
    half_word(mr, nq, true, x, i++, w, sum);
    for (size_t t = 0;; i = with->skip) {
        BC_KEEP_R(with);
        for (; i < with->end; i++) {
            w += nq * TURNED_NR;
            half_word(mr, nq, false, x, i, w, sum);
        }
        if (++t == with->taps)
            break;
        point(mr, with->taps, a + t, x);
    }
}

/* avx512_bgemm_turned.c: bgemm_tau where turning pays, of all panels but an odd last one; returns
 * how many these are. */
size_t bc_bgemm_tau_turned(size_t m, size_t panels, size_t taps, size_t cw,
                           const uint64_t *const *a, size_t skip, const uint64_t *w,
                           const int32_t *const *limit, uint8_t *out, size_t out_stride);

BC_TARGET_END

#endif
