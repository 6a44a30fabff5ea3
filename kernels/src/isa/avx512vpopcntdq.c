/* avx512vpopcntdq.c: the row of the kernel table for AVX-512 with VPOPCNTDQ, its loops over rows, and its roofline.
 * Products are in avx512_bgemm.c (bits), avx512_float.c and avx512_igemm.c. */
#include "avx512.h"

BC_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512vl,avx512vpopcntdq")

#include "rows_x86.h"

/* 14 chains of what one step of a tile's inner loop does, without its loads. */
static uint64_t peak(bc_peak kind, uint64_t rounds, uint64_t *sink)
{
    enum { CHAINS = 14, STEPS = 24 };
    const __m512i v = _mm512_set1_epi64((long long)*sink);
    __m512i x = _mm512_srli_epi64(v, 1), y[CHAINS];
    const __m512 fx = _mm512_set1_ps(0.5f), fv = _mm512_set1_ps(0.25f);
    __m512 f[CHAINS];
    for (int i = 0; i < CHAINS; i++) {
        y[i] = _mm512_setzero_si512();
        f[i] = _mm512_setzero_ps();
    }
    switch (kind) {
    case BC_PEAK_BINARY: /* vpxorq, vpopcntq, vpsubq: 8 filters x 64 bits */
        for (uint64_t r = 0; r < rounds * STEPS; r++) {
            BC_UNROLL
            for (int i = 0; i < CHAINS; i++) {
                BC_KEEP_V(x);
                y[i] = _mm512_sub_epi64(y[i], _mm512_popcnt_epi64(_mm512_xor_si512(x, v)));
                BC_KEEP_V(y[i]);
            }
        }
        break;
    case BC_PEAK_F32:
    case BC_PEAK_WEIGHT: /* vfmadd231ps: 16 filters; signs are expanded once for all pixels of a tile */
        for (uint64_t r = 0; r < rounds * STEPS; r++) {
            BC_UNROLL
            for (int i = 0; i < CHAINS; i++) {
                f[i] = _mm512_fmadd_ps(fx, fv, f[i]);
                BC_KEEP_V(f[i]);
            }
        }
        break;
    case BC_PEAK_U8: /* vpmaddwd, vpaddd: 16 filters x 2 values */
        for (uint64_t r = 0; r < rounds * STEPS; r++) {
            BC_UNROLL
            for (int i = 0; i < CHAINS; i++) {
                BC_KEEP_V(x);
                y[i] = _mm512_add_epi32(y[i], _mm512_madd_epi16(x, v));
                BC_KEEP_V(y[i]);
            }
        }
        break;
    default: return 0;
    }
    __m512i all = _mm512_setzero_si512();
    for (int i = 0; i < CHAINS; i++)
        all = _mm512_xor_si512(all, _mm512_xor_si512(y[i], _mm512_castps_si512(f[i])));
    uint64_t words[8];
    _mm512_storeu_si512(words, all);
    *sink = words[0];
    const uint64_t per_step = kind == BC_PEAK_BINARY ? 512 : kind == BC_PEAK_U8 ? 32 : 16;
    return rounds * STEPS * CHAINS * per_step;
}

BC_TARGET_END

const bc_kernels bc_kernels_avx512vpopcntdq = {
    .name = "avx512vpopcntdq",
    .cpu_needs = BC_CPU_AVX2 | BC_CPU_FMA | BC_CPU_AVX512F | BC_CPU_AVX512BW | BC_CPU_AVX512VL | BC_CPU_AVX512VPOPCNTDQ,
    .mr_binary = 7,
    .mr_float = 14,
    .bgemm = bc_bgemm__avx512vpopcntdq,
    .bgemm_tau = bc_bgemm_tau__avx512vpopcntdq,
    .fgemm = bc_fgemm__avx512,
    .wgemm = bc_wgemm__avx512,
    .igemm = bc_igemm__avx512,
    .fdepthwise = fdepthwise,
    .pop_to_f32 = pop_to_f32,
    .i32_to_f32 = i32_to_f32,
    .i32_to_bits = i32_to_bits,
    .affine = affine,
    .relu = relu,
    .hardtanh = hardtanh,
    .prelu = prelu,
    .add = add,
    .mul_map = mul_map,
    .sign_bits = sign_bits,
    .max_pool = max_pool,
    .avg_pool = avg_pool,
    .bit_pool = bit_pool,
    .abs_mean = abs_mean,
    .peak = peak,
};
