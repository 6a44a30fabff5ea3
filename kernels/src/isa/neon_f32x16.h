/* neon_f32x16.h: the sixteen floats of steps.h as four registers; meanings are in plain_f32x16.h.
 * fmax and fmin treat NaN and zeros otherwise than `y > x ? y : x`, so it is compare and select. */
typedef struct f32x16 {
    float32x4_t at[4];
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
    BC_EACH4(vld1q_f32(from + 4 * j));
}

static BC_INLINE void f32x16_store(float *to, f32x16 y) {
    BC_UNROLL
    for (int j = 0; j < 4; j++)
        vst1q_f32(to + 4 * j, y.at[j]);
}

static BC_INLINE f32x16 f32x16_splat(float x) {
    f32x16 y;
    BC_EACH4(vdupq_n_f32(x));
}

static BC_INLINE f32x16 f32x16_from_i32(const int32_t *from) {
    f32x16 y;
    BC_EACH4(vcvtq_f32_s32(vld1q_s32(from + 4 * j)));
}

static BC_INLINE f32x16 f32x16_from_pop(const int32_t *base, const int32_t *pop) {
    f32x16 y;
    BC_EACH4(
        vcvtq_f32_s32(vsubq_s32(vld1q_s32(base + 4 * j), vshlq_n_s32(vld1q_s32(pop + 4 * j), 1))));
}

static BC_INLINE f32x16 f32x16_from_half(const int32_t *base, const int32_t *pop) {
    f32x16 y;
    BC_EACH4(vcvtq_f32_s32(vsubq_s32(vld1q_s32(base + 4 * j), vld1q_s32(pop + 4 * j))));
}

static BC_INLINE f32x16 f32x16_add(f32x16 y, f32x16 x) {
    BC_EACH4(vaddq_f32(y.at[j], x.at[j]));
}

static BC_INLINE f32x16 f32x16_mul(f32x16 y, f32x16 x) {
    BC_EACH4(vmulq_f32(y.at[j], x.at[j]));
}

static BC_INLINE f32x16 f32x16_fma(f32x16 y, f32x16 x, f32x16 v) {
    BC_EACH4(vfmaq_f32(y.at[j], x.at[j], v.at[j]));
}

static BC_INLINE f32x16 f32x16_above(f32x16 y, f32x16 x) {
    BC_EACH4(vbslq_f32(vcgtq_f32(y.at[j], x.at[j]), y.at[j], x.at[j]));
}

static BC_INLINE f32x16 f32x16_below(f32x16 y, f32x16 x) {
    BC_EACH4(vbslq_f32(vcltq_f32(y.at[j], x.at[j]), y.at[j], x.at[j]));
}

static BC_INLINE f32x16 f32x16_prelu(f32x16 y, f32x16 slope) {
    BC_EACH4(vbslq_f32(vcgezq_f32(y.at[j]), y.at[j], vmulq_f32(y.at[j], slope.at[j])));
}

static BC_INLINE f32x16 f32x16_keep(f32x16 y, f32x16 x) {
    BC_EACH4(vbslq_f32(vcgezq_f32(x.at[j]), y.at[j], vdupq_n_f32(0)));
}

static BC_INLINE unsigned f32x16_negative(f32x16 y) {
    return mask_to_bits(vcltzq_f32(y.at[0]), vcltzq_f32(y.at[1])) |
           (unsigned)mask_to_bits(vcltzq_f32(y.at[2]), vcltzq_f32(y.at[3])) << 8;
}

#undef BC_EACH4
