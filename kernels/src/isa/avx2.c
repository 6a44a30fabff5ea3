/* avx2.c: the AVX2 row of the kernel table, its loops over rows, and its roofline.
 * Products are in avx2_bgemm.c (bits), avx2_float.c and avx2_igemm.c. Needs AVX2 and FMA. */
#include "avx2.h"

#include <immintrin.h>

BC_TARGET_BEGIN("avx2,fma")

#include "rows_x86.h"

/* 12 chains of what one step of a tile's inner loop does, without its loads. */
uint64_t bc_peak__avx2(bc_peak kind, uint64_t rounds, uint64_t *sink)
{
    enum { CHAINS = 12, STEPS = 40 };
    const __m256i seed = _mm256_set1_epi64x((long long)(*sink & 0x0f0f0f0f0f0f0f0f));
    __m256i x = seed, v = _mm256_srli_epi16(seed, 1);
    __m256 fx = _mm256_set1_ps(0.5f), fv = _mm256_set1_ps(0.25f), f[CHAINS];
    __m256i y[CHAINS];
    for (int i = 0; i < CHAINS; i++) {
        y[i] = _mm256_setzero_si256();
        f[i] = _mm256_setzero_ps();
    }
    switch (kind) {
    case BC_PEAK_BINARY: /* vpshufb, vpaddb: 32 filters x 4 bits */
        for (uint64_t r = 0; r < rounds * STEPS; r++) {
            BC_UNROLL
            for (int i = 0; i < CHAINS; i++) {
                BC_KEEP_X(x);
                y[i] = _mm256_add_epi8(y[i], _mm256_shuffle_epi8(x, v));
                BC_KEEP_X(y[i]);
            }
        }
        break;
    case BC_PEAK_F32:
    case BC_PEAK_WEIGHT: /* vfmadd231ps: 8 filters; signs are expanded once for all pixels of a tile */
        for (uint64_t r = 0; r < rounds * STEPS * 2; r++) {
            BC_UNROLL
            for (int i = 0; i < CHAINS; i++) {
                f[i] = _mm256_fmadd_ps(fx, fv, f[i]);
                BC_KEEP_X(f[i]);
            }
        }
        break;
    case BC_PEAK_U8: /* vpmaddwd, vpaddd: 8 filters x 2 values */
        for (uint64_t r = 0; r < rounds * STEPS; r++) {
            BC_UNROLL
            for (int i = 0; i < CHAINS; i++) {
                BC_KEEP_X(x);
                y[i] = _mm256_add_epi32(y[i], _mm256_madd_epi16(x, v));
                BC_KEEP_X(y[i]);
            }
        }
        break;
    default: return 0;
    }
    uint64_t all = 0;
    for (int i = 0; i < CHAINS; i++)
        all += (uint64_t)_mm256_extract_epi64(_mm256_xor_si256(y[i], _mm256_castps_si256(f[i])), 0);
    *sink = all;
    const uint64_t per_step = kind == BC_PEAK_BINARY ? 128 : kind == BC_PEAK_U8 ? 16 : 8 * 2;
    return rounds * STEPS * CHAINS * per_step;
}

BC_TARGET_END

const bc_kernels bc_kernels_avx2 = {
    .name = "avx2",
    .cpu_needs = BC_CPU_AVX2 | BC_CPU_FMA,
    .mr_binary = 48,
    .mr_float = 6,
    .bgemm = bc_bgemm__avx2,
    .bgemm_tau = bc_bgemm_tau__avx2,
    .fgemm = bc_fgemm__avx2,
    .wgemm = bc_wgemm__avx2,
    .igemm = bc_igemm__avx2,
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
    .peak = bc_peak__avx2,
};
