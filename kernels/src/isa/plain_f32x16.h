/* plain_f32x16.h: the sixteen floats that steps.h works on, in plain C: what an instruction set
 * that brings no f32x16 of its own uses, and what the operations mean. */
typedef struct f32x16 {
    float at[16];
} f32x16;

#define BC_EACH16(expression)                                                                      \
    do {                                                                                           \
        for (int j = 0; j < 16; j++)                                                               \
            y.at[j] = (expression);                                                                \
        return y;                                                                                  \
    } while (0)

static BC_INLINE f32x16 f32x16_load(const float *from) {
    f32x16 y;
    BC_EACH16(from[j]);
}

static BC_INLINE void f32x16_store(float *to, f32x16 y) {
    for (int j = 0; j < 16; j++)
        to[j] = y.at[j];
}

static BC_INLINE f32x16 f32x16_splat(float x) {
    f32x16 y;
    BC_EACH16(x);
}

static BC_INLINE f32x16 f32x16_from_i32(const int32_t *from) {
    f32x16 y;
    BC_EACH16((float)from[j]);
}

static BC_INLINE f32x16 f32x16_from_pop(const int32_t *base, const int32_t *pop) {
    f32x16 y;
    BC_EACH16((float)(base[j] - 2 * pop[j]));
}

static BC_INLINE f32x16 f32x16_from_half(const int32_t *base, const int32_t *pop) {
    f32x16 y;
    BC_EACH16((float)(base[j] - pop[j]));
}

static BC_INLINE f32x16 f32x16_add(f32x16 y, f32x16 x) {
    BC_EACH16(y.at[j] + x.at[j]);
}

static BC_INLINE f32x16 f32x16_mul(f32x16 y, f32x16 x) {
    BC_EACH16(y.at[j] * x.at[j]);
}

/* x * v + y, rounded once */
static BC_INLINE f32x16 f32x16_fma(f32x16 y, f32x16 x, f32x16 v) {
    BC_EACH16(fmaf(x.at[j], v.at[j], y.at[j]));
}

/* y > x ? y : x */
static BC_INLINE f32x16 f32x16_above(f32x16 y, f32x16 x) {
    BC_EACH16(y.at[j] > x.at[j] ? y.at[j] : x.at[j]);
}

/* y < x ? y : x */
static BC_INLINE f32x16 f32x16_below(f32x16 y, f32x16 x) {
    BC_EACH16(y.at[j] < x.at[j] ? y.at[j] : x.at[j]);
}

/* y >= 0 ? y : y * slope. The product comes first: compilers may not make it unconditional
 * themselves. */
static BC_INLINE f32x16 f32x16_prelu(f32x16 y, f32x16 slope) {
    const f32x16 product = f32x16_mul(y, slope);
    BC_EACH16(y.at[j] >= 0 ? y.at[j] : product.at[j]);
}

/* x >= 0 ? y : +0 */
static BC_INLINE f32x16 f32x16_keep(f32x16 y, f32x16 x) {
    BC_EACH16(x.at[j] >= 0 ? y.at[j] : 0);
}

/* Bit j: y[j] < 0. */
static BC_INLINE unsigned f32x16_negative(f32x16 y) {
    unsigned bits = 0;
    for (int j = 0; j < 16; j++)
        bits |= (unsigned)(y.at[j] < 0) << j;
    return bits;
}

#undef BC_EACH16
