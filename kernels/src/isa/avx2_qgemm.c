/* avx2_qgemm.c: 8-bit integers times 1-bit weights.
 *
 * 32 nibbles of weights, 16 filters of two octets, look up the low and the high byte of their sums
 * with two vpshufb; two vpaddb add them: four instructions for 128 products. After eight groups the
 * bytes become 16-bit sums, after 32 such steps 32-bit ones. Tables: avx2_qtable.h.
 * Tile: 2 pixels x 2 panels: a panel's 32 nibbles serve all pixels, a pixel's tables both
 * panels. */
#include "avx2.h"

#include <immintrin.h>
#include <math.h>

BC_TARGET_BEGIN("avx2,fma")

#include "avx2_qtable.h"

void bc_qtable__avx2(size_t rows, size_t c, const float *x, float by, void *table) {
    qtable(rows, c, x, by, table);
}

float bc_abs_max__avx2(size_t n, const float *x) {
    return abs_max(n, x);
}

enum {
    MR = 2,
    NR = BC_PANEL_FLOAT,
    PAIR = 2 * BC_QTABLE_OCTET__AVX2, /* bytes of the tables of two octets, the work of one step */
    IN_BYTES = 4,                     /* steps, of two groups per lane, that add up within a byte */
    IN_WORDS = 32,                    /* steps that add up within 16 bits: 8 times 255 + 32 * 255 */
    HIGH_BIAS = 128                   /* makes h unsigned, for maddubs */
};

/* l + 32 h of bytes to the 16-bit sums of filters 0-7 and 8-15, both of two lanes. */
static BC_INLINE void to_words(__m256i l, __m256i h, __m256i sum[2]) {
    const __m256i by = _mm256_set1_epi16(32 << 8 | 1);
    h = _mm256_xor_si256(h, _mm256_set1_epi8((char)HIGH_BIAS));
    sum[0] = _mm256_add_epi16(sum[0], _mm256_maddubs_epi16(_mm256_unpacklo_epi8(l, h), by));
    sum[1] = _mm256_add_epi16(sum[1], _mm256_maddubs_epi16(_mm256_unpackhi_epi8(l, h), by));
}

/* Both lanes of unsigned 16-bit sums, less the bias, to 8 accumulators. */
static BC_INLINE void to_acc(__m256i sum, __m256i bias, bool begins, int32_t *acc) {
    __m256i y = _mm256_add_epi32(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(sum)),
                                 _mm256_cvtepu16_epi32(_mm256_extracti128_si256(sum, 1)));
    y = _mm256_sub_epi32(y, bias);
    __m256i *to = (__m256i *)(void *)acc;
    _mm256_storeu_si256(to, begins ? y : _mm256_add_epi32(y, _mm256_loadu_si256(to)));
}

static BC_INLINE void tile(const int mr, const int nr, size_t taps, size_t octets,
                           const void *const *a, const uint8_t *w, int32_t *acc, size_t ld) {
    const __m256i nibble = _mm256_set1_epi8(15);
    const size_t panel = taps * octets * NR;
    const char *x[MR];
    size_t tap = 0, octet = octets; /* where the next step is */
    for (size_t left = taps * octets / 2, done = 0, n; left > 0; left -= n, done += n) {
        __m256i sum[MR][2][2];
        BC_UNROLL
        for (int r = 0; r < mr; r++) {
            BC_UNROLL
            for (int q = 0; q < nr; q++)
                sum[r][q][0] = sum[r][q][1] = _mm256_setzero_si256();
        }
        n = bc_min(left, IN_WORDS);
        int flushes = 0;
        for (size_t in = 0; in < n; flushes++) {
            __m256i l[MR][2], h[MR][2];
            BC_UNROLL
            for (int r = 0; r < mr; r++) {
                BC_UNROLL
                for (int q = 0; q < nr; q++)
                    l[r][q] = h[r][q] = _mm256_setzero_si256();
            }
            for (const size_t end = bc_min(in + IN_BYTES, n); in < end;
                 in++, octet += 2, w += 2 * NR) {
                if (octet == octets) {
                    BC_UNROLL
                    for (int r = 0; r < mr; r++)
                        x[r] = (const char *)a[(size_t)r * taps + tap];
                    octet = 0;
                    tap++;
                }
                BC_UNROLL
                for (int g = 0; g < 2; g++) {
                    __m256i v[2];
                    BC_UNROLL
                    for (int q = 0; q < nr; q++) {
                        v[q] = _mm256_loadu_si256(
                            (const __m256i *)(const void *)(w + (size_t)q * panel));
                        v[q] = _mm256_and_si256(g ? _mm256_srli_epi16(v[q], 4) : v[q], nibble);
                    }
                    BC_UNROLL
                    for (int r = 0; r < mr; r++) {
                        const __m256i *at = (const __m256i *)(const void *)x[r] + g;
                        const __m256i tl = _mm256_load_si256(at), th = _mm256_load_si256(at + 2);
                        BC_UNROLL
                        for (int q = 0; q < nr; q++) {
                            l[r][q] = _mm256_add_epi8(l[r][q], _mm256_shuffle_epi8(tl, v[q]));
                            h[r][q] = _mm256_add_epi8(h[r][q], _mm256_shuffle_epi8(th, v[q]));
                            BC_KEEP_X(l[r][q]);
                            BC_KEEP_X(h[r][q]);
                        }
                    }
                }
                BC_UNROLL
                for (int r = 0; r < mr; r++)
                    x[r] += PAIR;
            }
            BC_UNROLL
            for (int r = 0; r < mr; r++) {
                BC_UNROLL
                for (int q = 0; q < nr; q++)
                    to_words(l[r][q], h[r][q], sum[r][q]);
            }
        }
        const __m256i bias = _mm256_set1_epi32(flushes * 2 * 32 * HIGH_BIAS);
        BC_UNROLL
        for (int r = 0; r < mr; r++) {
            BC_UNROLL
            for (int q = 0; q < nr; q++) {
                int32_t *to = acc + (size_t)r * ld + q * NR;
                to_acc(sum[r][q][0], bias, done == 0, to);
                to_acc(sum[r][q][1], bias, done == 0, to + 8);
            }
        }
    }
}

#define TILE(mr, nr)                                                                               \
    static void t##mr##x##nr(size_t taps, size_t octets, const void *const *a, const uint8_t *w,   \
                             int32_t *acc, size_t ld) {                                            \
        tile(mr, nr, taps, octets, a, w, acc, ld);                                                 \
    }
TILE(1, 2)
TILE(1, 1)
TILE(2, 2)
TILE(2, 1)

typedef void (*tile_fn)(size_t, size_t, const void *const *, const uint8_t *, int32_t *, size_t);
static const tile_fn tiles[MR][2] = {{t1x1, t1x2}, {t2x1, t2x2}};

void bc_qgemm__avx2(size_t m, size_t panels, size_t taps, size_t octets, const void *const *a,
                    const uint8_t *w, int32_t *acc, size_t ld) {
    for (size_t p = 0, mr; p < m; p += mr) {
        mr = bc_min(MR, m - p);
        for (size_t q = 0, nr; q < panels; q += nr) {
            nr = bc_min(2, panels - q);
            tiles[mr - 1][nr - 1](taps, octets, a + p * taps, w + q * taps * octets * NR,
                                  acc + p * ld + q * NR, ld);
        }
    }
}

BC_TARGET_END
