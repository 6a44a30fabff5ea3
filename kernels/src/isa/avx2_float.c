/* avx2_float.c: float products.
 *
 * Every output has one accumulator, and K is walked in order, so that the bits are those of scalar
 * fmaf. Tile: 6 pixels x 1 panel of 16 filters = 12 accumulators, 2 weight vectors, 1 or 2
 * broadcasts; 2 FMA a cycle need 8 chains of latency 4, so fewer pixels take more panels: 2, 3 x 2;
 * 1 x 4. */
#include "avx2.h"
#include "fetching.h"

#include <immintrin.h>

BC_TARGET_BEGIN("avx2,fma")

enum { MR = 6, MR_HALF = 8, NR = BC_PANEL_FLOAT };
/* Only tiles of so many pixels fetch ahead; and so many lines under one tap. */
enum { LEAST_FETCHING = 4, MOST_LINES = 16 };

/* acc rows of `mr` pixels, `nr` panels; step: from one panel of w to the next. `lines` from `ahead`
 * on are fetched under every tap. */
static BC_INLINE void tile(const int mr, const int nr, size_t taps, size_t cin,
                           const float *const *a, const float *w, size_t step, float *acc,
                           size_t ld, const char *ahead, size_t lines) {
    __m256 y[12][2];
    BC_UNROLL
    for (int i = 0; i < mr * nr; i++)
        y[i][0] = y[i][1] = _mm256_setzero_ps();
    for (size_t t = 0, k = 0; t < taps; t++) {
        const float *x[MR];
        BC_UNROLL
        for (int r = 0; r < mr; r++)
            x[r] = a[(size_t)r * taps + t];
        if (mr >= LEAST_FETCHING)
            ahead = fetch_lines(ahead, lines);
        for (size_t i = 0; i < cin; i++, k++) {
            BC_UNROLL
            for (int q = 0; q < nr; q++) {
                const float *wk = w + (size_t)q * step + k * NR;
                const __m256 v[2] = {_mm256_load_ps(wk), _mm256_load_ps(wk + 8)};
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
    static void f##mr##x##nr(size_t taps, size_t cin, const float *const *a, const float *w,       \
                             size_t step, float *acc, size_t ld, const char *ahead,                \
                             size_t lines) {                                                       \
        tile(mr, nr, taps, cin, a, w, step, acc, ld, ahead, lines);                                \
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

typedef void (*tile_fn)(size_t, size_t, const float *const *, const float *, size_t, float *,
                        size_t, const char *, size_t);
typedef struct tile_row {
    size_t panels; /* of `wide` */
    tile_fn wide, one;
} tile_row;
static const tile_row whole[MR] = {{4, f1x4, f1x1}, {2, f2x2, f2x1}, {2, f3x2, f3x1},
                                   {1, f4x1, f4x1}, {1, f5x1, f5x1}, {1, f6x1, f6x1}};

static void run(const tile_row *tiles, size_t m, size_t panels, size_t taps, size_t cin,
                const float *const *a, const float *w, size_t step, float *acc, size_t ld,
                const bc_ahead *ahead) {
    const size_t cuts = (m + MR - 1) / MR; /* tiles of nearly equal height */
    /* with several tiles, one panel stays in L1 for all of them */
    const size_t most = cuts > 1 ? 1 : tiles[m - 1].panels;
    fetching after = fetching_of(ahead, taps * cuts * panels);
    for (size_t q = 0, n; q < panels; q += n) {
        n = panels - q < most ? 1 : most;
        for (size_t i = 0; i < cuts; i++) {
            const size_t p = m * i / cuts;
            const tile_row *row = &tiles[m * (i + 1) / cuts - p - 1];
            const size_t lines = fetching_lines(&after, MOST_LINES);
            (n > 1 ? row->wide : row->one)(taps, cin, a + p * taps, w + q * step, step,
                                           acc + p * ld + q * NR, ld, after.at, lines);
            fetching_next(&after, taps, lines);
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
                    const float *w, float *acc, size_t ld, const bc_ahead *ahead) {
    const size_t step = taps * cin * NR, panels = (n + 7) / NR; /* 8 or fewer filters are a half */
    if (panels)
        run(whole, m, panels, taps, cin, a, w, step, acc, ld, ahead);
    if (panels * NR >= n)
        return;
    const size_t cuts = (m + MR_HALF - 1) / MR_HALF;
    for (size_t i = 0; i < cuts; i++) {
        const size_t p = m * i / cuts;
        halves[m * (i + 1) / cuts - p - 1](taps, cin, a + p * taps, w + panels * step,
                                           acc + p * ld + panels * NR, ld);
    }
}

BC_TARGET_END
