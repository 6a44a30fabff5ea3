/* avx2_f32x16.h: the sixteen floats of steps.h as two registers; meanings are in plain_f32x16.h.
 * max and min return their second operand where one is a NaN or both are zeros, as `y > x ? y : x`
 * does. */
typedef struct f32x16 {
    __m256 a, b;
} f32x16;

#define BC_BOTH(operation)                                                                         \
    return (f32x16) {                                                                              \
        operation(y.a, x.a), operation(y.b, x.b)                                                   \
    }

static BC_INLINE f32x16 f32x16_load(const float *from) {
    return (f32x16){_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
}

/* The first n < 16, zeros behind them; what is left out is not touched. */
#define BC_F32X16_LOAD_SOME
static BC_INLINE __m256i first_lanes(size_t n) {
    static const int32_t lanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(const void *)(lanes + 8 - n));
}

static BC_INLINE f32x16 f32x16_load_some(const float *from, size_t n) {
    const size_t low = n < 8 ? n : 8, high = n - low;
    return (f32x16){_mm256_maskload_ps(from, first_lanes(low)),
                    _mm256_maskload_ps(from + low, first_lanes(high))};
}

#define BC_F32X16_POP_SOME
static BC_INLINE __m256 from_pop_some(const int32_t *base, const int32_t *pop, size_t n,
                                      bool half) {
    const __m256i x = _mm256_maskload_epi32(pop, first_lanes(n)),
                  all = _mm256_maskload_epi32(base, first_lanes(n));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(all, half ? x : _mm256_add_epi32(x, x)));
}

static BC_INLINE f32x16 f32x16_from_pop_some(const int32_t *base, const int32_t *pop, size_t n,
                                             bool half) {
    const size_t low = n < 8 ? n : 8, high = n - low;
    return (f32x16){from_pop_some(base, pop, low, half),
                    from_pop_some(base + low, pop + low, high, half)};
}

static BC_INLINE void f32x16_store(float *to, f32x16 y) {
    _mm256_storeu_ps(to, y.a);
    _mm256_storeu_ps(to + 8, y.b);
}

#define BC_F32X16_STORE_SOME
static BC_INLINE void f32x16_store_some(float *to, f32x16 y, size_t n) {
    float all[8]; /* stores by mask are slow on AMD */
    if (n >= 8) {
        _mm256_storeu_ps(to, y.a);
        y.a = y.b;
        to += 8;
        n -= 8;
    }
    if (!n)
        return;
    _mm256_storeu_ps(all, y.a);
    memcpy(to, all, n * sizeof *all);
}

static BC_INLINE f32x16 f32x16_from_i32_some(const int32_t *from, size_t n) {
    const size_t low = n < 8 ? n : 8, high = n - low;
    return (f32x16){_mm256_cvtepi32_ps(_mm256_maskload_epi32(from, first_lanes(low))),
                    _mm256_cvtepi32_ps(_mm256_maskload_epi32(from + low, first_lanes(high)))};
}

static BC_INLINE f32x16 f32x16_splat(float x) {
    return (f32x16){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

static BC_INLINE __m256i load_i32x8(const int32_t *from) {
    return _mm256_loadu_si256((const __m256i *)(const void *)from);
}

static BC_INLINE f32x16 f32x16_from_i32(const int32_t *from) {
    return (f32x16){_mm256_cvtepi32_ps(load_i32x8(from)), _mm256_cvtepi32_ps(load_i32x8(from + 8))};
}

static BC_INLINE __m256 pop_to_f32x8(const int32_t *base, const int32_t *pop) {
    const __m256i half = load_i32x8(pop);
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(load_i32x8(base), _mm256_add_epi32(half, half)));
}

static BC_INLINE f32x16 f32x16_from_pop(const int32_t *base, const int32_t *pop) {
    return (f32x16){pop_to_f32x8(base, pop), pop_to_f32x8(base + 8, pop + 8)};
}

static BC_INLINE __m256 half_to_f32x8(const int32_t *base, const int32_t *pop) {
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(load_i32x8(base), load_i32x8(pop)));
}

static BC_INLINE f32x16 f32x16_from_half(const int32_t *base, const int32_t *pop) {
    return (f32x16){half_to_f32x8(base, pop), half_to_f32x8(base + 8, pop + 8)};
}

static BC_INLINE f32x16 f32x16_add(f32x16 y, f32x16 x) {
    BC_BOTH(_mm256_add_ps);
}

static BC_INLINE f32x16 f32x16_mul(f32x16 y, f32x16 x) {
    BC_BOTH(_mm256_mul_ps);
}

static BC_INLINE f32x16 f32x16_fma(f32x16 y, f32x16 x, f32x16 v) {
    return (f32x16){_mm256_fmadd_ps(x.a, v.a, y.a), _mm256_fmadd_ps(x.b, v.b, y.b)};
}

static BC_INLINE f32x16 f32x16_above(f32x16 y, f32x16 x) {
    BC_BOTH(_mm256_max_ps);
}

static BC_INLINE f32x16 f32x16_below(f32x16 y, f32x16 x) {
    BC_BOTH(_mm256_min_ps);
}

static BC_INLINE __m256 prelu_f32x8(__m256 y, __m256 slope) {
    return _mm256_blendv_ps(_mm256_mul_ps(y, slope), y,
                            _mm256_cmp_ps(y, _mm256_setzero_ps(), _CMP_GE_OQ));
}

static BC_INLINE f32x16 f32x16_prelu(f32x16 y, f32x16 x) {
    BC_BOTH(prelu_f32x8);
}

static BC_INLINE __m256 keep_f32x8(__m256 y, __m256 x) {
    return _mm256_and_ps(y, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GE_OQ));
}

static BC_INLINE f32x16 f32x16_keep(f32x16 y, f32x16 x) {
    BC_BOTH(keep_f32x8);
}

static BC_INLINE unsigned negative_f32x8(__m256 y) {
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(y, _mm256_setzero_ps(), _CMP_LT_OQ));
}

static BC_INLINE unsigned f32x16_negative(f32x16 y) {
    return negative_f32x8(y.a) | negative_f32x8(y.b) << 8;
}

#undef BC_BOTH
