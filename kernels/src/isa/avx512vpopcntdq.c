/* avx512vpopcntdq.c: the row of the kernel table for AVX-512 with VPOPCNTDQ, its loops over rows,
 * and its roofline. Products are in avx512_bgemm*.c (bits), avx512_*gemm.c and avx512_float.c. */
#include "avx512.h"

#include <string.h>

BC_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512vl,avx512vpopcntdq")

#define BC_F32X16
#include "avx512_f32x16.h"
#include "rows_x86.h"

#define V __m512i
#define VF __m512
#define BC_MM(name) _mm512_##name
#define BC_KEEP BC_KEEP_V
enum { ACCUMULATORS = 14 };
#define BITS_MACS ((uint64_t)STEPS * ACCUMULATORS * 512)
#define COUNT_MACS BITS_MACS
#include "peak_x86.h"

/* vpxorq, vpopcntq, vpaddq: 8 filters x 64 bits. */
static BC_INLINE V bits_step(V x, V v, V y) {
    return _mm512_add_epi64(y, _mm512_popcnt_epi64(_mm512_xor_si512(x, v)));
}
BC_PEAK(bits_peak, V, bits_step)
static uint64_t count_peak(uint64_t rounds, V x, V v) {
    return bits_peak(rounds, x, v);
}

/* vpermps, vaddps. */
static BC_INLINE VF signs_step(VF x, VF v, VF y) {
    (void)v;
    return _mm512_add_ps(y, _mm512_permutexvar_ps(_mm512_set1_epi32(5), x));
}
BC_PEAK(signs_peak, VF, signs_step)

BC_TARGET_END

const bc_kernels bc_kernels_avx512vpopcntdq = {
    .name = "avx512vpopcntdq",
    .cpu_needs = BC_CPU_AVX2 | BC_CPU_FMA | BC_CPU_AVX512F | BC_CPU_AVX512BW | BC_CPU_AVX512VL |
                 BC_CPU_AVX512VPOPCNTDQ,
    .mr_binary = 7,
    .mr_float = 14,
    .bgemm = bc_bgemm__avx512vpopcntdq,
    .bgemm_tau = bc_bgemm_tau__avx512vpopcntdq,
    .bgemm_steps = bc_bgemm_steps__avx512vpopcntdq,
    .fgemm = bc_fgemm__avx512,
    BC_TABLES_AVX512,
    .igemm = bc_igemm__avx512,
    BC_ROWS,
    .peak = peak,
};
