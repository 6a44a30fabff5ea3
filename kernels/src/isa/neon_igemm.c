/* neon_igemm.c: 16-bit integer activations times 1-bit weights, for layers that read raw pixels.
 *
 * The pixels of a tile are gathered first, so that first layers of 3 channels waste nothing: K runs
 * through all taps, and 8 values of a pixel lie in one vector, which smlal takes by lane. Weights
 * become +-1 once per tile and k, in the pipe that smlal leaves free. Tile: 5 pixels x 16 filters =
 * 20 accumulators. */
#include "gather.h"
#include "neon.h"

enum { MR = 5, NR = BC_PANEL_FLOAT, BLOCK_K = 1024 };

typedef int16_t pixel_rows[MR][BLOCK_K]; /* K values of each pixel */

/* One bit of 8 filters to +-1 each: bit set = -1. */
static BC_INLINE int16x8_t signs(uint16_t bits, uint16x8_t filter) {
    const uint16x8_t minus = vtstq_u16(vdupq_n_u16(bits), filter);
    return vorrq_s16(vreinterpretq_s16_u16(minus), vdupq_n_s16(1));
}

/* y += weights k of 16 filters times lane `lane` of each pixel's x. */
#define MULTIPLY_LANE(lane)                                                                        \
    {                                                                                              \
        BC_IN_ORDER;                                                                               \
        const int16x8_t v0 = signs(w[k + (lane)], low), v1 = signs(w[k + (lane)], high);           \
        BC_UNROLL                                                                                  \
        for (int r = 0; r < mr; r++) {                                                             \
            y[r][0] = vmlal_laneq_s16(y[r][0], vget_low_s16(v0), x[r], lane);                      \
            y[r][1] = vmlal_high_laneq_s16(y[r][1], v0, x[r], lane);                               \
            y[r][2] = vmlal_laneq_s16(y[r][2], vget_low_s16(v1), x[r], lane);                      \
            y[r][3] = vmlal_high_laneq_s16(y[r][3], v1, x[r], lane);                               \
        }                                                                                          \
    }

static BC_INLINE void tile(const int mr, const pixel_rows rows, size_t n, const uint16_t *w,
                           int32_t *acc, size_t ld, bool add) {
    static const uint16_t filters[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    const uint16x8_t low = vld1q_u16(filters), high = vshlq_n_u16(low, 8);
    int32x4_t y[MR][4];
    int16x8_t x[MR];
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        BC_UNROLL
        for (int j = 0; j < 4; j++)
            y[r][j] = add ? vld1q_s32(acc + (size_t)r * ld + 4 * j) : vdupq_n_s32(0);
    }
    size_t k = 0;
    for (; k + 8 <= n; k += 8) {
        BC_UNROLL
        for (int r = 0; r < mr; r++)
            x[r] = vld1q_s16(&rows[r][k]);
        MULTIPLY_LANE(0)
        MULTIPLY_LANE(1)
        MULTIPLY_LANE(2)
        MULTIPLY_LANE(3)
        MULTIPLY_LANE(4)
        MULTIPLY_LANE(5)
        MULTIPLY_LANE(6)
        MULTIPLY_LANE(7)
    }
    for (; k < n; k++) {
        BC_UNROLL
        for (int r = 0; r < mr; r++)
            x[r] = vdupq_n_s16(rows[r][k]);
        MULTIPLY_LANE(0)
    }
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        BC_UNROLL
        for (int j = 0; j < 4; j++)
            vst1q_s32(acc + (size_t)r * ld + 4 * j, y[r][j]);
    }
}

#define TILE(mr)                                                                                   \
    static void tile##mr(const pixel_rows x, size_t n, const uint16_t *w, int32_t *acc, size_t ld, \
                         bool add) {                                                               \
        tile(mr, x, n, w, acc, ld, add);                                                           \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)

typedef void (*tile_fn)(const pixel_rows, size_t, const uint16_t *, int32_t *, size_t, bool);
static const tile_fn tiles[MR] = {tile1, tile2, tile3, tile4, tile5};

void bc_igemm__neon(size_t m, size_t panels, size_t taps, size_t cin, const int16_t *const *a,
                    const uint16_t *w, int32_t *acc, size_t ld) {
    const size_t k_all = taps * cin, cuts = (m + MR - 1) / MR;
    pixel_rows x;
    for (size_t i = 0; i < cuts; i++) {
        const size_t p = m * i / cuts, mr = m * (i + 1) / cuts - p;
        for (size_t k0 = 0; k0 < k_all; k0 += BLOCK_K) {
            const size_t n = bc_min(BLOCK_K, k_all - k0);
            bc_gather16(&x[0][0], BLOCK_K, mr, taps, cin, a + p * taps, k0, n);
            for (size_t q = 0; q < panels; q++)
                tiles[mr - 1]((const int16_t (*)[BLOCK_K])x, n, w + q * k_all + k0,
                              acc + p * ld + q * NR, ld, k0 > 0);
        }
    }
}
