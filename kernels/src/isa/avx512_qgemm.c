/* avx512_qgemm.c: 8-bit integers times 1-bit weights. Needs AVX512BW.
 *
 * As in avx2_qgemm.c, with two panels in a vector: 64 nibbles of weights look up the low and the
 * high byte of their sums with two vpshufb, two vpaddb add them, four instructions for 256
 * products. That is no slower than vpdpbusd, which would need weights of a byte each. Tables:
 * avx2_qtable.h. Tile: 4 pixels x 2 pairs of panels. */
#include "avx512.h"

#include <math.h>

BC_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512vl")

#include "avx2_qtable.h"

void bc_qtable__avx512(size_t rows, size_t c, const float *x, float by, void *table) {
    qtable(rows, c, x, by, table);
}

float bc_abs_max__avx512(size_t n, const float *x) {
    return abs_max(n, x);
}

enum {
    MR = 4,
    NR = BC_PANEL_FLOAT,
    PAIR = 2 *
        BC_QTABLE_OCTET__AVX512, /* bytes of the tables of two octets, the work of one step */
    IN_BYTES = 4,                /* steps, of two groups per lane, that add up in a byte */
    IN_WORDS = 32,               /* steps that add up in 16 bits: 8 times 255 + 32 * 255 */
    HIGH_BIAS = 128              /* makes h unsigned, for maddubs */
};

/* l + 32 h of bytes to the 16-bit sums of filters 0-7 and 8-15, both of two lanes per panel. */
static BC_INLINE void to_words(__m512i l, __m512i h, __m512i sum[2]) {
    const __m512i by = _mm512_set1_epi16(32 << 8 | 1);
    h = _mm512_xor_si512(h, _mm512_set1_epi8((char)HIGH_BIAS));
    sum[0] = _mm512_add_epi16(sum[0], _mm512_maddubs_epi16(_mm512_unpacklo_epi8(l, h), by));
    sum[1] = _mm512_add_epi16(sum[1], _mm512_maddubs_epi16(_mm512_unpackhi_epi8(l, h), by));
}

/* Both lanes of unsigned 16-bit sums, less the bias, to 8 accumulators. */
static BC_INLINE void to_acc(__m256i sum, __m256i bias, bool begins, int32_t *acc) {
    __m256i y = _mm256_add_epi32(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(sum)),
                                 _mm256_cvtepu16_epi32(_mm256_extracti128_si256(sum, 1)));
    y = _mm256_sub_epi32(y, bias);
    __m256i *to = (__m256i *)(void *)acc;
    _mm256_storeu_si256(to, begins ? y : _mm256_add_epi32(y, _mm256_loadu_si256(to)));
}

/* 16 filters of two octets from each of two panels; zeros for a second one that is not there. */
static BC_INLINE __m512i weights_of(const uint8_t *w, size_t panel, bool both) {
    const __m512i one =
        _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)w));
    const __m256i two = both ? _mm256_loadu_si256((const __m256i *)(const void *)(w + panel))
                             : _mm256_setzero_si256();
    return _mm512_inserti64x4(one, two, 1);
}

/* `panels` of them, in nr pairs, of which the last may lack its second. */
static BC_INLINE void tile(const int mr, const int nr, size_t panels, size_t taps, size_t octets,
                           const void *const *a, const uint8_t *w, int32_t *acc, size_t ld) {
    const __m512i nibble = _mm512_set1_epi8(15);
    const size_t panel = taps * octets * NR;
    const char *x[MR];
    size_t tap = 0, octet = octets; /* where the next step is */
    for (size_t left = taps * octets / 2, done = 0, n; left > 0; left -= n, done += n) {
        __m512i sum[MR][2][2];
        BC_UNROLL
        for (int r = 0; r < mr; r++) {
            BC_UNROLL
            for (int q = 0; q < nr; q++)
                sum[r][q][0] = sum[r][q][1] = _mm512_setzero_si512();
        }
        n = bc_min(left, IN_WORDS);
        int flushes = 0;
        for (size_t in = 0; in < n; flushes++) {
            __m512i l[MR][2], h[MR][2];
            BC_UNROLL
            for (int r = 0; r < mr; r++) {
                BC_UNROLL
                for (int q = 0; q < nr; q++)
                    l[r][q] = h[r][q] = _mm512_setzero_si512();
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
                __m512i v[2];
                BC_UNROLL
                for (int q = 0; q < nr; q++)
                    v[q] = weights_of(w + (size_t)q * 2 * panel, panel, (size_t)q * 2 + 1 < panels);
                BC_UNROLL
                for (int g = 0; g < 2; g++) {
                    BC_UNROLL
                    for (int r = 0; r < mr; r++) {
                        const __m256i *at = (const __m256i *)(const void *)x[r] + g;
                        const __m512i tl = _mm512_broadcast_i64x4(_mm256_load_si256(at)),
                                      th = _mm512_broadcast_i64x4(_mm256_load_si256(at + 2));
                        BC_UNROLL
                        for (int q = 0; q < nr; q++) {
                            const __m512i i =
                                _mm512_and_si512(g ? _mm512_srli_epi16(v[q], 4) : v[q], nibble);
                            l[r][q] = _mm512_add_epi8(l[r][q], _mm512_shuffle_epi8(tl, i));
                            h[r][q] = _mm512_add_epi8(h[r][q], _mm512_shuffle_epi8(th, i));
                            BC_KEEP_V(l[r][q]);
                            BC_KEEP_V(h[r][q]);
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
                BC_UNROLL
                for (int i = 0; i < 2; i++) {
                    int32_t *to = acc + (size_t)r * ld + q * 2 * NR + 8 * i;
                    const __m512i s = sum[r][q][i];
                    to_acc(_mm512_castsi512_si256(s), bias, done == 0, to);
                    if ((size_t)q * 2 + 1 < panels)
                        to_acc(_mm512_extracti64x4_epi64(s, 1), bias, done == 0, to + NR);
                }
            }
        }
    }
}

#define TILE(mr, nr)                                                                               \
    static void t##mr##x##nr(size_t panels, size_t taps, size_t octets, const void *const *a,      \
                             const uint8_t *w, int32_t *acc, size_t ld) {                          \
        tile(mr, nr, panels, taps, octets, a, w, acc, ld);                                         \
    }
#define TILES(mr) TILE(mr, 1) TILE(mr, 2)
TILES(1)
TILES(2)
TILES(3)
TILES(4)

typedef void (*tile_fn)(size_t, size_t, size_t, const void *const *, const uint8_t *, int32_t *,
                        size_t);
#define ROW(mr) {t##mr##x1, t##mr##x2}
static const tile_fn tiles[MR][2] = {ROW(1), ROW(2), ROW(3), ROW(4)};

void bc_qgemm__avx512(size_t m, size_t panels, size_t taps, size_t octets, const void *const *a,
                      const uint8_t *w, int32_t *acc, size_t ld) {
    const size_t cuts = (m + MR - 1) / MR; /* tiles of nearly equal height */
    for (size_t cut = 0, p = 0, end; cut < cuts; cut++, p = end) {
        end = m * (cut + 1) / cuts;
        for (size_t q = 0, n; q < panels; q += n) {
            n = bc_min(4, panels - q);
            tiles[end - p - 1][(n - 1) / 2](n, taps, octets, a + p * taps,
                                            w + q * taps * octets * NR, acc + p * ld + q * NR, ld);
        }
    }
}

BC_TARGET_END
