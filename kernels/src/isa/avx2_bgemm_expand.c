/* avx2_bgemm_expand.c: operands of the binary product by table look-up, avx2_bgemm_tile.c: pixels
 * to numbers of tables, filters to vectors of 4 bits each. */
#include "avx2_bgemm_pairs.h"

#include <immintrin.h>

BC_TARGET_BEGIN("avx2")

/* The tables of a word of x and a word of y: v in bits 4 to 7, v' in bits 8 to 11 of where one lies
 * (avx2_bgemm_tile.c). Steps 0..7 are the low halves of the word's bytes, 8..15 the high ones. */
static BC_INLINE void choose_word(uint16_t *to, uint64_t x, uint64_t y) {
    const __m256i high = _mm256_set1_epi8((char)0xf0), join = _mm256_set1_epi16(1 + (16 << 8)),
                  shift = _mm256_setr_epi32(4, 4, 4, 4, 0, 0, 0, 0);
    __m256i both = _mm256_unpacklo_epi8(_mm256_set1_epi64x((long long)x),
                                        _mm256_set1_epi64x((long long)y)); /* twice */
    both = _mm256_and_si256(_mm256_sllv_epi32(both, shift), high);
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_maddubs_epi16(both, join));
}

/* `cw` words, one after the other. */
static BC_INLINE uint16_t *choose_words(uint16_t *restrict to, const size_t cw, const uint64_t *x,
                                        const uint64_t *y) {
    for (size_t i = 0; i < cw; i++, to += STEPS)
        choose_word(to, x[i], y[i]);
    return to;
}

void bc_pairs_choose__avx2(uint16_t *to, size_t m, size_t taps, size_t cw, const uint64_t *const *a,
                           size_t skip) {
    for (size_t p = 0; p < m; p += 2, a += 2 * taps) {
        const uint64_t *const *x = a, *const *y = p + 1 < m ? a + taps : a;
        for (size_t t = 0; t < taps; t++)
            to = cw == 3 ? choose_words(to, 3, x[t] + skip, y[t] + skip)
                         : choose_words(to, cw, x[t] + skip, y[t] + skip);
    }
}

void bc_pairs_weights__avx2(uint8_t *to, const uint64_t *w, size_t n, size_t k_words, size_t k,
                            size_t words) {
    const uint64_t *p[4];
    /* >> 4 by a multiplication: the ports of shifts are those of shuffles, of which there are many
     */
    const __m256i nibble = _mm256_set1_epi8(15), shift = _mm256_set1_epi16(1 << 12);
    const __m256i zip = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    for (size_t j = 0; j < 4; j++)
        p[j] = w + bc_min(j, n - 1) * k_words * 8;
    for (const size_t end = k + words; k < end; k++, to += STEPS * NR) {
        __m256i bytes[2][4]; /* panels 0 and 2 in the halves, panels 1 and 3 */
        BC_UNROLL
        for (int q = 0; q < 2; q++) {
            const __m128i *low = (const __m128i *)(const void *)(p[q] + k * 8),
                          *high = (const __m128i *)(const void *)(p[q + 2] + k * 8);
            __m256i two[4], four[4];
            BC_UNROLL
            for (int i = 0; i < 4; i++) /* filters 2i, 2i + 1, their bytes alternating */
                two[i] = _mm256_shuffle_epi8(
                    _mm256_inserti128_si256(_mm256_castsi128_si256(low[i]), high[i], 1), zip);
            BC_UNROLL
            for (int i = 0; i < 4; i += 2) {
                four[i] = _mm256_unpacklo_epi16(two[i], two[i + 1]);
                four[i + 1] = _mm256_unpackhi_epi16(two[i], two[i + 1]);
            }
            BC_UNROLL
            for (int i = 0; i < 2; i++) { /* bytes 4i, 4i + 1 | 4i + 2, 4i + 3 of all eight */
                bytes[q][2 * i] = _mm256_unpacklo_epi32(four[i], four[i + 2]);
                bytes[q][2 * i + 1] = _mm256_unpackhi_epi32(four[i], four[i + 2]);
            }
        }
        BC_UNROLL
        for (size_t i = 0; i < 8; i++) {
            const __m256i a = bytes[0][i / 2], b = bytes[1][i / 2];
            const __m256i byte = i % 2 ? _mm256_unpackhi_epi64(a, b) : _mm256_unpacklo_epi64(a, b);
            _mm256_store_si256((__m256i *)(void *)(to + i * NR), _mm256_and_si256(byte, nibble));
            _mm256_store_si256((__m256i *)(void *)(to + (i + 8) * NR),
                               _mm256_and_si256(_mm256_mulhi_epu16(byte, shift), nibble));
        }
    }
}

void bc_spread__avx2(size_t panels, size_t k_words, const uint64_t *w, void *to) {
    uint8_t *out = to;
    for (size_t q = 0; q < panels; q += 4, out += k_words * BC_SPREAD_WORD__AVX2)
        bc_pairs_weights__avx2(out, w + q * k_words * 8, bc_min(4, panels - q), k_words, 0,
                               k_words);
}

BC_TARGET_END
