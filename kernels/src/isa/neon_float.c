/* neon_float.c: float products.
 *
 * Every output has one accumulator, and K is walked in order, so that the bits are those of scalar
 * fmaf. Tile: 6 pixels x 1 panel of 16 filters = 24 accumulators, 4 values of each pixel in a
 * vector, which fmla takes by lane, so nothing is broadcast; 2 vectors are left for weights. 2 FMA
 * a cycle of latency 4 need 8 chains, so fewer pixels take more panels: 2, 3 x 2; 1 x 4. */
#include "neon.h"

enum { MR = 6, NR = BC_PANEL_FLOAT, ACCS = 6 };

/* y (+)= weights k of all filters times lane `lane` of each pixel's x. A macro, as lanes are
 * constants of the language. */
#define MULTIPLY_LANE(lane)                                                                        \
    BC_UNROLL                                                                                      \
    for (int q = 0; q < nr; q++) {                                                                 \
        BC_UNROLL                                                                                  \
        for (int j = 0; j < quarters; j++) {                                                       \
            BC_IN_ORDER;                                                                           \
            const float32x4_t v = vld1q_f32(w + (size_t)q * step + (k + (lane)) * NR + 4 * j);     \
            BC_UNROLL                                                                              \
            for (int r = 0; r < mr; r++) {                                                         \
                BC_OPAQUE(x[r]);                                                                   \
                y[r * nr + q][j] = vfmaq_laneq_f32(y[r * nr + q][j], v, x[r], lane);               \
            }                                                                                      \
        }                                                                                          \
    }

/* acc rows of `mr` pixels, `nr` panels, `quarters` of 4 filters of each; step: from one panel of w
 * to the next. */
static BC_INLINE void tile(const int mr, const int nr, const int quarters, size_t taps, size_t cin,
                           const float *const *a, const float *w, size_t step, float *acc,
                           size_t ld) {
    float32x4_t y[ACCS][4], x[MR];
    BC_UNROLL
    for (int i = 0; i < mr * nr; i++)
        y[i][0] = y[i][1] = y[i][2] = y[i][3] = vdupq_n_f32(0);
    for (size_t t = 0, k = 0; t < taps; t++) {
        const float *from[MR];
        BC_UNROLL
        for (int r = 0; r < mr; r++)
            from[r] = a[(size_t)r * taps + t];
        size_t i = 0;
        for (; i + 4 <= cin; i += 4, k += 4) {
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                x[r] = vld1q_f32(from[r] + i);
            MULTIPLY_LANE(0)
            MULTIPLY_LANE(1)
            MULTIPLY_LANE(2)
            MULTIPLY_LANE(3)
        }
        for (; i < cin; i++, k++) {
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                x[r] = vld1q_dup_f32(from[r] + i);
            MULTIPLY_LANE(0)
        }
    }
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        BC_UNROLL
        for (int q = 0; q < nr; q++) {
            BC_UNROLL
            for (int j = 0; j < quarters; j++)
                vst1q_f32(acc + (size_t)r * ld + q * NR + 4 * j, y[r * nr + q][j]);
        }
    }
}

#define TILE(mr, nr)                                                                               \
    static void f##mr##x##nr(size_t taps, size_t cin, const float *const *a, const float *w,       \
                             size_t step, float *acc, size_t ld) {                                 \
        tile(mr, nr, 4, taps, cin, a, w, step, acc, ld);                                           \
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

/* The lower half of a panel. */
#define HALF(mr)                                                                                   \
    static void half##mr(size_t taps, size_t cin, const float *const *a, const float *w,           \
                         size_t step, float *acc, size_t ld) {                                     \
        tile(mr, 1, 2, taps, cin, a, w, step, acc, ld);                                            \
    }
HALF(1)
HALF(2)
HALF(3)
HALF(4)
HALF(5)
HALF(6)

typedef void (*tile_fn)(size_t, size_t, const float *const *, const float *, size_t, float *,
                        size_t);
typedef struct tile_row {
    size_t panels; /* of `wide` */
    tile_fn wide, one;
} tile_row;
static const tile_row whole[MR] = {{4, f1x4, f1x1}, {2, f2x2, f2x1}, {2, f3x2, f3x1},
                                   {1, f4x1, f4x1}, {1, f5x1, f5x1}, {1, f6x1, f6x1}};
static const tile_row halves[MR] = {{1, half1, half1}, {1, half2, half2}, {1, half3, half3},
                                    {1, half4, half4}, {1, half5, half5}, {1, half6, half6}};

static void run(const tile_row *tiles, size_t m, size_t panels, size_t taps, size_t cin,
                const float *const *a, const float *w, size_t step, float *acc, size_t ld) {
    const size_t cuts = (m + MR - 1) / MR; /* tiles of nearly equal height */
    /* with several tiles, one panel stays in L1 for all of them */
    const size_t most = cuts > 1 ? 1 : tiles[m - 1].panels;
    for (size_t q = 0, n; q < panels; q += n) {
        n = panels - q < most ? 1 : most;
        for (size_t i = 0; i < cuts; i++) {
            const size_t p = m * i / cuts;
            const tile_row *row = &tiles[m * (i + 1) / cuts - p - 1];
            (n > 1 ? row->wide : row->one)(taps, cin, a + p * taps, w + q * step, step,
                                           acc + p * ld + q * NR, ld);
        }
    }
}

void bc_fgemm__neon(size_t m, size_t n, size_t taps, size_t cin, const float *const *a,
                    const float *w, float *acc, size_t ld, const bc_ahead *ahead) {
    (void)ahead;
    const size_t k = taps * cin, panels = (n + 7) / NR; /* 8 or fewer filters are a half */
    run(whole, m, panels, taps, cin, a, w, k * NR, acc, ld);
    if (panels * NR < n)
        run(halves, m, 1, taps, cin, a, w + panels * k * NR, 0, acc + panels * NR, ld);
}
