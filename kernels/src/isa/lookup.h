/* lookup.h: sums of signed floats, looked up in memory; part of rows.h. One load with an addition
 * does 64 products, as long as a table stays in the first cache. */
enum { LOOKUP_MR = 4 /* chains of additions side by side */ };

static void ltable(size_t groups, const float *x, size_t ld, float *table) {
    const f32x16 minus = f32x16_splat(-1);
    for (size_t g = 0; g < groups; g++, x += 4 * ld, table += 16 * 16) {
        f32x16 pair[2][4]; /* of x0 and x1, of x2 and x3, by their two bits */
        for (size_t i = 0; i < 2; i++) {
            const f32x16 a = f32x16_load(x + 2 * i * ld), b = f32x16_load(x + (2 * i + 1) * ld),
                         c = f32x16_mul(a, minus), d = f32x16_mul(b, minus);
            pair[i][0] = f32x16_add(a, b);
            pair[i][1] = f32x16_add(c, b);
            pair[i][2] = f32x16_add(a, d);
            pair[i][3] = f32x16_add(c, d);
        }
        for (size_t i = 0; i < 16; i++)
            f32x16_store(table + 16 * i, f32x16_add(pair[0][i % 4], pair[1][i / 4]));
    }
}

static BC_INLINE void lookup_tile(const int mr, size_t taps, size_t octets,
                                  const uint8_t *const *bits, size_t stride, size_t skip,
                                  size_t step, const float *table, float *acc, size_t ld) {
    f32x16 y[LOOKUP_MR];
    BC_UNROLL
    for (int r = 0; r < mr; r++)
        y[r] = f32x16_load(acc + (size_t)r * ld);
    for (size_t t = 0; t < taps; t++) {
        const uint8_t *from[LOOKUP_MR];
        BC_UNROLL
        for (int r = 0; r < mr; r++)
            from[r] = bits[(size_t)r * stride + t] + skip;
        for (size_t i = 0; i < octets; i++, table += 2 * 16 * 16) {
            BC_UNROLL
            for (int r = 0; r < mr; r++) {
                const size_t byte = from[r][i * step];
                y[r] = f32x16_add(y[r], f32x16_load(table + byte % 16 * 16));
                y[r] = f32x16_add(y[r], f32x16_load(table + (16 + byte / 16) * 16));
            }
        }
    }
    BC_UNROLL
    for (int r = 0; r < mr; r++)
        f32x16_store(acc + (size_t)r * ld, y[r]);
}

static void lgemm(size_t m, size_t taps, size_t octets, const uint8_t *const *bits, size_t stride,
                  size_t skip, size_t step, const float *table, float *acc, size_t ld) {
    size_t p = 0;
    for (; p + LOOKUP_MR <= m; p += LOOKUP_MR)
        lookup_tile(LOOKUP_MR, taps, octets, bits + p * stride, stride, skip, step, table,
                    acc + p * ld, ld);
    for (; p < m; p++)
        lookup_tile(1, taps, octets, bits + p * stride, stride, skip, step, table, acc + p * ld,
                    ld);
}
