/* sse42.c: the row for x86-64 without AVX2: binary products by the popcnt of 64-bit registers, rows
 * of channels by SSE vectors, all other products as in scalar.c. Needs SSE4.2 and POPCNT.
 *
 * A tile is a pixel times a panel: its word goes against those of 8 filters, each with a sum of its
 * own: mov, xor with memory, popcnt, add for 64 multiply-accumulates. Counts of 64 bits need no
 * widening. Bottleneck: popcnt, one a cycle on Intel; additions and the decoder on AMD. */
#include "../internal.h"
#include "scalar.h"
#include "simd.h"

#include <immintrin.h>

enum { NR = BC_PANEL_BINARY };

BC_TARGET_BEGIN("sse4.2,popcnt")

static BC_INLINE __m128i load4(const int32_t *x) {
    return _mm_loadu_si128((const __m128i *)(const void *)x);
}

static BC_INLINE unsigned less4(__m128i x, __m128i y) {
    return (unsigned)_mm_movemask_ps(_mm_castsi128_ps(_mm_cmplt_epi32(x, y)));
}

static BC_INLINE uint8_t less8(const int32_t *x, const int32_t *y) {
    return (uint8_t)(less4(load4(x), load4(y)) | less4(load4(x + 4), load4(y + 4)) << 4);
}

#define BC_LESS8 less8
#define BC_F32X16
#include "sse42_f32x16.h"

#include "bgemm_steps.h"
#include "rows.h"

/* sum[f] += what differs between x and word f of the panel. */
static BC_INLINE void count_word(uint64_t sum[NR], uint64_t x, const uint64_t *w) {
    BC_UNROLL
    for (int f = 0; f < NR; f++) {
        sum[f] += (uint64_t)_mm_popcnt_u64(x ^ w[f]);
        BC_KEEP_R(sum[f]); /* in a register each, not two in a vector */
    }
}

static BC_INLINE __m128i pack4(const uint64_t sum[4]) {
    return _mm_set_epi64x((int64_t)(sum[2] | sum[3] << 32), (int64_t)(sum[0] | sum[1] << 32));
}

/* Sums go to vectors in registers: 16 bytes loaded right after stores of 4 wait for those. */
static BC_INLINE void tile(size_t taps, size_t cw, const uint64_t *const *a, size_t skip,
                           const uint64_t *w, __m128i pop[2]) {
    uint64_t sum[NR] = {0};
    for (size_t t = 0; t < taps; t++) {
        const uint64_t *x = a[t] + skip;
        for (size_t i = 0; i < cw; i++, w += NR)
            count_word(sum, x[i], w);
    }
    pop[0] = pack4(sum);
    pop[1] = pack4(sum + 4);
}

static BC_INLINE void pop_pixels(size_t m, size_t taps, size_t cw, const uint64_t *const *a,
                                 size_t skip, const uint64_t *w, int32_t *pop, size_t ld) {
    for (size_t p = 0; p < m; p++, a += taps, pop += ld) {
        __m128i sum[2];
        tile(taps, cw, a, skip, w, sum);
        _mm_storeu_si128((__m128i *)(void *)pop, sum[0]);
        _mm_storeu_si128((__m128i *)(void *)(pop + 4), sum[1]);
    }
}

static BC_INLINE void tau_pixels(size_t m, size_t taps, size_t cw, const uint64_t *const *a,
                                 size_t skip, const uint64_t *w, const int32_t *const *limit,
                                 size_t first, uint8_t *out, size_t out_stride) {
    for (size_t p = 0; p < m; p++, a += taps, out += out_stride) {
        __m128i sum[2];
        tile(taps, cw, a, skip, w, sum);
        const int32_t *to = limit[p] + first;
        *out = (uint8_t)(less4(load4(to), sum[0]) | less4(load4(to + 4), sum[1]) << 4);
    }
}

/* Panels outside, pixels inside: the weights of a panel stay in L1 for all pixels. Taps of one word
 * have no inner loop: its cost shows. */
static void bgemm(size_t m, size_t panels, size_t taps, size_t cw, const uint64_t *const *a,
                  size_t skip, const uint64_t *w, int32_t *pop, size_t ld) {
    for (size_t q = 0; q < panels; q++, w += taps * cw * NR, pop += NR)
        if (cw == 1)
            pop_pixels(m, taps, 1, a, skip, w, pop, ld);
        else
            pop_pixels(m, taps, cw, a, skip, w, pop, ld);
}

static void bgemm_tau(size_t m, size_t panels, size_t taps, size_t cw, const uint64_t *const *a,
                      size_t skip, const uint64_t *w, const int32_t *const *limit, uint8_t *out,
                      size_t out_stride) {
    for (size_t q = 0; q < panels; q++, w += taps * cw * NR, out++)
        if (cw == 1)
            tau_pixels(m, taps, 1, a, skip, w, limit, q * NR, out, out_stride);
        else
            tau_pixels(m, taps, cw, a, skip, w, limit, q * NR, out, out_stride);
}

BC_BGEMM_STEPS(bgemm_steps, bgemm, steps)

/* The roofline: the tile's inner loop without loads. Products that are scalar's have its peak. */
static uint64_t peak(bc_peak kind, uint64_t rounds, uint64_t *sink) {
    enum { STEPS = 4, WORDS = 8 };
    if (kind != BC_PEAK_BINARY && kind != BC_PEAK_COUNT)
        return bc_kernels_scalar.peak(kind, rounds, sink);
    uint64_t sum[NR] = {0}, x = *sink, v = ~x;
    for (uint64_t r = 0; r < rounds * STEPS; r++) {
        BC_UNROLL
        for (int i = 0; i < WORDS; i++) {
            BC_UNROLL
            for (int f = 0; f < NR; f++) {
                BC_KEEP_R(v); /* or one popcnt would do for all */
                sum[f] += (uint64_t)_mm_popcnt_u64(x ^ v);
                BC_KEEP_R(sum[f]);
            }
        }
    }
    for (int f = 0; f < NR; f++)
        *sink ^= sum[f];
    return rounds * STEPS * WORDS * NR * 64;
}

BC_TARGET_END

const bc_kernels bc_kernels_sse42 = {
    .name = "sse42",
    .cpu_needs = BC_CPU_SSE42 | BC_CPU_POPCNT,
    .mr_binary = 1,
    .mr_float = 1,
    .bgemm = bgemm,
    .bgemm_tau = bgemm_tau,
    .bgemm_steps = bgemm_steps,
    BC_PRODUCTS_SCALAR,
    BC_TABLES_SCALAR,
    BC_ROWS,
    .peak = peak,
};
