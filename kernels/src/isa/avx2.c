/* avx2.c: the AVX2 row of the kernel table, its loops over rows, and its roofline.
 * Products are in avx2_bgemm*.c (bits) and avx2_*gemm.c, avx2_float.c. Needs AVX2 and FMA. */
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
#define BC_SI(name) _mm256_##name##_si256
#define BC_KEEP BC_KEEP_X
enum { ACCUMULATORS = 12, BITS_ROUNDS = 14, BITS_VECTORS = 4 };
#define BITS_MACS (BITS_ROUNDS * BITS_VECTORS * 7 * 256u)
#define COUNT_MACS (BITS_ROUNDS * BITS_VECTORS * 2 * 256u)
#include "peak_x86.h"
#include "peak_pairs.h"

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
    .spread_panels = 4,
    .spread_bytes = BC_SPREAD_WORD__AVX2,
    .spread_serves = bc_spread_serves__avx2,
    .spread = bc_spread__avx2,
    .bgemm_spread = bc_bgemm_spread__avx2,
    .bgemm_tau_spread = bc_bgemm_tau_spread__avx2,
    .plane_lanes = BC_PLANE_LANES__AVX2,
    .plane_rows = bc_plane_rows__avx2,
    .plane_pop = bc_plane_pop__avx2,
    .plane_tau = bc_plane_tau__avx2,
    .fgemm = bc_fgemm__avx2,
    BC_TABLES_AVX2,
    .igemm = bc_igemm__avx2,
    BC_ROWS,
    .peak = peak,
};
