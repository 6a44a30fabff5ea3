/* neon_tgemm.c: floats times 1-bit weights.
 *
 * The table of a group (x0, x1, x2, x3) is A = the four sums +-x0 +-x1 and B = the four sums
 * +-x2 +-x3, a register each. Four filters look up theirs with tbl, by the bytes of a float: the
 * indices of 16 filters, made once per tile, serve all its pixels. So 16 products take two lookups
 * and two additions, as many instructions as fma takes for them.
 *
 * Tile: 4 pixels x 1 panel (16 accumulators). */
#include "neon.h"

#include <string.h>

enum { MR = 4, NR = BC_PANEL_FLOAT, OCTET = BC_TTABLE_OCTET__NEON };

/* A or B: element b is (b & 1 ? -x : x) + (b & 2 ? -y : y); times -1 is exact. */
static BC_INLINE float32x4_t pair_sums(float x, float y) {
    const float first[4] = {1, -1, 1, -1}, second[4] = {1, 1, -1, -1};
    return vaddq_f32(vmulq_n_f32(vld1q_f32(first), x), vmulq_n_f32(vld1q_f32(second), y));
}

void bc_ttable__neon(size_t rows, size_t c, const float *x, void *table) {
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
            vst1q_f32(to, pair_sums(from[0], from[1]));
            vst1q_f32(to + 4, pair_sums(from[2], from[3]));
        }
}

/* Bytes of the floats that filters 4 j .. 4 j + 3 take, by the two bits of w at `shift`. */
static BC_INLINE uint8x16_t index_of(uint8x16_t w, int shift, int j) {
    static const uint8_t bytes[16] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3},
                         filters[16] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
    const uint8x16_t two = vandq_u8(vshlq_u8(w, vdupq_n_s8((int8_t)-shift)), vdupq_n_u8(3)),
                     mine = vaddq_u8(vld1q_u8(filters), vdupq_n_u8((uint8_t)(4 * j)));
    return vaddq_u8(vqtbl1q_u8(vshlq_n_u8(two, 2), mine), vld1q_u8(bytes));
}

static BC_INLINE float32x4_t look_up(const float *table, uint8x16_t index) {
    return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(vld1q_f32(table)), index));
}

static BC_INLINE void tile(const int mr, size_t taps, size_t octets, const void *const *a,
                           const uint8_t *w, float *acc, size_t ld) {
    float32x4_t y[MR][4];
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        BC_UNROLL
        for (int j = 0; j < 4; j++)
            y[r][j] = vdupq_n_f32(0);
    }
    for (size_t t = 0; t < taps; t++)
        for (size_t i = 0; i < octets; i++, w += NR) {
            const uint8x16_t v = vld1q_u8(w);
            BC_UNROLL
            for (int g = 0; g < 2; g++) {
                uint8x16_t first[4], second[4];
                BC_UNROLL
                for (int j = 0; j < 4; j++) {
                    first[j] = index_of(v, 4 * g, j);
                    second[j] = index_of(v, 4 * g + 2, j);
                }
                BC_UNROLL
                for (int r = 0; r < mr; r++) {
                    const float *x =
                        (const float *)a[(size_t)r * taps + t] + i * (OCTET / 4) + 8 * (size_t)g;
                    BC_UNROLL
                    for (int j = 0; j < 4; j++)
                        y[r][j] = vaddq_f32(
                            y[r][j], vaddq_f32(look_up(x, first[j]), look_up(x + 4, second[j])));
                }
            }
        }
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        BC_UNROLL
        for (int j = 0; j < 4; j++)
            vst1q_f32(acc + (size_t)r * ld + 4 * (size_t)j, y[r][j]);
    }
}

#define TILE(mr)                                                                                   \
    static void t##mr(size_t taps, size_t octets, const void *const *a, const uint8_t *w,          \
                      float *acc, size_t ld) {                                                     \
        tile(mr, taps, octets, a, w, acc, ld);                                                     \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)

typedef void (*tile_fn)(size_t, size_t, const void *const *, const uint8_t *, float *, size_t);
static const tile_fn tiles[MR] = {t1, t2, t3, t4};

void bc_tgemm__neon(size_t m, size_t panels, size_t taps, size_t octets, const void *const *a,
                    const uint8_t *w, float *acc, size_t ld) {
    const size_t cuts = (m + MR - 1) / MR; /* tiles of nearly equal height */
    for (size_t q = 0; q < panels; q++)
        for (size_t i = 0; i < cuts; i++) {
            const size_t p = m * i / cuts;
            tiles[m * (i + 1) / cuts - p - 1](
                taps, octets, a + p * taps, w + q * taps * octets * NR, acc + p * ld + q * NR, ld);
        }
}
