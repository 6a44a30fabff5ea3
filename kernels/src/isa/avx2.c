/* avx2.c: the AVX2 row of the kernel table, its loops over rows, and its roofline.
 * Products are in avx2_bgemm*.c (bits), avx2_float.c and avx2_igemm.c. Needs AVX2 and FMA. */
#include "avx2.h"

#include <immintrin.h>
#include <string.h>

BC_TARGET_BEGIN("avx2,fma")

#define BC_F32X16
#include "avx2_f32x16.h"
#include "rows_x86.h"

#define V __m256i
#define VF __m256
#define BC_MM(name) _mm256_##name
#define BC_KEEP BC_KEEP_X
enum { ACCUMULATORS = 12, BITS_VECTORS = 4, BITS_STEPS = 28 };
#define BITS_MACS (BITS_STEPS * BITS_VECTORS * 3 * 256u)
#include "peak_x86.h"

/* A tile of avx2_bgemm_tile.c: 3 vpshufb, 2 vpaddb; vpaddb; vpsrlw, vpand, vpaddb for 12 bits of 2
 * pixels and 32 filters, four times side by side. */
static uint64_t bits_peak(uint64_t rounds, V x, V v) {
    const V nibble = _mm256_set1_epi8(15);
    V y[BITS_VECTORS][2];
    BC_UNROLL
    for (int i = 0; i < BITS_VECTORS; i++)
        y[i][0] = y[i][1] = v;
    for (uint64_t r = 0; r < rounds * BITS_STEPS; r++) {
        BC_UNROLL
        for (int i = 0; i < BITS_VECTORS; i++) {
            V sum = _mm256_shuffle_epi8(x, v);
            BC_UNROLL
            for (int j = 1; j < 3; j++) {
                BC_KEEP_X(x); /* or one vpshufb would do for all */
                sum = _mm256_add_epi8(sum, _mm256_shuffle_epi8(x, v));
                BC_KEEP_X(sum);
            }
            y[i][0] = _mm256_add_epi8(y[i][0], sum);
            BC_KEEP_X(y[i][0]);
            sum = _mm256_and_si256(_mm256_srli_epi16(sum, 4), nibble);
            y[i][1] = _mm256_add_epi8(y[i][1], sum);
            BC_KEEP_X(y[i][1]);
            BC_KEEP_X(x);
        }
    }
    V out[BITS_VECTORS][2]; /* a copy, or y would live in memory all along */
    BC_UNROLL
    for (int i = 0; i < BITS_VECTORS; i++) {
        out[i][0] = y[i][0];
        out[i][1] = y[i][1];
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
    .mr_binary = 2,
    .mr_float = 6,
    .bgemm = bc_bgemm__avx2,
    .bgemm_tau = bc_bgemm_tau__avx2,
    .fgemm = bc_fgemm__avx2,
    .wgemm = bc_wgemm__avx2,
    BC_TABLES_AVX2,
    .igemm = bc_igemm__avx2,
    BC_ROWS,
    .peak = peak,
};
