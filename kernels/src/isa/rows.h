/* rows.h: the kernels over rows of channels, as plain loops that compilers vectorise well. An
 * instruction set's file raises its target and includes this file inside, so that each gets its own
 * code; contracts are in internal.h.
 *
 * Before that it defines a function of pointers to 8 int32: bit j of BC_LESS8(acc, tau) tells
 * acc[j] < tau[j]; and f32x16 with its operations, and BC_F32X16, where it has better ones than
 * plain_f32x16.h.
 */

#include <math.h>
#include <string.h>

#ifndef BC_F32X16
#include "plain_f32x16.h"
#endif
#include "steps.h"
#include "lookup.h"
#include "pack_taps.h"

enum { DEPTHWISE_MR = 4 }; /* pixels of a tile: 4 x 16 accumulators are 8 AVX2 registers */

static void i32_to_bits(size_t m, size_t c, const int32_t *acc, size_t ld, const int32_t *tau,
                        uint8_t *out, size_t out_stride) {
    for (size_t p = 0; p < m; p++, acc += ld, out += out_stride) {
        size_t i = 0;
        for (; i + 8 <= c; i += 8)
            out[i / 8] = BC_LESS8(acc + i, tau + i);
        if (i < c) {
            unsigned bits = 0;
            for (size_t j = i; j < c; j++)
                bits |= (unsigned)(acc[j] < tau[j]) << (j - i);
            out[i / 8] = (uint8_t)bits;
        }
    }
}

/* n <= 16 channels of `mr` pixels, from channel i on: weights are loaded once for all of them. */
static BC_INLINE void depthwise_tile(const int mr, size_t n, size_t i, size_t c, size_t taps,
                                     const float *const *a, const float *w, float *y, size_t ld) {
    f32x16 acc[DEPTHWISE_MR];
    BC_UNROLL
    for (int r = 0; r < mr; r++)
        acc[r] = f32x16_splat(0);
    for (size_t t = 0; t < taps; t++) {
        const f32x16 v = load_tile(w + t * c + i, n);
        BC_UNROLL
        for (int r = 0; r < mr; r++)
            acc[r] = f32x16_fma(acc[r], load_tile(a[(size_t)r * taps + t] + i, n), v);
    }
    BC_UNROLL
    for (int r = 0; r < mr; r++)
        store_tile(y + (size_t)r * ld + i, acc[r], n);
}

static void fdepthwise(size_t m, size_t c, size_t taps, const float *const *a, const float *w,
                       float *y, size_t ld) {
    for (size_t p = 0, mr; p < m; p += mr, a += mr * taps, y += mr * ld) {
        mr = m - p < DEPTHWISE_MR ? 1 : DEPTHWISE_MR;
        size_t i = 0;
        for (; i + STEP_NR <= c; i += STEP_NR)
            if (mr > 1)
                depthwise_tile(DEPTHWISE_MR, STEP_NR, i, c, taps, a, w, y, ld);
            else
                depthwise_tile(1, STEP_NR, i, c, taps, a, w, y, ld);
        for (size_t r = 0; r < mr && i < c; r++)
            depthwise_tile(1, c - i, i, c, taps, a + r * taps, w, y + r * ld, ld);
    }
}

static void max_pool(size_t m, size_t c, size_t taps, const float *const *a, float *y, size_t ld) {
    for (size_t p = 0; p < m; p++, a += taps, y += ld)
        for (size_t i = 0, n; i < c; i += n) {
            n = bc_min(STEP_NR, c - i);
            f32x16 best = load_tile(a[0] + i, n);
            for (size_t t = 1; t < taps; t++)
                best = f32x16_above(load_tile(a[t] + i, n), best);
            store_tile(y + i, best, n);
        }
}

static void avg_pool(size_t m, size_t c, size_t taps, const float *const *a, const float *divisor,
                     float *y, size_t ld) {
    for (size_t p = 0; p < m; p++) {
        float *restrict to = y + p * ld;
        for (size_t i = 0; i < c; i++)
            to[i] = 0;
        for (size_t t = 0; t < taps; t++) {
            const float *restrict x = a[p * taps + t];
            for (size_t i = 0; i < c; i++)
                to[i] = to[i] + x[i];
        }
        const float by = divisor[p];
        for (size_t i = 0; i < c; i++)
            to[i] = to[i] / by;
    }
}

static void bit_pool(size_t m, size_t cw, size_t taps, const uint64_t *const *a,
                     const uint64_t *or_mask, uint64_t *y) {
    for (size_t p = 0; p < m; p++)
        for (size_t i = 0; i < cw; i++) {
            uint64_t all = a[p * taps][i], any = all;
            for (size_t t = 1; t < taps; t++) {
                all &= a[p * taps + t][i];
                any |= a[p * taps + t][i];
            }
            y[p * cw + i] = (all & ~or_mask[i]) | (any & or_mask[i]);
        }
}

static void abs_mean(size_t m, size_t c, const float *x, size_t ld, float inv, float *y) {
    for (size_t p = 0; p < m; p++) {
        const float *row = x + p * ld;
        float lane[16] = {0};
        size_t i = 0;
        for (; i + 16 <= c; i += 16)
            for (size_t j = 0; j < 16; j++)
                lane[j] += fabsf(row[i + j]);
        for (size_t j = 0; i + j < c; j++)
            lane[j] += fabsf(row[i + j]);
        for (size_t half = 8; half > 0; half /= 2)
            for (size_t j = 0; j < half; j++)
                lane[j] += lane[j + half];
        y[p] = lane[0] * inv;
    }
}

/* Bit j of byte i becomes bit i of byte j. */
static BC_INLINE uint64_t turn8x8(uint64_t x) {
    uint64_t t = (x ^ x >> 7) & 0x00aa00aa00aa00aau;
    x ^= t ^ t << 7;
    t = (x ^ x >> 14) & 0x0000cccc0000ccccu;
    x ^= t ^ t << 14;
    t = (x ^ x >> 28) & 0x00000000f0f0f0f0u;
    return x ^ t ^ t << 28;
}

static void turn_bits(size_t octets, const uint8_t *restrict low, const uint8_t *restrict high,
                      uint8_t *restrict to) {
    for (size_t i = 0; i < octets; i++) {
        uint64_t x, y;
        memcpy(&x, low + 8 * i, sizeof x);
        memcpy(&y, high + 8 * i, sizeof y);
        x = turn8x8(x);
        y = turn8x8(y);
        memcpy(to + 16 * i, &x, sizeof x);
        memcpy(to + 16 * i + 8, &y, sizeof y);
    }
}

/* Where a center is taken off, its negative is added: the same bits. */
static BC_INLINE f32x16 minus_tile(const float *x, size_t n) {
    return f32x16_mul(load_tile(x, n), f32x16_splat(-1));
}

static BC_INLINE void sum_columns(size_t m, size_t c, size_t i, size_t n, const float *x,
                                  const float *dy, const float *center, float *sums) {
    const f32x16 minus = minus_tile(center + i, n);
    f32x16 sum = f32x16_splat(0), products = sum;
    for (size_t p = 0; p < m; p++) {
        const f32x16 v = f32x16_add(load_tile(x + p * c + i, n), minus),
                     u = dy ? load_tile(dy + p * c + i, n) : v;
        sum = f32x16_add(sum, u);
        products = f32x16_add(products, f32x16_mul(u, v));
    }
    store_tile(sums + i, sum, n);
    store_tile(sums + c + i, products, n);
}

static void center_sums(size_t m, size_t c, const float *x, const float *dy, const float *center,
                        float *sums) {
    size_t i = 0;
    for (; i + STEP_NR <= c; i += STEP_NR)
        if (dy)
            sum_columns(m, c, i, STEP_NR, x, dy, center, sums);
        else
            sum_columns(m, c, i, STEP_NR, x, NULL, center, sums);
    if (i < c)
        sum_columns(m, c, i, c - i, x, dy, center, sums);
}

static BC_INLINE f32x16 through(bc_estimator estimator, f32x16 dx, f32x16 z) {
    const f32x16 minus = f32x16_mul(z, f32x16_splat(-1));
    if (estimator == BC_STE) {
        const f32x16 one = f32x16_splat(1);
        return f32x16_keep(dx, f32x16_below(f32x16_add(one, z), f32x16_add(one, minus)));
    }
    if (estimator == BC_IDENTITY)
        return dx;
    const f32x16 two = f32x16_splat(2), above = f32x16_add(two, f32x16_add(z, z)),
                 below = f32x16_add(two, f32x16_add(minus, minus));
    return f32x16_mul(dx, f32x16_above(f32x16_below(above, below), f32x16_splat(0)));
}

static BC_INLINE void through_columns(bc_estimator estimator, size_t m, size_t c, const float *x,
                                      const float *input, const float *center, float *dx,
                                      float *sums) {
    for (size_t i = 0; i < c; i += STEP_NR) {
        const f32x16 scale = f32x16_load(input + i), shift = f32x16_load(input + c + i),
                     minus = minus_tile(center + i, STEP_NR);
        f32x16 sum = f32x16_splat(0), products = sum;
        for (size_t p = 0; p < m; p++) {
            const f32x16 at = f32x16_load(x + p * c + i),
                         z = f32x16_add(f32x16_mul(at, scale), shift),
                         to = through(estimator, f32x16_load(dx + p * c + i), z);
            sum = f32x16_add(sum, to);
            products = f32x16_add(products, f32x16_mul(to, f32x16_add(at, minus)));
            f32x16_store(dx + p * c + i, to);
        }
        f32x16_store(sums + i, sum);
        f32x16_store(sums + c + i, products);
    }
}

static void through_sign(size_t m, size_t c, bc_estimator estimator, const float *x,
                         const float *input, const float *center, float *dx, float *sums) {
    if (estimator == BC_STE)
        through_columns(BC_STE, m, c, x, input, center, dx, sums);
    else if (estimator == BC_APPROXSIGN)
        through_columns(BC_APPROXSIGN, m, c, x, input, center, dx, sums);
    else
        through_columns(BC_IDENTITY, m, c, x, input, center, dx, sums);
}

/* These kernels' members of a table. */
#define BC_ROWS                                                                                    \
    .fdepthwise = fdepthwise, .steps = steps, .i32_to_bits = i32_to_bits, .max_pool = max_pool,    \
    .avg_pool = avg_pool, .bit_pool = bit_pool, .abs_mean = abs_mean, .pack_taps = pack_taps,      \
    .turn_bits = turn_bits, .center_sums = center_sums, .through_sign = through_sign,              \
    .ltable = ltable, .lgemm = lgemm
