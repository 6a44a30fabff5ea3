/* emulate_avx512.h: the AVX-512 intrinsics that the kernels use, on SIMDe, to test them on a CPU
 * that has only AVX2 and FMA. Compile with -DBC_SIMDE -mavx2 -mfma: without FMA, SIMDe would round
 * fused multiply-adds twice. */
#ifndef BC_EMULATE_AVX512_H
#define BC_EMULATE_AVX512_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wpsabi"
#endif
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>

/* Release 0.7.4 gives this alias the arguments of the masked form. */
#undef _mm512_madd_epi16
#define _mm512_madd_epi16 simde_mm512_madd_epi16

/* ... and does not know these. */
static inline simde__m512i bc_simde_cvtepi32_epi64(__m256i x) {
    int32_t from[8];
    int64_t to[8];
    _mm256_storeu_si256((__m256i *)(void *)from, x);
    for (int i = 0; i < 8; i++)
        to[i] = from[i];
    return simde_mm512_loadu_si512(to);
}
static inline simde__m512 bc_simde_cvtepi32_ps(simde__m512i x) {
    int32_t from[16];
    float to[16];
    simde_mm512_storeu_si512(from, x);
    for (int i = 0; i < 16; i++)
        to[i] = (float)from[i];
    return simde_mm512_loadu_ps(to);
}
static inline simde__m512i bc_simde_cvtepu8_epi32(__m128i x) {
    uint8_t from[16];
    int32_t to[16];
    _mm_storeu_si128((__m128i *)(void *)from, x);
    for (int i = 0; i < 16; i++)
        to[i] = from[i];
    return simde_mm512_loadu_si512(to);
}
#undef _mm512_cvtepu8_epi32
#define _mm512_cvtepu8_epi32 bc_simde_cvtepu8_epi32
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps bc_simde_cvtepi32_ps
#undef _mm512_cvtepi32_epi64
#define _mm512_cvtepi32_epi64 bc_simde_cvtepi32_epi64

static inline simde__m512i bc_simde_cvtepu16_epi32(__m256i x) {
    uint16_t from[16];
    int32_t to[16];
    _mm256_storeu_si256((__m256i *)(void *)from, x);
    for (int i = 0; i < 16; i++)
        to[i] = from[i];
    return simde_mm512_loadu_si512(to);
}
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32 bc_simde_cvtepu16_epi32

static inline uint32_t bc_simde_cmpgt_epi16_mask(simde__m512i x, simde__m512i y) {
    int16_t from[2][32];
    uint32_t mask = 0;
    simde_mm512_storeu_si512(from[0], x);
    simde_mm512_storeu_si512(from[1], y);
    for (int i = 0; i < 32; i++)
        mask |= (uint32_t)(from[0][i] > from[1][i]) << i;
    return mask;
}
#undef _mm512_cmpgt_epi16_mask
#define _mm512_cmpgt_epi16_mask bc_simde_cmpgt_epi16_mask

static inline simde__m512i bc_simde_mulhi_epu16(simde__m512i x, simde__m512i y) {
    uint16_t from[2][32], to[32];
    simde_mm512_storeu_si512(from[0], x);
    simde_mm512_storeu_si512(from[1], y);
    for (int i = 0; i < 32; i++)
        to[i] = (uint16_t)((uint32_t)from[0][i] * from[1][i] >> 16);
    return simde_mm512_loadu_si512(to);
}
#undef _mm512_mulhi_epu16
#define _mm512_mulhi_epu16 bc_simde_mulhi_epu16

static inline void bc_simde_mask_storeu_epi32(void *to, unsigned mask, simde__m512i x) {
    int32_t from[16];
    simde_mm512_storeu_si512(from, x);
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            ((int32_t *)to)[i] = from[i];
}
#undef _mm512_mask_storeu_epi32
#define _mm512_mask_storeu_epi32 bc_simde_mask_storeu_epi32

static inline simde__m512i bc_simde_maskz_loadu_epi32(unsigned mask, const void *from) {
    int32_t to[16] = {0};
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            to[i] = ((const int32_t *)from)[i];
    return simde_mm512_loadu_si512(to);
}
#undef _mm512_maskz_loadu_epi32
#define _mm512_maskz_loadu_epi32 bc_simde_maskz_loadu_epi32
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#undef BC_TARGET_BEGIN
#undef BC_TARGET_END
#define BC_TARGET_BEGIN(features)
#define BC_TARGET_END
#undef BC_KEEP_V
#define BC_KEEP_V(vector) (void)0

#endif
