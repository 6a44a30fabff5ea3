/* avx2_bgemm_expand.c: weights of the binary product by table look-up, avx2_bgemm_tile.h: filters
 * to vectors of 4 bits each. */
#include "avx2_bgemm_pairs.h"

#include <immintrin.h>
#include <string.h>

BC_TARGET_BEGIN("avx2")

/* Adds bytes of 32 filters to 16 bits: panels 0 and 2, then 1 and 3. */
static BC_INLINE void add_bytes(uint16_t sums[NR], __m256i bytes) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i *to = (__m256i *)(void *)sums;
    _mm256_store_si256(to, _mm256_add_epi16(*to, _mm256_unpacklo_epi8(bytes, zero)));
    _mm256_store_si256(to + 1, _mm256_add_epi16(to[1], _mm256_unpackhi_epi8(bytes, zero)));
}

void bc_pairs_weights__avx2(uint8_t *to, uint16_t odd[NR], const uint64_t *w, size_t n,
                            size_t k_words, size_t k, size_t words) {
    const uint64_t *p[4];
    /* >> 4 by a multiplication: the ports of shifts are those of shuffles, of which there are many
     */
    const __m256i nibble = _mm256_set1_epi8(15), shift = _mm256_set1_epi16(1 << 12);
    const __m256i zip = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    const __m256i is_odd =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0));
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
        __m256i sum = _mm256_setzero_si256();
        BC_UNROLL
        for (size_t i = 0; i < 8; i++) {
            const __m256i a = bytes[0][i / 2], b = bytes[1][i / 2];
            const __m256i byte = i % 2 ? _mm256_unpackhi_epi64(a, b) : _mm256_unpacklo_epi64(a, b);
            const __m256i low = _mm256_and_si256(byte, nibble),
                          high = _mm256_and_si256(_mm256_mulhi_epu16(byte, shift), nibble);
            _mm256_store_si256((__m256i *)(void *)(to + i * NR), low);
            _mm256_store_si256((__m256i *)(void *)(to + (i + 8) * NR), high);
            sum = _mm256_add_epi8(sum, _mm256_add_epi8(_mm256_shuffle_epi8(is_odd, low),
                                                       _mm256_shuffle_epi8(is_odd, high)));
        }
        add_bytes(odd, sum);
    }
}

void bc_spread__avx2(size_t panels, size_t k_words, const uint64_t *w, void *to) {
    uint8_t *out = to;
    for (size_t q = 0; q < panels; q += 4, out += (k_words + 1) * BC_SPREAD_WORD__AVX2) {
        _Alignas(32) uint16_t odd[NR] = {0};
        bc_pairs_weights__avx2(out, odd, w + q * k_words * 8, bc_min(4, panels - q), k_words, 0,
                               k_words);
        memcpy(out + k_words * BC_SPREAD_WORD__AVX2, odd, sizeof odd);
    }
}

BC_TARGET_END
