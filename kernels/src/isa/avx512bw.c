/* avx512bw.c: the row of the kernel table for AVX-512 without VPOPCNTDQ (Skylake-X, Cascade Lake),
 * its loops over rows, and its roofline. The binary products are in avx512bw_bgemm.c, the others
 * are those of avx512vpopcntdq. */
#include "avx512.h"

#include <string.h>

BC_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512vl")

#define BC_F32X16
#include "avx512_f32x16.h"
#include "rows_x86.h"

#define V __m512i
#define VF __m512
#define BC_MM(name) _mm512_##name
#define BC_KEEP BC_KEEP_V
enum { ACCUMULATORS = 14, BITS_VECTORS = 4, BITS_STEPS = 28 };
#define BITS_MACS (BITS_STEPS * BITS_VECTORS * 3 * 512u)
#include "peak_x86.h"

/* A tile of avx512bw_bgemm.c: 3 vpshufb, 2 vpaddb; vpaddb; vpsrlw, vpandd, vpaddb for 12 bits of 2
 * pixels and 64 filters, four times side by side. */
static uint64_t bits_peak(uint64_t rounds, V x, V v) {
    const V nibble = _mm512_set1_epi8(15);
    V y[BITS_VECTORS][2];
    BC_UNROLL
    for (int i = 0; i < BITS_VECTORS; i++)
        y[i][0] = y[i][1] = v;
    for (uint64_t r = 0; r < rounds * BITS_STEPS; r++) {
        BC_UNROLL
        for (int i = 0; i < BITS_VECTORS; i++) {
            V sum = _mm512_shuffle_epi8(x, v);
            BC_UNROLL
            for (int j = 1; j < 3; j++) {
                BC_KEEP_V(x); /* or one vpshufb would do for all */
                sum = _mm512_add_epi8(sum, _mm512_shuffle_epi8(x, v));
                BC_KEEP_V(sum);
            }
            y[i][0] = _mm512_add_epi8(y[i][0], sum);
            BC_KEEP_V(y[i][0]);
            sum = _mm512_and_si512(_mm512_srli_epi16(sum, 4), nibble);
            y[i][1] = _mm512_add_epi8(y[i][1], sum);
            BC_KEEP_V(y[i][1]);
            BC_KEEP_V(x);
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
    .fgemm = bc_fgemm__avx512,
    .wgemm = bc_wgemm__avx512,
    BC_TABLES_AVX512,
    .igemm = bc_igemm__avx512,
    BC_ROWS,
    .peak = peak,
};
