/* avx2.c: the AVX2 row of the kernel table, its loops over rows, and its roofline.
 * Products are in avx2_bgemm.c (bits), avx2_float.c and avx2_igemm.c. Needs AVX2 and FMA. */
#include "avx2.h"

#include <immintrin.h>

BC_TARGET_BEGIN("avx2,fma")

#define BC_F32X16
#include "avx2_f32x16.h"
#include "rows_x86.h"

/* The roofline: 12 chains of what one step of a tile's inner loop does, without its loads. */
enum { CHAINS = 12, STEPS = 40 };

static uint64_t digest(__m256i y[CHAINS]) {
    BC_UNROLL
    for (int i = 1; i < CHAINS; i++)
        y[0] = _mm256_xor_si256(y[0], y[i]);
    return (uint64_t)_mm256_extract_epi64(y[0], 0);
}

/* vpshufb, vpaddb: 32 filters x 4 bits; or vpmaddwd, vpaddd: 8 filters x 2 values. */
static BC_INLINE uint64_t integer_chains(const bool bits, uint64_t rounds, uint64_t seed) {
    const __m256i v = _mm256_set1_epi64x((long long)(seed & 0x0f0f0f0f0f0f0f0f));
    __m256i x = _mm256_srli_epi16(v, 1), y[CHAINS];
    BC_UNROLL
    for (int i = 0; i < CHAINS; i++)
        y[i] = v;
    for (uint64_t r = 0; r < rounds * STEPS; r++) {
        BC_UNROLL
        for (int i = 0; i < CHAINS; i++) {
            BC_KEEP_X(x);
            y[i] = bits ? _mm256_add_epi8(y[i], _mm256_shuffle_epi8(x, v))
                        : _mm256_add_epi32(y[i], _mm256_madd_epi16(x, v));
            BC_KEEP_X(y[i]);
        }
    }
    return digest(y);
}

/* vfmadd231ps: 8 filters; or, with weights of one bit, twice vpermilps and vaddps: 8 filters x 4
 * values. */
static BC_INLINE uint64_t float_chains(const bool one_bit, uint64_t rounds) {
    const __m256 v = _mm256_set1_ps(0.25f);
    const __m256i index = _mm256_set1_epi32(1);
    __m256 x = _mm256_set1_ps(0.5f);
    __m256 y[CHAINS];
    __m256i z[CHAINS];
    BC_UNROLL
    for (int i = 0; i < CHAINS; i++)
        y[i] = _mm256_setzero_ps();
    for (uint64_t r = 0; r < rounds * STEPS; r++) {
        BC_UNROLL
        for (int i = 0; i < CHAINS; i++) {
            if (one_bit) {
                __m256 first = _mm256_permutevar_ps(x, index);
                BC_KEEP_X(x);
                BC_KEEP_X(first);
                y[i] = _mm256_add_ps(y[i], _mm256_add_ps(first, _mm256_permutevar_ps(x, index)));
            } else {
                y[i] = _mm256_fmadd_ps(x, v, y[i]);
            }
            BC_KEEP_X(y[i]);
        }
    }
    BC_UNROLL
    for (int i = 0; i < CHAINS; i++)
        z[i] = _mm256_castps_si256(y[i]);
    return digest(z);
}

static uint64_t peak(bc_peak kind, uint64_t rounds, uint64_t *sink) {
    switch (kind) {
    case BC_PEAK_BINARY:
        *sink = integer_chains(true, rounds, *sink);
        return rounds * STEPS * CHAINS * 128;
    case BC_PEAK_U8:
        *sink = integer_chains(false, rounds, *sink);
        return rounds * STEPS * CHAINS * 16;
    case BC_PEAK_I8: /* the instructions of BC_PEAK_BINARY, on half of a sum */
        *sink = integer_chains(true, rounds, *sink);
        return rounds * STEPS * CHAINS * 64;
    case BC_PEAK_F32:
        *sink = float_chains(false, rounds);
        return rounds * STEPS * CHAINS * 8;
    case BC_PEAK_WEIGHT:
        *sink = float_chains(true, rounds);
        return rounds * STEPS * CHAINS * 32;
    }
    return 0;
}

BC_TARGET_END

const bc_kernels bc_kernels_avx2 = {
    .name = "avx2",
    .cpu_needs = BC_CPU_AVX2 | BC_CPU_FMA,
    .mr_binary = 6,
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
