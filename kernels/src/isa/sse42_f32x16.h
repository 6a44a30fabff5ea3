/* sse42_f32x16.h: the sixteen floats of steps.h as four registers; meanings are in plain_f32x16.h.
 * maxps and minps give their second operand where the comparison is false, as those ask for. */
typedef struct f32x16 {
    __m128 at[4];
} f32x16;

#define BC_EACH4(expression)                                                                       \
    do {                                                                                           \
        BC_UNROLL                                                                                  \
        for (int j = 0; j < 4; j++)                                                                \
            y.at[j] = (expression);                                                                \
        return y;                                                                                  \
    } while (0)

static BC_INLINE f32x16 f32x16_load(const float *from) {
    f32x16 y;
    BC_EACH4(_mm_loadu_ps(from + 4 * j));
}

static BC_INLINE void f32x16_store(float *to, f32x16 y) {
    BC_UNROLL
    for (int j = 0; j < 4; j++)
        _mm_storeu_ps(to + 4 * j, y.at[j]);
}

static BC_INLINE f32x16 f32x16_splat(float x) {
    f32x16 y;
    BC_EACH4(_mm_set1_ps(x));
}

static BC_INLINE f32x16 f32x16_from_i32(const int32_t *from) {
    f32x16 y;
    BC_EACH4(_mm_cvtepi32_ps(load4(from + 4 * j)));
}

static BC_INLINE f32x16 f32x16_from_pop(const int32_t *base, const int32_t *pop) {
    f32x16 y;
    BC_EACH4(
        _mm_cvtepi32_ps(_mm_sub_epi32(load4(base + 4 * j), _mm_slli_epi32(load4(pop + 4 * j), 1))));
}

static BC_INLINE f32x16 f32x16_from_half(const int32_t *base, const int32_t *pop) {
    f32x16 y;
    BC_EACH4(_mm_cvtepi32_ps(_mm_sub_epi32(load4(base + 4 * j), load4(pop + 4 * j))));
}

static BC_INLINE f32x16 f32x16_add(f32x16 y, f32x16 x) {
    BC_EACH4(_mm_add_ps(y.at[j], x.at[j]));
}

static BC_INLINE f32x16 f32x16_mul(f32x16 y, f32x16 x) {
    BC_EACH4(_mm_mul_ps(y.at[j], x.at[j]));
}

/* There is no instruction for it before FMA; libm's function takes its time. */
static BC_INLINE f32x16 f32x16_fma(f32x16 y, f32x16 x, f32x16 v) {
    float sum[16], by[16], with[16];
    f32x16_store(sum, y);
    f32x16_store(by, x);
    f32x16_store(with, v);
    for (int j = 0; j < 16; j++)
        sum[j] = fmaf(by[j], with[j], sum[j]);
    return f32x16_load(sum);
}

static BC_INLINE f32x16 f32x16_above(f32x16 y, f32x16 x) {
    BC_EACH4(_mm_max_ps(y.at[j], x.at[j]));
}

static BC_INLINE f32x16 f32x16_below(f32x16 y, f32x16 x) {
    BC_EACH4(_mm_min_ps(y.at[j], x.at[j]));
}

static BC_INLINE f32x16 f32x16_prelu(f32x16 y, f32x16 slope) {
    BC_EACH4(_mm_blendv_ps(_mm_mul_ps(y.at[j], slope.at[j]), y.at[j],
                           _mm_cmpge_ps(y.at[j], _mm_setzero_ps())));
}

static BC_INLINE f32x16 f32x16_keep(f32x16 y, f32x16 x) {
    BC_EACH4(_mm_and_ps(y.at[j], _mm_cmpge_ps(x.at[j], _mm_setzero_ps())));
}

static BC_INLINE unsigned f32x16_negative(f32x16 y) {
    unsigned bits = 0;
    BC_UNROLL
    for (int j = 0; j < 4; j++)
        bits |= (unsigned)_mm_movemask_ps(_mm_cmplt_ps(y.at[j], _mm_setzero_ps())) << 4 * j;
    return bits;
}

#undef BC_EACH4
