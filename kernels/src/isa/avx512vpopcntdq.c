/* avx512vpopcntdq.c: the row of the kernel table for AVX-512 with VPOPCNTDQ, its loops over rows,
 * and its roofline. Products are in avx512_bgemm.c (bits), avx512_float.c and avx512_igemm.c. */
#include "avx512.h"

BC_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512vl,avx512vpopcntdq")

#define BC_F32X16
#include "avx512_f32x16.h"
#include "rows_x86.h"

/* The roofline: 14 chains of what one step of a tile's inner loop does, without its loads. */
enum { CHAINS = 14, STEPS = 24 };

static uint64_t digest(__m512i y[CHAINS]) {
    uint64_t words[8];
    BC_UNROLL
    for (int i = 1; i < CHAINS; i++)
        y[0] = _mm512_xor_si512(y[0], y[i]);
    _mm512_storeu_si512(words, y[0]);
    return words[0];
}

/* vpxorq, vpopcntq, vpsubq: 8 filters x 64 bits; or vpmaddwd, vpaddd: 16 filters x 2 values. */
static BC_INLINE uint64_t integer_chains(const bool bits, uint64_t rounds, uint64_t seed) {
    const __m512i v = _mm512_set1_epi64((long long)seed);
    __m512i x = _mm512_srli_epi64(v, 1), y[CHAINS];
    BC_UNROLL
    for (int i = 0; i < CHAINS; i++)
        y[i] = v;
    for (uint64_t r = 0; r < rounds * STEPS; r++) {
        BC_UNROLL
        for (int i = 0; i < CHAINS; i++) {
            BC_KEEP_V(x);
            y[i] = bits ? _mm512_sub_epi64(y[i], _mm512_popcnt_epi64(_mm512_xor_si512(x, v)))
                        : _mm512_add_epi32(y[i], _mm512_madd_epi16(x, v));
            BC_KEEP_V(y[i]);
        }
    }
    return digest(y);
}

/* vpshufb, vpaddb: half of the sums of 64 filters x 4 values. */
static uint64_t byte_chains(uint64_t rounds, uint64_t seed) {
    const __m512i v = _mm512_set1_epi64((long long)(seed & 0x0f0f0f0f0f0f0f0f));
    __m512i x = _mm512_srli_epi16(v, 1), y[CHAINS];
    BC_UNROLL
    for (int i = 0; i < CHAINS; i++)
        y[i] = v;
    for (uint64_t r = 0; r < rounds * STEPS; r++) {
        BC_UNROLL
        for (int i = 0; i < CHAINS; i++) {
            BC_KEEP_V(x);
            y[i] = _mm512_add_epi8(y[i], _mm512_shuffle_epi8(x, v));
            BC_KEEP_V(y[i]);
        }
    }
    return digest(y);
}

/* vfmadd231ps: 16 filters; or, with weights of one bit, vpermps and vaddps: 16 filters x 4 values.
 */
static BC_INLINE uint64_t float_chains(const bool one_bit, uint64_t rounds) {
    const __m512 v = _mm512_set1_ps(0.25f);
    const __m512i index = _mm512_set1_epi32(5);
    __m512 x = _mm512_set1_ps(0.5f);
    __m512 y[CHAINS];
    __m512i z[CHAINS];
    BC_UNROLL
    for (int i = 0; i < CHAINS; i++)
        y[i] = _mm512_setzero_ps();
    for (uint64_t r = 0; r < rounds * STEPS; r++) {
        BC_UNROLL
        for (int i = 0; i < CHAINS; i++) {
            BC_KEEP_V(x);
            y[i] = one_bit ? _mm512_add_ps(y[i], _mm512_permutexvar_ps(index, x))
                           : _mm512_fmadd_ps(x, v, y[i]);
            BC_KEEP_V(y[i]);
        }
    }
    BC_UNROLL
    for (int i = 0; i < CHAINS; i++)
        z[i] = _mm512_castps_si512(y[i]);
    return digest(z);
}

static uint64_t peak(bc_peak kind, uint64_t rounds, uint64_t *sink) {
    switch (kind) {
    case BC_PEAK_BINARY:
        *sink = integer_chains(true, rounds, *sink);
        return rounds * STEPS * CHAINS * 512;
    case BC_PEAK_U8:
        *sink = integer_chains(false, rounds, *sink);
        return rounds * STEPS * CHAINS * 32;
    case BC_PEAK_I8:
        *sink = byte_chains(rounds, *sink);
        return rounds * STEPS * CHAINS * 128;
    case BC_PEAK_F32:
        *sink = float_chains(false, rounds);
        return rounds * STEPS * CHAINS * 16;
    case BC_PEAK_WEIGHT:
        *sink = float_chains(true, rounds);
        return rounds * STEPS * CHAINS * 64;
    }
    return 0;
}

BC_TARGET_END

const bc_kernels bc_kernels_avx512vpopcntdq = {
    .name = "avx512vpopcntdq",
    .cpu_needs = BC_CPU_AVX2 | BC_CPU_FMA | BC_CPU_AVX512F | BC_CPU_AVX512BW | BC_CPU_AVX512VL |
                 BC_CPU_AVX512VPOPCNTDQ,
    .mr_binary = 7,
    .mr_float = 14,
    .bgemm = bc_bgemm__avx512vpopcntdq,
    .bgemm_tau = bc_bgemm_tau__avx512vpopcntdq,
    .fgemm = bc_fgemm__avx512,
    .wgemm = bc_wgemm__avx512,
    BC_TABLES_AVX512,
    .igemm = bc_igemm__avx512,
    BC_ROWS,
    .peak = peak,
};
