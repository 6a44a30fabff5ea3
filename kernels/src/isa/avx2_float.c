/* avx2_float.c: products of float and of 16-bit activations, with float and with 1-bit weights.
 *
 * Every output has one accumulator, and K is walked in order, so that the bits are those of scalar
 * fmaf. Tile: 6 pixels x 1 panel of 16 filters = 12 accumulators, 2 weight vectors, 1 or 2
 * broadcasts; 2 FMA a cycle need 8 chains of latency 4, so fewer pixels take more panels: 2, 3 x 2;
 * 1 x 4. Eight weights of one bit become +-1 by a table in L1, once per tile and k. */
#include "avx2.h"

#include <immintrin.h>
#include <string.h>

BC_TARGET_BEGIN("avx2,fma")

enum { MR = 6, MR_HALF = 8, NR = BC_PANEL_FLOAT };

/* signs[b][j]: -1 where bit j of b is set, else 1. Loads are cheaper here than the arithmetic that
 * spreads bits. */
#define SIGN(b, j) ((b) >> (j) & 1 ? -1.0f : 1.0f)
#define BYTE(b)                                                                                    \
    {SIGN(b, 0), SIGN(b, 1), SIGN(b, 2), SIGN(b, 3), SIGN(b, 4), SIGN(b, 5), SIGN(b, 6), SIGN(b, 7)}
#define BYTE4(b) BYTE(b), BYTE((b) + 1), BYTE((b) + 2), BYTE((b) + 3)
#define BYTE16(b) BYTE4(b), BYTE4((b) + 4), BYTE4((b) + 8), BYTE4((b) + 12)
#define BYTE64(b) BYTE16(b), BYTE16((b) + 16), BYTE16((b) + 32), BYTE16((b) + 48)
static _Alignas(64) const float signs[256][8] = {BYTE64(0), BYTE64(64), BYTE64(128), BYTE64(192)};

/* Weights k of one panel as 2 x 8 floats: from memory, or from one bit each (bit set = -1). */
static BC_INLINE void load_f32(__m256 to[2], const void *w, size_t k) {
    const float *from = (const float *)w + k * NR;
    to[0] = _mm256_load_ps(from);
    to[1] = _mm256_load_ps(from + 8);
}

static BC_INLINE void load_1bit(__m256 to[2], const void *w, size_t k) {
    const uint8_t *bits = (const uint8_t *)w + 2 * k;
    to[0] = _mm256_load_ps(signs[bits[0]]);
    to[1] = _mm256_load_ps(signs[bits[1]]);
}

/* acc rows of `mr` pixels, `nr` panels; step: bytes from one panel of w to the next. fma(x, +-1,
 * acc) = acc +- x. */
static BC_INLINE void tile(const int mr, const int nr, const bool one_bit, size_t taps, size_t cin,
                           const float *const *a, const uint8_t *w, size_t step, float *acc,
                           size_t ld) {
    __m256 y[12][2];
    BC_UNROLL
    for (int i = 0; i < mr * nr; i++)
        y[i][0] = y[i][1] = _mm256_setzero_ps();
    for (size_t t = 0, k = 0; t < taps; t++) {
        const float *x[MR];
        BC_UNROLL
        for (int r = 0; r < mr; r++)
            x[r] = a[(size_t)r * taps + t];
        for (size_t i = 0; i < cin; i++, k++) {
            BC_UNROLL
            for (int q = 0; q < nr; q++) {
                __m256 v[2];
                if (one_bit)
                    load_1bit(v, w + (size_t)q * step, k);
                else
                    load_f32(v, w + (size_t)q * step, k);
                BC_UNROLL
                for (int r = 0; r < mr; r++) {
                    __m256 xr = _mm256_broadcast_ss(x[r] + i);
                    y[q * mr + r][0] = _mm256_fmadd_ps(xr, v[0], y[q * mr + r][0]);
                    y[q * mr + r][1] = _mm256_fmadd_ps(xr, v[1], y[q * mr + r][1]);
                }
            }
        }
    }
    BC_UNROLL
    for (int q = 0; q < nr; q++) {
        BC_UNROLL
        for (int r = 0; r < mr; r++) {
            _mm256_storeu_ps(acc + (size_t)r * ld + q * NR, y[q * mr + r][0]);
            _mm256_storeu_ps(acc + (size_t)r * ld + q * NR + 8, y[q * mr + r][1]);
        }
    }
}

#define TILE(mr, nr)                                                                               \
    static void f##mr##x##nr(size_t taps, size_t cin, const float *const *a, const uint8_t *w,     \
                             size_t step, float *acc, size_t ld) {                                 \
        tile(mr, nr, false, taps, cin, a, w, step, acc, ld);                                       \
    }                                                                                              \
    static void w##mr##x##nr(size_t taps, size_t cin, const float *const *a, const uint8_t *w,     \
                             size_t step, float *acc, size_t ld) {                                 \
        tile(mr, nr, true, taps, cin, a, w, step, acc, ld);                                        \
    }
TILE(1, 4)
TILE(1, 1)
TILE(2, 2)
TILE(2, 1)
TILE(3, 2)
TILE(3, 1)
TILE(4, 1)
TILE(5, 1)
TILE(6, 1)

typedef void (*tile_fn)(size_t, size_t, const float *const *, const uint8_t *, size_t, float *,
                        size_t);
typedef struct tile_row {
    size_t panels; /* of `wide` */
    tile_fn wide, one;
} tile_row;
static const tile_row f_tiles[MR] = {{4, f1x4, f1x1}, {2, f2x2, f2x1}, {2, f3x2, f3x1},
                                     {1, f4x1, f4x1}, {1, f5x1, f5x1}, {1, f6x1, f6x1}};
static const tile_row w_tiles[MR] = {{4, w1x4, w1x1}, {2, w2x2, w2x1}, {2, w3x2, w3x1},
                                     {1, w4x1, w4x1}, {1, w5x1, w5x1}, {1, w6x1, w6x1}};

static void run(const tile_row *tiles, size_t m, size_t panels, size_t taps, size_t cin,
                const float *const *a, const void *w, size_t step, float *acc, size_t ld) {
    const size_t cuts = (m + MR - 1) / MR; /* tiles of nearly equal height */
    for (size_t q = 0, n; q < panels; q += n) {
        const uint8_t *wq = (const uint8_t *)w + q * step;
        const size_t most =
            cuts > 1 ? 1
                     : tiles[m - 1]
                           .panels; /* with several tiles, one panel stays in L1 for all of them */
        n = panels - q < most ? 1 : most;
        for (size_t i = 0; i < cuts; i++) {
            const size_t p = m * i / cuts;
            const tile_row *row = &tiles[m * (i + 1) / cuts - p - 1];
            (n > 1 ? row->wide : row->one)(taps, cin, a + p * taps, wq, step, acc + p * ld + q * NR,
                                           ld);
        }
    }
}

/* The lower 8 filters of a panel: 8 pixels are the 8 chains. */
static BC_INLINE void half(const int mr, size_t taps, size_t cin, const float *const *a,
                           const float *w, float *acc, size_t ld) {
    __m256 y[MR_HALF];
    BC_UNROLL
    for (int r = 0; r < mr; r++)
        y[r] = _mm256_setzero_ps();
    for (size_t t = 0; t < taps; t++) {
        const float *x[MR_HALF];
        BC_UNROLL
        for (int r = 0; r < mr; r++)
            x[r] = a[(size_t)r * taps + t];
        for (size_t i = 0; i < cin; i++, w += NR) {
            const __m256 v = _mm256_load_ps(w);
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                y[r] = _mm256_fmadd_ps(_mm256_broadcast_ss(x[r] + i), v, y[r]);
        }
    }
    BC_UNROLL
    for (int r = 0; r < mr; r++)
        _mm256_storeu_ps(acc + (size_t)r * ld, y[r]);
}

#define HALF(mr)                                                                                   \
    static void half##mr(size_t taps, size_t cin, const float *const *a, const float *w,           \
                         float *acc, size_t ld) {                                                  \
        half(mr, taps, cin, a, w, acc, ld);                                                        \
    }
HALF(1)
HALF(2)
HALF(3)
HALF(4)
HALF(5)
HALF(6)
HALF(7)
HALF(8)

typedef void (*half_fn)(size_t, size_t, const float *const *, const float *, float *, size_t);
static const half_fn halves[MR_HALF] = {half1, half2, half3, half4, half5, half6, half7, half8};

void bc_fgemm__avx2(size_t m, size_t n, size_t taps, size_t cin, const float *const *a,
                    const float *w, float *acc, size_t ld) {
    const size_t step = taps * cin * NR, panels = (n + 7) / NR; /* 8 or fewer filters are a half */
    if (panels)
        run(f_tiles, m, panels, taps, cin, a, w, step * sizeof *w, acc, ld);
    if (panels * NR >= n)
        return;
    const size_t cuts = (m + MR_HALF - 1) / MR_HALF;
    for (size_t i = 0; i < cuts; i++) {
        const size_t p = m * i / cuts;
        halves[m * (i + 1) / cuts - p - 1](taps, cin, a + p * taps, w + panels * step,
                                           acc + p * ld + panels * NR, ld);
    }
}

void bc_wgemm__avx2(size_t m, size_t panels, size_t taps, size_t cin, const float *const *a,
                    const uint16_t *w, float *acc, size_t ld) {
    run(w_tiles, m, panels, taps, cin, a, w, taps * cin * sizeof *w, acc, ld);
}

BC_TARGET_END
