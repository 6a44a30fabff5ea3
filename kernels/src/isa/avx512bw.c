/* avx512bw.c: the row of the kernel table for AVX-512 without VPOPCNTDQ (Skylake-X, Cascade Lake),
 * its loops over rows, and its roofline. The binary products are in avx512bw_bgemm*.c, the others
 * are those of avx512vpopcntdq. */
#include "avx512bw_bgemm.h"

#include <string.h>

BC_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512vl")

#define BC_F32X16
#include "avx512_f32x16.h"
#include "bgemm_steps.h"
#include "rows_x86.h"
BC_BGEMM_STEPS(bgemm_steps, bc_bgemm__avx512bw, steps)

#define V __m512i
#define VF __m512
#define BC_MM(name) _mm512_##name
#define BC_SI(name) _mm512_##name##_si512
#define BC_KEEP BC_KEEP_V
enum { ACCUMULATORS = 14, BITS_ROUNDS = 14, BITS_VECTORS = 4 };
#define BITS_MACS (BITS_ROUNDS * BITS_VECTORS * 7 * 512u)
#define COUNT_MACS (BITS_ROUNDS * BITS_VECTORS * 2 * 512u)
#include "peak_x86.h"
#include "peak_pairs.h"

/* vpermps, vaddps. */
static BC_INLINE VF signs_step(VF x, VF v, VF y) {
    (void)v;
    return _mm512_add_ps(y, _mm512_permutexvar_ps(_mm512_set1_epi32(5), x));
}
BC_PEAK(signs_peak, VF, signs_step)

BC_TARGET_END

const bc_kernels bc_kernels_avx512bw = {
    .name = "avx512bw",
    .cpu_needs = BC_CPU_AVX2 | BC_CPU_FMA | BC_CPU_AVX512F | BC_CPU_AVX512BW | BC_CPU_AVX512VL,
    .mr_binary = 2,
    .mr_float = 14,
    .bgemm = bc_bgemm__avx512bw,
    .bgemm_tau = bc_bgemm_tau__avx512bw,
    .bgemm_steps = bgemm_steps,
    .spread_panels = 8,
    .spread_bytes = BC_SPREAD_WORD__AVX512BW,
    .spread_serves = bc_spread_serves__avx512bw,
    .spread = bc_spread__avx512bw,
    .bgemm_spread = bc_bgemm_spread__avx512bw,
    .bgemm_tau_spread = bc_bgemm_tau_spread__avx512bw,
    .plane_lanes = BC_PLANE_LANES__AVX512BW,
    .plane_rows = bc_plane_rows__avx512bw,
    .plane_pop = bc_plane_pop__avx512bw,
    .plane_tau = bc_plane_tau__avx512bw,
    .fgemm = bc_fgemm__avx512,
    BC_TABLES_AVX512,
    .igemm = bc_igemm__avx512,
    BC_ROWS,
    .peak = peak,
};
