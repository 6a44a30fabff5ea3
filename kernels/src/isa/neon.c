/* neon.c: the two NEON rows of the kernel table, their loops over rows, and their rooflines.
 * `neondot` needs DOTPROD (ARMv8.2) and differs in the binary products alone. Products are in
 * neon_bgemm.c (bits), neon_float.c, neon_igemm.c and neon_tgemm.c. */
#include "neon.h"
#include "scalar_weight.h"

/* Eight lanes of all ones or all zeros, in two halves, to bits. */
static BC_INLINE uint8_t mask_to_bits(uint32x4_t low, uint32x4_t high) {
    static const uint8_t bits[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    const uint16x8_t all = vuzp1q_u16(vreinterpretq_u16_u32(low), vreinterpretq_u16_u32(high));
    return vaddv_u8(vand_u8(vmovn_u16(all), vld1_u8(bits)));
}

static BC_INLINE uint8_t less8(const int32_t *x, const int32_t *y) {
    return mask_to_bits(vcltq_s32(vld1q_s32(x), vld1q_s32(y)),
                        vcltq_s32(vld1q_s32(x + 4), vld1q_s32(y + 4)));
}

#define BC_LESS8 less8
#define BC_F32X16
#include "neon_f32x16.h"

#include "bgemm_steps.h"
#include "rows.h"
BC_BGEMM_STEPS(bgemm_steps, bc_bgemm__neon, steps)
BC_BGEMM_STEPS(bgemm_steps_dot, bc_bgemm__neondot, steps)

/* The roofline: 12 chains of what one step of a tile's inner loop does, without its loads. */
enum { CHAINS = 12, STEPS = 28 };

static BC_INLINE uint64_t digest(uint32x4_t y[CHAINS]) {
    BC_UNROLL
    for (int i = 1; i < CHAINS; i++)
        y[0] = veorq_u32(y[0], y[i]);
    return vgetq_lane_u64(vreinterpretq_u64_u32(y[0]), 0);
}

/* eor, cnt, add or udot: 2 filters x 64 bits. */
static BC_INLINE uint64_t bit_chains(const bool dot, uint64_t rounds, uint64_t seed) {
    const uint8x16_t v = vreinterpretq_u8_u64(vdupq_n_u64(seed)), ones = vdupq_n_u8(1);
    uint8x16_t x = vshrq_n_u8(v, 1);
    uint32x4_t y[CHAINS];
    BC_UNROLL
    for (int i = 0; i < CHAINS; i++)
        y[i] = vreinterpretq_u32_u8(v);
    for (uint64_t r = 0; r < rounds * STEPS; r++) {
        BC_UNROLL
        for (int i = 0; i < CHAINS; i++) {
            BC_KEEP_X(x);
            const uint8x16_t n = vcntq_u8(veorq_u8(x, v));
            y[i] = dot ? bc_add_bytes(y[i], n, ones)
                       : vreinterpretq_u32_u8(vaddq_u8(vreinterpretq_u8_u32(y[i]), n));
            BC_KEEP_X(y[i]);
        }
    }
    return digest(y);
}

static uint64_t add_chains(uint64_t rounds, uint64_t seed) {
    return bit_chains(false, rounds, seed);
}

BC_TARGET_BEGIN(BC_TARGET_DOT)
static uint64_t dot_chains(uint64_t rounds, uint64_t seed) {
    return bit_chains(true, rounds, seed);
}
BC_TARGET_END

/* smlal: 4 filters. */
static uint64_t integer_chains(uint64_t rounds, uint64_t seed) {
    const int16x4_t v = vdup_n_s16((int16_t)seed);
    int32x4_t y[CHAINS];
    uint32x4_t z[CHAINS];
    BC_UNROLL
    for (int i = 0; i < CHAINS; i++)
        y[i] = vdupq_n_s32(0);
    for (uint64_t r = 0; r < rounds * STEPS; r++) {
        BC_UNROLL
        for (int i = 0; i < CHAINS; i++) {
            y[i] = vmlal_s16(y[i], v, v);
            BC_KEEP_X(y[i]);
        }
    }
    BC_UNROLL
    for (int i = 0; i < CHAINS; i++)
        z[i] = vreinterpretq_u32_s32(y[i]);
    return digest(z);
}

/* fmla: 4 filters. One-bit weights are looked up once for all pixels of a tile, so theirs is the
 * same. */
static uint64_t float_chains(uint64_t rounds) {
    const float32x4_t x = vdupq_n_f32(0.5f), v = vdupq_n_f32(0.25f);
    float32x4_t y[CHAINS];
    uint32x4_t z[CHAINS];
    BC_UNROLL
    for (int i = 0; i < CHAINS; i++)
        y[i] = vdupq_n_f32(0);
    for (uint64_t r = 0; r < rounds * STEPS; r++) {
        BC_UNROLL
        for (int i = 0; i < CHAINS; i++) {
            y[i] = vfmaq_f32(y[i], x, v);
            BC_KEEP_X(y[i]);
        }
    }
    BC_UNROLL
    for (int i = 0; i < CHAINS; i++)
        z[i] = vreinterpretq_u32_f32(y[i]);
    return digest(z);
}

static uint64_t run_peak(const bool dot, bc_peak kind, uint64_t rounds, uint64_t *sink) {
    switch (kind) {
    case BC_PEAK_BINARY:
    case BC_PEAK_COUNT:
        *sink = dot ? dot_chains(rounds, *sink) : add_chains(rounds, *sink);
        return rounds * STEPS * CHAINS * 128;
    case BC_PEAK_U8:
        *sink = integer_chains(rounds, *sink);
        return rounds * STEPS * CHAINS * 4;
    case BC_PEAK_I8: /* its products are scalar's */
        return bc_kernels_scalar.peak(kind, rounds, sink);
    case BC_PEAK_F32:
    case BC_PEAK_WEIGHT:
        *sink = float_chains(rounds);
        return rounds * STEPS * CHAINS * 4;
    }
    return 0;
}

static uint64_t peak(bc_peak kind, uint64_t rounds, uint64_t *sink) {
    return run_peak(false, kind, rounds, sink);
}

static uint64_t peak_dot(bc_peak kind, uint64_t rounds, uint64_t *sink) {
    return run_peak(true, kind, rounds, sink);
}

/* What both rows have in common. */
#define SHARED                                                                                     \
    .mr_binary = 3, .mr_float = 6, .mr_table = 4, .fgemm = bc_fgemm__neon,                         \
    .ttable_octet = BC_TTABLE_OCTET__NEON, .ttable = bc_ttable__neon, .tgemm = bc_tgemm__neon,     \
    .igemm = bc_igemm__neon, BC_TABLES_SCALAR_I8, BC_ROWS

const bc_kernels bc_kernels_neon = {
    .name = "neon",
    .cpu_needs = BC_CPU_NEON,
    .bgemm = bc_bgemm__neon,
    .bgemm_tau = bc_bgemm_tau__neon,
    .bgemm_steps = bgemm_steps,
    .peak = peak,
    SHARED,
};

const bc_kernels bc_kernels_neondot = {
    .name = "neondot",
    .cpu_needs = BC_CPU_NEON | BC_CPU_DOTPROD,
    .bgemm = bc_bgemm__neondot,
    .bgemm_tau = bc_bgemm_tau__neondot,
    .bgemm_steps = bgemm_steps_dot,
    .peak = peak_dot,
    SHARED,
};
