/* avx2_bgemm_expand.c: operands of the binary product by table look-up, avx2_bgemm_tile.c: pixels
 * to numbers of tables, filters to vectors of 4 bits each. */
#include "avx2_bgemm_pairs.h"

#include <immintrin.h>

BC_TARGET_BEGIN("avx2")

/* The tables of four words of x and of y: step i of a word is a byte, its low half v, its high half
 * v' (avx2_bgemm_tile.c). Steps 0..7 are the low halves of the word's bytes, 8..15 the high ones.
 */
static BC_INLINE void pair_four_words(uint8_t *to, __m256i x, __m256i y) {
    const __m256i low = _mm256_set1_epi8(15), high = _mm256_set1_epi8((char)0xf0);
    __m256i a = _mm256_slli_epi16(y, 4), b = _mm256_srli_epi16(x, 4);
    a = _mm256_xor_si256(x, _mm256_and_si256(_mm256_xor_si256(x, a), high));
    b = _mm256_xor_si256(y, _mm256_and_si256(_mm256_xor_si256(y, b), low));
    x = _mm256_unpacklo_epi64(a, b); /* words 0, 2 */
    y = _mm256_unpackhi_epi64(a, b); /* words 1, 3 */
    __m256i *out = (__m256i *)(void *)to;
    _mm256_storeu_si256(out, _mm256_permute2x128_si256(x, y, 0x20));
    _mm256_storeu_si256(out + 1, _mm256_permute2x128_si256(x, y, 0x31));
}

static BC_INLINE __m256i load_four(const uint64_t *x) {
    return _mm256_loadu_si256((const __m256i *)(const void *)x);
}

static BC_INLINE __m256i load_some(const uint64_t *x, __m256i which) {
    return _mm256_maskload_epi64((const long long *)(const void *)x, which);
}

void bc_pairs_choose__avx2(uint8_t *to, size_t m, size_t taps, size_t cw, const uint64_t *const *a,
                           size_t skip) {
    const size_t some = cw % 4;
    const __m256i which =
        _mm256_cmpgt_epi64(_mm256_set1_epi64x((long long)some), _mm256_setr_epi64x(0, 1, 2, 3));
    for (size_t p = 0; p < m; p += 2) {
        const uint64_t *const *x = a + p * taps, *const *y = p + 1 < m ? x + taps : x;
        for (size_t t = 0; t < taps; t++) {
            const uint64_t *xt = x[t] + skip, *yt = y[t] + skip;
            for (size_t i = 0; i + 4 <= cw; i += 4, xt += 4, yt += 4, to += 4 * STEPS)
                pair_four_words(to, load_four(xt), load_four(yt));
            if (some) { /* what it writes beyond is written again by the next tap */
                pair_four_words(to, load_some(xt, which), load_some(yt, which));
                to += some * STEPS;
            }
        }
    }
}

/* 32 filters, words of K from panels p[0..4): to[word][step], `stride` bytes
 * from one step to the next. */
void bc_pairs_weights__avx2(uint8_t *to, size_t stride, const uint64_t *const p[4], size_t words) {
    /* >> 4 by a multiplication: the ports of shifts are those of shuffles, of which there are many
     */
    const __m256i nibble = _mm256_set1_epi8(15), shift = _mm256_set1_epi16(1 << 12);
    const __m256i zip = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    for (size_t k = 0; k < words; k++, to += STEPS * stride) {
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
            _mm256_store_si256((__m256i *)(void *)(to + i * stride),
                               _mm256_and_si256(byte, nibble));
            _mm256_store_si256((__m256i *)(void *)(to + (i + 8) * stride),
                               _mm256_and_si256(_mm256_mulhi_epu16(byte, shift), nibble));
        }
    }
}

BC_TARGET_END
