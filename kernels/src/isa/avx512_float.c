/* avx512_float.c: float products. Needs AVX512F.
 *
 * Every output has one accumulator, and K is walked in order, so that the bits are those of scalar
 * fmaf. A panel of 16 filters is one vector. Tile: up to 14 pixels x 2 panels = 28 accumulators + 2
 * weights + broadcast of 32 registers; 2 FMA a cycle of latency 4 need 8 chains, so fewer pixels
 * take more panels; four at most, because panels often lie a power of two apart, and more streams
 * from there would share the same few lines of the caches. */
#include "avx512.h"
#include "fetching.h"

BC_TARGET_BEGIN("avx512f,avx512bw,avx512vl")

enum { MR = 14, NR = BC_PANEL_FLOAT, ACCS = 28 };
/* Only tiles of so many pixels fetch ahead; and so many lines in a round, 52 FMA. */
enum { LEAST_FETCHING = 8, MOST_LINES = 4 };

static BC_INLINE void store(float *to, __m512 y, bool half) {
    if (half)
        _mm256_storeu_ps(to, _mm512_castps512_ps256(y));
    else
        _mm512_storeu_ps(to, y);
}

/* One k: every pixel's number times the weights of all panels. */
static BC_INLINE void step(const int mr, const int nr, const float *const x[MR], size_t i,
                           const float *w, size_t panel_floats, size_t k, __m512 y[ACCS]) {
    __m512 v[4];
    BC_UNROLL
    for (int q = 0; q < nr; q++)
        v[q] = _mm512_load_ps(w + (size_t)q * panel_floats + k * NR);
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        const __m512 xr = _mm512_set1_ps(x[r][i]);
        BC_UNROLL
        for (int q = 0; q < nr; q++)
            y[r * nr + q] = _mm512_fmadd_ps(xr, v[q], y[r * nr + q]);
    }
}

/* acc rows of `mr` pixels, `nr` panels; panel_floats: from one panel of w to the next. `lines` from
 * `ahead` on are fetched in every round. */
static BC_INLINE void tile(const int mr, const int nr, size_t taps, size_t cin,
                           const float *const *a, const float *w, size_t panel_floats, float *acc,
                           size_t ld, bool half, const char *ahead, size_t lines) {
    __m512 y[ACCS];
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        BC_UNROLL
        for (int q = 0; q < nr; q++)
            y[r * nr + q] = _mm512_setzero_ps();
    }
    /* Outputs are often larger than the cache: their lines come while the tile is computed. */
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        BC_UNROLL
        for (int q = 0; q < nr; q++)
            BC_PREFETCH_TO(acc + (size_t)r * ld + q * NR);
    }
    for (size_t t = 0, k = 0; t < taps; t++) {
        const float *x[MR];
        BC_UNROLL
        for (int r = 0; r < mr; r++)
            x[r] = a[(size_t)r * taps + t];
        size_t i = 0;
        /* Two k a round hide what the loop itself costs, 3 % of a tile; four would spill. */
        for (; i + 2 <= cin; i += 2, k += 2) {
            step(mr, nr, x, i, w, panel_floats, k, y);
            step(mr, nr, x, i + 1, w, panel_floats, k + 1, y);
            if (mr >= LEAST_FETCHING)
                ahead = fetch_lines(ahead, lines);
        }
        if (i < cin)
            step(mr, nr, x, i, w, panel_floats, k++, y);
    }
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        BC_UNROLL
        for (int q = 0; q < nr; q++)
            store(acc + (size_t)r * ld + q * NR, y[r * nr + q], half && q + 1 == nr);
    }
}

#define TILE(mr, nr)                                                                               \
    static void f##mr##x##nr(size_t taps, size_t cin, const float *const *a, const float *w,       \
                             size_t step, float *acc, size_t ld, bool half, const char *ahead,     \
                             size_t lines) {                                                       \
        tile(mr, nr, taps, cin, a, w, step, acc, ld, half, ahead, lines);                          \
    }
#define TILES_2(mr) TILE(mr, 1) TILE(mr, 2)
#define TILES_4(mr) TILES_2(mr) TILE(mr, 3) TILE(mr, 4)
TILES_4(1)
TILES_4(2)
TILES_4(3)
TILES_2(4)
TILES_2(5)
TILES_2(6)
TILES_2(7)
TILES_2(8)
TILES_2(9)
TILES_2(10)
TILES_2(11)
TILES_2(12)
TILES_2(13)
TILES_2(14)

typedef void (*tile_fn)(size_t, size_t, const float *const *, const float *, size_t, float *,
                        size_t, bool, const char *, size_t);
typedef struct tile_row {
    size_t most;   /* panels */
    tile_fn of[4]; /* one panel, two, ... */
} tile_row;
#define ROW_2(mr)                                                                                  \
    {                                                                                              \
        2, {                                                                                       \
            f##mr##x1, f##mr##x2                                                                   \
        }                                                                                          \
    }
#define ROW_4(mr)                                                                                  \
    {                                                                                              \
        4, {                                                                                       \
            f##mr##x1, f##mr##x2, f##mr##x3, f##mr##x4                                             \
        }                                                                                          \
    }
static const tile_row tiles[MR] = {ROW_4(1),  ROW_4(2),  ROW_4(3),  ROW_2(4), ROW_2(5),
                                   ROW_2(6),  ROW_2(7),  ROW_2(8),  ROW_2(9), ROW_2(10),
                                   ROW_2(11), ROW_2(12), ROW_2(13), ROW_2(14)};

void bc_fgemm__avx512(size_t m, size_t n, size_t taps, size_t cin, const float *const *a,
                      const float *w, float *acc, size_t ld, const bc_ahead *ahead) {
    const size_t panels = (n + NR - 1) / NR, step = taps * cin * NR;
    const bool half = panels * NR >= n + 8; /* of the last panel, the lower 8 columns are stored */
    const size_t cuts =
        (m + MR - 1) / MR; /* tiles of nearly equal height, 8 or more pixels if there are several */
    const size_t most = cuts > 1 ? 2 : tiles[m - 1].most;
    const size_t rounds = taps * (cin / 2); /* of a tile */
    fetching after = fetching_of(ahead, rounds * cuts * ((panels + most - 1) / most));
    for (size_t q = 0, count; q < panels; q += count) {
        count = bc_min(most, panels - q);
        for (size_t i = 0; i < cuts; i++) {
            const size_t p = m * i / cuts;
            const size_t lines = fetching_lines(&after, MOST_LINES);
            tiles[m * (i + 1) / cuts - p - 1].of[count - 1](
                taps, cin, a + p * taps, w + q * step, step, acc + p * ld + q * NR, ld,
                half && q + count == panels, after.at, lines);
            fetching_next(&after, rounds, lines);
        }
    }
}

BC_TARGET_END
