/* avx2_qtable.h: floats to 8-bit integers to tables of bytes, for AVX2 and what has it; include
 * inside a raised target. The products that read the tables: avx2_qgemm.c, avx512_qgemm.c.
 *
 * The sum s of four integers of -127..127 is 32 h + l, l = 0..31 and h = -16..15, so a table of 16
 * sums is 16 bytes of l and 16 bytes of h. Eight of either add up within a byte. Two octets, which
 * are four groups g0 g1 | g2 g3, take 128 bytes:
 *     l of g0, l of g2; l of g1, l of g3; h of g0, h of g2; h of g1, h of g3
 * so that the low nibbles of two bytes of weights look up in the first 32 bytes, the high ones in
 * the next. */
#include <string.h>

/* 16 floats to integers, in order. Comparisons give the second operand where the first is NaN. */
static BC_INLINE __m256i quantize8(const float *x, __m256 by) {
    __m256 t = _mm256_mul_ps(_mm256_loadu_ps(x), by);
    t = _mm256_max_ps(t, _mm256_set1_ps(-127.0f));
    return _mm256_cvtps_epi32(_mm256_min_ps(t, _mm256_set1_ps(127.0f)));
}

static BC_INLINE __m128i quantize16(const float *x, __m256 by) {
    const __m256i words =
        _mm256_permute4x64_epi64(_mm256_packs_epi32(quantize8(x, by), quantize8(x + 8, by)), 0xd8);
    return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

/* Two neighbours of each octet to all eight pairs of bytes of its lane. */
#define PAIRS(k)                                                                                   \
    _mm256_setr_epi8(k, k + 1, k, k + 1, k, k + 1, k, k + 1, k, k + 1, k, k + 1, k, k + 1, k,      \
                     k + 1, k + 8, k + 9, k + 8, k + 9, k + 8, k + 9, k + 8, k + 9, k + 8, k + 9,  \
                     k + 8, k + 9, k + 8, k + 9, k + 8, k + 9)

/* l and h of two tables, one per lane, whose groups begin at byte 0 or 4 of the octets. */
static BC_INLINE void sums16(const bool high, __m256i q, __m256i *l, __m256i *h) {
    const __m256i one = _mm256_set1_epi8(1);
    /* signs of entries 0 to 7: of the first two integers by bits 0 and 1, of the third by bit 2 */
    const __m256i signs01 = _mm256_set1_epi64x((long long)0xffffff0101ff0101u),
                  signs2 =
                      _mm256_setr_epi16(0x101, 0x101, 0x101, 0x101, 0x1ff, 0x1ff, 0x1ff, 0x1ff,
                                        0x101, 0x101, 0x101, 0x101, 0x1ff, 0x1ff, 0x1ff, 0x1ff);
    const __m256i x01 = _mm256_shuffle_epi8(q, high ? PAIRS(4) : PAIRS(0)),
                  x23 = _mm256_shuffle_epi8(q, high ? PAIRS(6) : PAIRS(2));
    /* maddubs adds pairs of (unsigned 1) * (signed byte) */
    const __m256i s01 = _mm256_maddubs_epi16(one, _mm256_sign_epi8(x01, signs01));
    const __m256i minus3 = _mm256_set1_epi16((short)0xff01);
    const __m256i s23 = _mm256_sign_epi8(x23, signs2);
    const __m256i low = _mm256_add_epi16(s01, _mm256_maddubs_epi16(one, s23)),
                  up = _mm256_add_epi16(s01,
                                        _mm256_maddubs_epi16(one, _mm256_sign_epi8(s23, minus3)));
    const __m256i mask = _mm256_set1_epi16(31);
    *l = _mm256_packus_epi16(_mm256_and_si256(low, mask), _mm256_and_si256(up, mask));
    *h = _mm256_packs_epi16(_mm256_srai_epi16(low, 5), _mm256_srai_epi16(up, 5));
}

static void qtable(size_t rows, size_t c, const float *x, float by, void *table) {
    const __m256 factor = _mm256_set1_ps(by);
    __m256i *to = table;
    for (size_t r = 0; r < rows; r++, x += c)
        for (size_t i = 0; i < c; i += 16, to += 4) {
            float last[16] = {0};
            const float *from = x + i;
            if (i + 16 > c) {
                memcpy(last, from, (c - i) * sizeof *last);
                from = last;
            }
            const __m256i q = _mm256_broadcastsi128_si256(quantize16(from, factor));
            sums16(false, q, to, to + 2);
            sums16(true, q, to + 1, to + 3);
        }
}

static float abs_max(size_t n, const float *x) {
    enum { ACCS = 4 };
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256 y[ACCS];
    for (int j = 0; j < ACCS; j++)
        y[j] = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 8 * ACCS <= n; i += 8 * ACCS)
        for (size_t j = 0; j < ACCS; j++) /* y where x is NaN */
            y[j] = _mm256_max_ps(_mm256_and_ps(_mm256_loadu_ps(x + i + 8 * j), magnitude), y[j]);
    float best = 0, lane[8];
    _mm256_storeu_ps(lane, _mm256_max_ps(_mm256_max_ps(y[0], y[1]), _mm256_max_ps(y[2], y[3])));
    for (size_t j = 0; j < 8; j++)
        best = lane[j] > best ? lane[j] : best;
    for (; i < n; i++)
        best = fabsf(x[i]) > best ? fabsf(x[i]) : best;
    return best;
}
