/* avx512_f32x16.h: the sixteen floats of steps.h as one register; meanings are in plain_f32x16.h.
 * max and min return their second operand where one is a NaN or both are zeros, as `y > x ? y : x`
 * does. */
typedef __m512 f32x16;

#define f32x16_load _mm512_loadu_ps
#define f32x16_store _mm512_storeu_ps
#define f32x16_splat _mm512_set1_ps
#define f32x16_add _mm512_add_ps
#define f32x16_mul _mm512_mul_ps
#define f32x16_fma(y, x, v) _mm512_fmadd_ps(x, v, y)
#define f32x16_above _mm512_max_ps
#define f32x16_below _mm512_min_ps

static BC_INLINE f32x16 f32x16_from_i32(const int32_t *from) {
    return _mm512_cvtepi32_ps(_mm512_loadu_si512((const void *)from));
}

/* The first n < 16; what is left out is not touched. */
#define BC_F32X16_LOAD_SOME
#define BC_F32X16_STORE_SOME
#define BC_F32X16_POP_SOME
static BC_INLINE __mmask16 first_lanes(size_t n) {
    return (__mmask16)((1u << n) - 1);
}
static BC_INLINE f32x16 f32x16_load_some(const float *from, size_t n) {
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi32(first_lanes(n), from));
}
static BC_INLINE void f32x16_store_some(float *to, f32x16 y, size_t n) {
    _mm512_mask_storeu_epi32(to, first_lanes(n), _mm512_castps_si512(y));
}
static BC_INLINE f32x16 f32x16_from_i32_some(const int32_t *from, size_t n) {
    return _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(first_lanes(n), from));
}
static BC_INLINE f32x16 f32x16_from_pop_some(const int32_t *base, const int32_t *pop, size_t n,
                                             bool half) {
    const __m512i x = _mm512_maskz_loadu_epi32(first_lanes(n), pop),
                  all = _mm512_maskz_loadu_epi32(first_lanes(n), base);
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(all, half ? x : _mm512_add_epi32(x, x)));
}

static BC_INLINE f32x16 f32x16_from_pop(const int32_t *base, const int32_t *pop) {
    const __m512i half = _mm512_loadu_si512((const void *)pop);
    return _mm512_cvtepi32_ps(
        _mm512_sub_epi32(_mm512_loadu_si512((const void *)base), _mm512_add_epi32(half, half)));
}

static BC_INLINE f32x16 f32x16_from_half(const int32_t *base, const int32_t *pop) {
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512((const void *)base),
                                               _mm512_loadu_si512((const void *)pop)));
}

static BC_INLINE f32x16 f32x16_prelu(f32x16 y, f32x16 slope) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_GE_OQ),
                                _mm512_mul_ps(y, slope), y);
}

static BC_INLINE f32x16 f32x16_keep(f32x16 y, f32x16 x) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GE_OQ),
                                _mm512_setzero_ps(), y);
}

static BC_INLINE unsigned f32x16_negative(f32x16 y) {
    return _mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_LT_OQ);
}
