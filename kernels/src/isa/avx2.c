/* avx2.c: the AVX2 row of the kernel table, its loops over rows, and its roofline.
 * Products are in avx2_bgemm*.c (bits), avx2_float.c and avx2_igemm.c. Needs AVX2 and FMA. */
#include "avx2.h"

#include <immintrin.h>
#include <string.h>

BC_TARGET_BEGIN("avx2,fma")

#define BC_F32X16
#include "avx2_f32x16.h"
#include "bgemm_steps.h"
#include "rows_x86.h"
BC_BGEMM_STEPS(bgemm_steps, bc_bgemm__avx2, steps)

#define V __m256i
#define VF __m256
#define BC_MM(name) _mm256_##name
#define BC_KEEP BC_KEEP_X
enum { ACCUMULATORS = 12, BITS_STEPS = 14, BITS_VECTORS = 4 };
#define BITS_MACS (BITS_STEPS * BITS_VECTORS * 7 * 256u)
#include "peak_x86.h"

/* What avx2_bgemm_tile.h does to seven steps of 4 bits of two pixels: 7 vpshufb, 6 vpaddb; vpaddb;
 * vpsrlw, vpaddb; for as many vectors side by side as it has. */
static uint64_t bits_peak(uint64_t rounds, V x, V v) {
    V all[BITS_VECTORS], second[BITS_VECTORS];
    BC_UNROLL
    for (int j = 0; j < BITS_VECTORS; j++)
        all[j] = second[j] = v;
    for (uint64_t r = 0; r < rounds * BITS_STEPS; r++) {
        V sum[BITS_VECTORS];
        BC_UNROLL
        for (int step = 0; step < 7; step++) {
            BC_UNROLL
            for (int j = 0; j < BITS_VECTORS; j++) {
                BC_KEEP(x); /* or one vpshufb would do for all */
                const V y = _mm256_shuffle_epi8(x, v);
                sum[j] = step ? _mm256_add_epi8(sum[j], y) : y;
                BC_KEEP(sum[j]);
            }
        }
        BC_UNROLL
        for (int j = 0; j < BITS_VECTORS; j++) {
            all[j] = _mm256_add_epi8(all[j], sum[j]);
            BC_KEEP(all[j]);
            second[j] = _mm256_add_epi8(second[j], _mm256_srli_epi16(sum[j], 4));
            BC_KEEP(second[j]);
        }
    }
    V out[2 * BITS_VECTORS]; /* a copy, or they would live in memory all along */
    BC_UNROLL
    for (int j = 0; j < BITS_VECTORS; j++) {
        out[j] = all[j];
        out[BITS_VECTORS + j] = second[j];
    }
    return digest(out, sizeof out);
}

/* Twice vpermilps and vaddps. */
static BC_INLINE VF signs_step(VF x, VF v, VF y) {
    const V index = _mm256_set1_epi32(1);
    VF first = _mm256_permutevar_ps(x, index);
    (void)v;
    BC_KEEP_X(x);
    BC_KEEP_X(first);
    return _mm256_add_ps(y, _mm256_add_ps(first, _mm256_permutevar_ps(x, index)));
}
BC_PEAK(signs_peak, VF, signs_step)

BC_TARGET_END

const bc_kernels bc_kernels_avx2 = {
    .name = "avx2",
    .cpu_needs = BC_CPU_AVX2 | BC_CPU_FMA,
    .mr_binary = 4,
    .mr_float = 6,
    .bgemm = bc_bgemm__avx2,
    .bgemm_tau = bc_bgemm_tau__avx2,
    .bgemm_steps = bgemm_steps,
    .spread_bytes = BC_SPREAD_WORD__AVX2,
    .spread = bc_spread__avx2,
    .bgemm_spread = bc_bgemm_spread__avx2,
    .bgemm_tau_spread = bc_bgemm_tau_spread__avx2,
    .fgemm = bc_fgemm__avx2,
    BC_TABLES_AVX2,
    .igemm = bc_igemm__avx2,
    BC_ROWS,
    .peak = peak,
};
