/* avx2_bgemm_expand.c: operands of the binary product by table look-up, avx2_bgemm_tile.c: pixels
 * to offsets of tables, filters to vectors of 4 bits each. */
#include "avx2_bgemm_pairs.h"

#include <immintrin.h>

BC_TARGET_BEGIN("avx2")

/* Steps 0..7 of a word are the low halves of its bytes, 8..15 the high ones. */
static BC_INLINE void pair_word(uint16_t *to, const uint64_t *x, const uint64_t *y) {
    const __m128i high = _mm_set1_epi8((char)0xf0), units = _mm_set1_epi16(0x1001); /* 1, 16 */
    __m128i bytes = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(const void *)x),
                                      _mm_loadl_epi64((const __m128i *)(const void *)y));
    __m128i *out = (__m128i *)(void *)to;
    /* 16 v + 16 * 16 v' */
    _mm_store_si128(out, _mm_maddubs_epi16(_mm_and_si128(_mm_slli_epi16(bytes, 4), high), units));
    _mm_store_si128(out + 1, _mm_maddubs_epi16(_mm_and_si128(bytes, high), units));
}

static BC_INLINE void pair_two_words(uint16_t *to, const uint64_t *x, const uint64_t *y) {
    const __m256i high = _mm256_set1_epi8((char)0xf0), units = _mm256_set1_epi16(0x1001);
    __m128i xs = _mm_loadu_si128((const __m128i *)(const void *)x),
            ys = _mm_loadu_si128((const __m128i *)(const void *)y);
    __m256i bytes = _mm256_set_m128i(_mm_unpackhi_epi8(xs, ys), _mm_unpacklo_epi8(xs, ys));
    __m256i low = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_slli_epi16(bytes, 4), high), units);
    bytes = _mm256_maddubs_epi16(_mm256_and_si256(bytes, high), units);
    __m256i *out = (__m256i *)(void *)to;
    _mm256_store_si256(out, _mm256_permute2x128_si256(low, bytes, 0x20));
    _mm256_store_si256(out + 1, _mm256_permute2x128_si256(low, bytes, 0x31));
}

void bc_pairs_offsets__avx2(uint16_t *to, size_t m, size_t taps, size_t cw,
                            const uint64_t *const *a) {
    for (size_t p = 0; p < m; p += 2) {
        const uint64_t *const *x = a + p * taps, *const *y = p + 1 < m ? x + taps : x;
        if (cw == 1) { /* no inner loop: its cost shows at 64 channels */
            BC_UNROLL_4
            for (size_t t = 0; t < taps; t++, to += STEPS)
                pair_word(to, x[t], y[t]);
            continue;
        }
        for (size_t t = 0; t < taps; t++) {
            size_t i = 0;
            for (; i + 2 <= cw; i += 2, to += 2 * STEPS)
                pair_two_words(to, x[t] + i, y[t] + i);
            if (i < cw) {
                pair_word(to, x[t] + i, y[t] + i);
                to += STEPS;
            }
        }
    }
}

/* 32 filters, words of K from panels p[0..4): to[word][step], `stride` bytes
 * from one step to the next. */
void bc_pairs_weights__avx2(uint8_t *to, const uint64_t *const p[4], size_t words) {
    /* >> 4 by a multiplication: the ports of shifts are those of shuffles, of which there are many
     */
    const __m256i nibble = _mm256_set1_epi8(15), shift = _mm256_set1_epi16(1 << 12);
    const __m256i zip = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    for (size_t k = 0; k < words; k++, to += STEPS * STRIDE) {
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
            _mm256_store_si256((__m256i *)(void *)(to + i * STRIDE),
                               _mm256_and_si256(byte, nibble));
            _mm256_store_si256((__m256i *)(void *)(to + (i + 8) * STRIDE),
                               _mm256_and_si256(_mm256_mulhi_epu16(byte, shift), nibble));
        }
    }
}

BC_TARGET_END
