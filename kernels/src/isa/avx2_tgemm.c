/* avx2_tgemm.c: floats times 1-bit weights.
 *
 * The table of a group (x0, x1, x2, x3) is A = the four sums +-x0 +-x1 and B = the four sums
 * +-x2 +-x3, 16 bytes each. Eight filters look up theirs by two bits of a lane with vpermilps, one
 * instruction for two products of each; A + B, and that to the accumulator, are two additions for
 * four. So 32 products take four instructions, where fma takes four for 32 products too, but of
 * another kind: shuffles and additions have three ports on Zen 2 and 3, fma has two. On a Zen 3
 * core that is 24 products a cycle instead of 16.
 *
 * Tile: 6 pixels x 1 panel (12 accumulators); fewer pixels take 2 panels, for the latency of the
 * additions. K is cut into blocks whose tables stay in L1 while all panels pass by. */
#include "avx2.h"

#include <immintrin.h>
#include <string.h>

BC_TARGET_BEGIN("avx2,fma")

enum {
    MR = 6,
    NR = BC_PANEL_FLOAT,
    OCTET = BC_TTABLE_OCTET__AVX2,
    BLOCK = 48, /* octets: 6 pixels * 48 * 64 bytes = 18 KiB */
};

/* A or B: element b of a lane is (b & 1 ? -x : x) + (b & 2 ? -y : y). */
static BC_INLINE __m256 pair_sums(__m256 x, __m256 y) {
    const __m256 sx = _mm256_setr_ps(0.0f, -0.0f, 0.0f, -0.0f, 0.0f, -0.0f, 0.0f, -0.0f),
                 sy = _mm256_setr_ps(0.0f, 0.0f, -0.0f, -0.0f, 0.0f, 0.0f, -0.0f, -0.0f);
    return _mm256_add_ps(_mm256_xor_ps(x, sx), _mm256_xor_ps(y, sy));
}

void bc_ttable__avx2(size_t rows, size_t c, const float *x, void *table) {
    const __m256i even = _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2),
                  odd = _mm256_setr_epi32(1, 1, 1, 1, 3, 3, 3, 3);
    const size_t padded = bc_round_up(c, 8);
    float *to = table;
    for (size_t r = 0; r < rows; r++, x += c)
        for (size_t i = 0; i < padded; i += 4, to += 8) {
            float last[4] = {0};
            const float *from = x + i;
            if (i + 4 > c) {
                memcpy(last, i < c ? from : last, (i < c ? c - i : 0) * sizeof *last);
                from = last;
            }
            const __m256 v = _mm256_broadcast_ps((const __m128 *)(const void *)from);
            _mm256_store_ps(to,
                            pair_sums(_mm256_permutevar_ps(v, even), _mm256_permutevar_ps(v, odd)));
        }
}

/* A block of K: `octets` of each of `taps` taps from pointer t on; weights at w, `w_tap` bytes from
 * one tap to the next, `w_panel` from one panel to the next. */
typedef struct block {
    size_t taps, octets, first_octet, stride; /* stride: pointers per pixel */
    size_t w_tap, w_panel;
    bool begins; /* accumulators start at zero */
} block;

static BC_INLINE void tile(const int mr, const int nr, const block *b, const void *const *a,
                           const uint8_t *w, float *acc, size_t ld) {
    enum { HALVES = 4 };
    __m256 y[MR][HALVES];
    const int halves = 2 * nr;
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        BC_UNROLL
        for (int h = 0; h < halves; h++)
            y[r][h] =
                b->begins ? _mm256_setzero_ps() : _mm256_loadu_ps(acc + (size_t)r * ld + 8 * h);
    }
    for (size_t t = 0; t < b->taps; t++) {
        const char *x[MR];
        BC_UNROLL
        for (int r = 0; r < mr; r++)
            x[r] = (const char *)a[(size_t)r * b->stride + t] + b->first_octet * OCTET;
        const uint8_t *v = w + t * b->w_tap;
        for (size_t i = 0; i < b->octets; i++, v += NR) {
            __m256i bits[HALVES];
            BC_UNROLL
            for (int h = 0; h < halves; h++)
                bits[h] = _mm256_cvtepu8_epi32(_mm_loadl_epi64(
                    (const __m128i *)(const void *)(v + (size_t)(h / 2) * b->w_panel +
                                                    8 * (h % 2))));
            BC_UNROLL
            for (int g = 0; g < 2; g++) {
                __m256i first[HALVES], second[HALVES];
                BC_UNROLL
                for (int h = 0; h < halves; h++) {
                    first[h] = g ? _mm256_srli_epi32(bits[h], 4) : bits[h];
                    second[h] = _mm256_srli_epi32(bits[h], g ? 6 : 2);
                }
                BC_UNROLL
                for (int r = 0; r < mr; r++) {
                    const float *at = (const float *)(const void *)(x[r] + i * OCTET) + 8 * g;
                    const __m256 A = _mm256_broadcast_ps((const __m128 *)(const void *)at),
                                 B = _mm256_broadcast_ps((const __m128 *)(const void *)(at + 4));
                    BC_UNROLL
                    for (int h = 0; h < halves; h++) {
                        const __m256 s = _mm256_add_ps(_mm256_permutevar_ps(A, first[h]),
                                                       _mm256_permutevar_ps(B, second[h]));
                        y[r][h] = _mm256_add_ps(y[r][h], s);
                        BC_KEEP_X(y[r][h]);
                    }
                }
            }
        }
    }
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        BC_UNROLL
        for (int h = 0; h < halves; h++)
            _mm256_storeu_ps(acc + (size_t)r * ld + 8 * h, y[r][h]);
    }
}

#define TILE(mr, nr)                                                                               \
    static void t##mr##x##nr(const block *b, const void *const *a, const uint8_t *w, float *acc,   \
                             size_t ld) {                                                          \
        tile(mr, nr, b, a, w, acc, ld);                                                            \
    }
TILE(1, 2)
TILE(1, 1)
TILE(2, 2)
TILE(2, 1)
TILE(3, 1)
TILE(4, 1)
TILE(5, 1)
TILE(6, 1)

static const struct tile_row {
    size_t panels; /* of `wide` */
    void (*wide)(const block *, const void *const *, const uint8_t *, float *, size_t);
    void (*one)(const block *, const void *const *, const uint8_t *, float *, size_t);
} tiles[MR] = {{2, t1x2, t1x1}, {2, t2x2, t2x1}, {1, t3x1, t3x1},
               {1, t4x1, t4x1}, {1, t5x1, t5x1}, {1, t6x1, t6x1}};

void bc_tgemm__avx2(size_t m, size_t panels, size_t taps, size_t octets, const void *const *a,
                    const uint8_t *w, float *acc, size_t ld) {
    const size_t cuts = (m + MR - 1) / MR; /* tiles of nearly equal height */
    const size_t most_taps = octets < BLOCK ? BLOCK / octets : 1, most = bc_min(octets, BLOCK);
    for (size_t cut = 0, p = 0, end; cut < cuts; cut++, p = end) {
        end = m * (cut + 1) / cuts;
        const struct tile_row *row = &tiles[end - p - 1];
        block b = {.stride = taps, .w_tap = octets * NR, .w_panel = taps * octets * NR};
        for (size_t t = 0; t < taps; t += b.taps)
            for (b.first_octet = 0; b.first_octet < octets; b.first_octet += b.octets) {
                b.taps = bc_min(most_taps, taps - t);
                b.octets = bc_min(most, octets - b.first_octet);
                b.begins = t == 0 && b.first_octet == 0;
                const uint8_t *v = w + (t * octets + b.first_octet) * NR;
                for (size_t q = 0, n; q < panels; q += n) {
                    const bool wide = q + row->panels <= panels;
                    n = wide ? row->panels : 1;
                    (wide ? row->wide : row->one)(&b, a + p * taps + t, v + q * b.w_panel,
                                                  acc + p * ld + q * NR, ld);
                }
            }
    }
}

BC_TARGET_END
