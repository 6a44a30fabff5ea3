/* steps_tile.h: a whole epilogue in one pass. A tile of 4 pixels x 16 channels stays in registers
 * while all steps are done on it, so that every row is read once and written once, however many
 * steps there are. Choosing the next step costs a predicted jump per tile and step, which is little
 * beside the 8 to 16 vector instructions that a step is.
 *
 * Before it is included, the instruction set defines f32x16, sixteen floats in registers, and its
 * operations: plain_f32x16.h tells which, in C. */

enum { STEP_MR = 4, STEP_NR = 16 };

/* The last channels of a row, n < 16 of them, take a way through memory of their own, unless the
 * instruction set can leave lanes out. */
#ifndef BC_F32X16_LOAD_SOME
static BC_INLINE f32x16 f32x16_load_some(const float *from, size_t n) {
    float all[STEP_NR] = {0};
    memcpy(all, from, n * sizeof *all);
    return f32x16_load(all);
}
#endif

#ifndef BC_F32X16_STORE_SOME
static BC_INLINE void f32x16_store_some(float *to, f32x16 y, size_t n) {
    float all[STEP_NR];
    f32x16_store(all, y);
    memcpy(to, all, n * sizeof *all);
}
static BC_INLINE f32x16 f32x16_from_i32_some(const int32_t *from, size_t n) {
    int32_t all[STEP_NR] = {0};
    memcpy(all, from, n * sizeof *all);
    return f32x16_from_i32(all);
}
#endif

#ifndef BC_F32X16_POP_SOME
static BC_INLINE f32x16 f32x16_from_pop_some(const int32_t *base, const int32_t *pop, size_t n,
                                             bool half) {
    int32_t all[STEP_NR] = {0};
    for (size_t i = 0; i < n; i++)
        all[i] = base[i] - (half ? 1 : 2) * pop[i];
    return f32x16_from_i32(all);
}
#endif

static BC_INLINE f32x16 load_tile(const float *from, size_t n) {
    return n == STEP_NR ? f32x16_load(from) : f32x16_load_some(from, n);
}

static BC_INLINE void store_tile(float *to, f32x16 y, size_t n) {
    if (n == STEP_NR)
        f32x16_store(to, y);
    else
        f32x16_store_some(to, y, n);
}

static BC_INLINE f32x16 integers_tile(const int32_t *from, size_t n) {
    return n == STEP_NR ? f32x16_from_i32(from) : f32x16_from_i32_some(from, n);
}

static BC_INLINE f32x16 pop_tile(const int32_t *base, const int32_t *pop, size_t n, bool half) {
    if (n < STEP_NR)
        return f32x16_from_pop_some(base, pop, n, half);
    return half ? f32x16_from_half(base, pop) : f32x16_from_pop(base, pop);
}

static BC_INLINE void sign_tile(uint8_t *to, f32x16 y, size_t n) {
    const uint16_t bits = (uint16_t)(f32x16_negative(y) & ((1u << n) - 1));
    memcpy(to, &bits, n > 8 ? 2 : 1); /* little-endian */
}

/* Some steps on y, which is pixels [p, p + mr) and channels [i, i + n). sources: they may be among
 * them; without, no address of theirs takes a register. */
static BC_INLINE void steps_on(f32x16 *y, const int mr, const size_t n, size_t p, size_t i,
                               const bc_row_step *step, const bc_row_step *end,
                               const bool sources) {
    for (; step < end; step++) {
        const size_t at = p * step->ld + i, ld = step->ld;
        switch (step->op) {
        case BC_ROW_LOAD: {
            if (!sources)
                break;
            const float *x = (const float *)step->x + at;
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                y[r] = load_tile(x + (size_t)r * ld, n);
            break;
        }
        case BC_ROW_I32: {
            if (!sources)
                break;
            const int32_t *x = (const int32_t *)step->x + at;
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                y[r] = integers_tile(x + (size_t)r * ld, n);
            break;
        }
        case BC_ROW_POP:
        case BC_ROW_HALF: {
            if (!sources)
                break;
            const int32_t *x = (const int32_t *)step->x + at, *const *base = step->base + p;
            const bool half = step->op == BC_ROW_HALF;
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                y[r] = pop_tile(base[r] + i, x + (size_t)r * ld, n, half);
            break;
        }
        case BC_ROW_AFFINE: {
            const f32x16 scale = load_tile(step->scale + i, n), bias = load_tile(step->bias + i, n);
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                y[r] = f32x16_add(f32x16_mul(y[r], scale), bias); /* rounded twice */
            break;
        }
        case BC_ROW_RELU:
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                y[r] = f32x16_above(y[r], f32x16_splat(0));
            break;
        case BC_ROW_HARDTANH:
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                y[r] = f32x16_below(f32x16_above(y[r], f32x16_splat(-1)), f32x16_splat(1));
            break;
        case BC_ROW_PRELU: {
            const f32x16 slope = load_tile(step->scale + i, n);
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                y[r] = f32x16_prelu(y[r], slope);
            break;
        }
        case BC_ROW_ADD: {
            const float *x = (const float *)step->x + at;
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                y[r] = f32x16_add(y[r], load_tile(x + (size_t)r * ld, n));
            break;
        }
        case BC_ROW_MUL_MAP: {
            const float *map = (const float *)step->x + p;
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                y[r] = f32x16_mul(y[r], f32x16_splat(map[r]));
            break;
        }
        case BC_ROW_STORE: {
            float *to = (float *)step->to + at;
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                store_tile(to + (size_t)r * ld, y[r], n);
            break;
        }
        case BC_ROW_SIGN: {
            uint8_t *to = (uint8_t *)step->to + p * ld + i / 8;
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                sign_tile(to + (size_t)r * ld, y[r], n);
            break;
        }
        }
    }
}

/* All steps on pixels [p, p + mr) and channels [i, i + n). */
static BC_INLINE void steps_tile(const int mr, const size_t n, size_t p, size_t i,
                                 const bc_row_step *step, const bc_row_step *end) {
    f32x16 y[STEP_MR];
    BC_UNROLL
    for (int r = 0; r < mr; r++)
        y[r] = f32x16_splat(0);
    steps_on(y, mr, n, p, i, step, end, true);
}
