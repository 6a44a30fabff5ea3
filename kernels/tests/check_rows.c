/* check_rows.c: the kernels over rows of channels (epilogues, bits, pools) of every table against
 * scalar. */
#include "check.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LIMIT_24 = (1 << 24) - 1, STEPS = 6 };

static int failures;
static int cases;

typedef struct rows {
    size_t m, c, ld;
    fill f;
    size_t bytes; /* of m rows of 4-byte values */
} rows;

#define WHAT(name) name " m=%zu c=%zu ld=%zu fill=%s"
#define ROWS(r) (r).m, (r).c, (r).ld, fill_names[(r).f]

static float *floats(size_t n, fill f) {
    float *to = guarded(n * sizeof *to, 4);
    fill_f32(to, n, f);
    return to;
}

static int32_t *integers(size_t n, fill f, int32_t limit) {
    int32_t *to = guarded(n * sizeof *to, 4);
    fill_i32(to, n, f, limit);
    return to;
}

static void *copy_of(const void *from, size_t bytes) {
    return memcpy(guarded(bytes, 4), from, bytes);
}

/* Runs `call` (which names its table `k` and its output `out`) by scalar and by every table, on
 * copies of `start`. */
#define COMPARE(name, start, out_bytes, ...)                                                       \
    do {                                                                                           \
        void *want = copy_of(start, out_bytes);                                                    \
        {                                                                                          \
            const bc_kernels *k = &bc_kernels_scalar;                                              \
            void *out = want;                                                                      \
            __VA_ARGS__;                                                                           \
        }                                                                                          \
        for (size_t t = 0; t < tables_count; t++) {                                                \
            const bc_kernels *k = tables[t];                                                       \
            void *out = copy_of(start, out_bytes);                                                 \
            __VA_ARGS__;                                                                           \
            failures += differs(want, out, out_bytes, k, WHAT(name), ROWS(r));                     \
        }                                                                                          \
        cases++;                                                                                   \
    } while (0)

/* List number i: every step alone, then random lists; rows into others, in place, and bits. */
static void check_list(rows r, size_t i) {
    const size_t n = r.bytes / 4, sign_ld = (r.c + 7) / 8 + 3;
    float *y = floats(n, r.f);
    const float *scale = floats(r.c, FILL_RANDOM), *bias = floats(r.c, FILL_RANDOM),
                *map = floats(r.m, FILL_RANDOM),
                *x = floats((r.m - 1) * (r.ld + 2) + r.c, FILL_RANDOM);
    const void *blank = guarded(r.m * sign_ld, 4);
    const bc_row_step all[STEPS] = {
        {.op = BC_ROW_AFFINE, .scale = scale, .bias = bias},
        {.op = BC_ROW_RELU},
        {.op = BC_ROW_HARDTANH},
        {.op = BC_ROW_PRELU, .scale = scale},
        {.op = BC_ROW_ADD, .x = x, .ld = r.ld + 2},
        {.op = BC_ROW_MUL_MAP, .x = map},
    };
    if (r.f == FILL_RANDOM)
        y[random64() % n] = (float)NAN;
    bc_row_step list[10] = {{.op = BC_ROW_LOAD, .x = y, .ld = r.ld}};
    size_t count = 1;
    if (i < STEPS)
        list[count++] = all[i];
    while (i >= STEPS && count < 8)
        list[count++] = all[random64() % STEPS];
    COMPARE("steps", y, r.bytes, {
        list[count] = (bc_row_step){.op = BC_ROW_STORE, .to = out, .ld = r.ld};
        k->steps(r.m, r.c, list, count + 1);
    });
    COMPARE("steps, bits", blank, (r.m - 1) * sign_ld + (r.c + 7) / 8, {
        list[count] = (bc_row_step){.op = BC_ROW_SIGN, .to = out, .ld = sign_ld};
        k->steps(r.m, r.c, list, count + 1);
    });
    COMPARE("steps, in place", y, r.bytes, {
        list[0].x = out;
        list[count] = (bc_row_step){.op = BC_ROW_STORE, .to = out, .ld = r.ld};
        k->steps(r.m, r.c, list, count + 1);
    });
    release_all();
}

/* The sources that are integers; and what goes on after a store and a sign is what was stored. */
static void check_sources(rows r) {
    const size_t n = r.bytes / 4, stride = (r.c + 7) / 8 + 1;
    const int32_t *acc = integers(n, r.f, LIMIT_24), *pop = integers(n, r.f, LIMIT_24 / 4),
                  *bases = integers(2 * r.c, FILL_RANDOM, LIMIT_24 / 4);
    const int32_t *const *base =
        (const int32_t *const *)(const void *)indirection(r.m, 1, bases, 2, r.c * 4);
    const float *scale = floats(r.c, FILL_RANDOM), *bias = floats(r.c, FILL_RANDOM);
    const void *blank = guarded(2 * r.bytes + r.m * stride, 4);
    const bc_row_step sources[3] = {{.op = BC_ROW_I32, .x = acc, .ld = r.ld},
                                    {.op = BC_ROW_POP, .x = pop, .base = base, .ld = r.ld},
                                    {.op = BC_ROW_HALF, .x = pop, .base = base, .ld = r.ld}};
    for (size_t i = 0; i < 3; i++) {
        COMPARE("steps, from integers", blank, 2 * r.bytes + r.m * stride, {
            uint8_t *bits = (uint8_t *)out + 2 * r.bytes;
            const bc_row_step list[] = {
                sources[i],
                {.op = BC_ROW_STORE, .to = out, .ld = r.ld},
                {.op = BC_ROW_SIGN, .to = bits, .ld = stride},
                {.op = BC_ROW_AFFINE, .scale = scale, .bias = bias},
                {.op = BC_ROW_STORE, .to = (char *)out + r.bytes, .ld = r.ld}};
            k->steps(r.m, r.c, list, sizeof list / sizeof *list);
        });
    }
    release_all();
}

/* What nodes rely on that are halved (ops/binary_border.c): from half of even bases by twice the
 * scale comes what comes from both as they are, bit for bit, up to the largest scale that can be
 * doubled and down to the smallest. The former by every table, the latter by scalar. */
static void check_halves(rows r) {
    static const float extremes[] = {0,         -0.0f,      0x1p-149f,   -0x1p-149f,
                                     0x3p-149f, 0x1p-127f,  0x1p-126f,   -0x1.fffffep-127f,
                                     0x1p126f,  -0x1p+126f, FLT_MAX / 2, -FLT_MAX / 2};
    const size_t n = r.bytes / 4;
    const int32_t *pop = integers(n, r.f, LIMIT_24 / 4);
    int32_t *bases = integers(4 * r.c, FILL_RANDOM, LIMIT_24 / 8);
    float *scales = floats(2 * r.c, FILL_RANDOM), *bias = floats(r.c, FILL_RANDOM);
    for (size_t i = 0; i < r.c; i++) {
        const uint64_t random = random64();
        /* sums near 0, and often 0, beside those of all sizes */
        if (random % 2)
            bases[i] = pop[random64() % r.m * r.ld + i];
        bases[r.c + i] = bases[i] * 2;
        if (random % 3)
            scales[i] = extremes[(random >> 8) % (sizeof extremes / sizeof *extremes)];
        if (random % 5 < 2)
            bias[i] = random % 5 ? -0.0f : 0;
        else if (random % 5 < 3)
            bias[i] *= 0x1p-140f;
        scales[r.c + i] = 2 * scales[i];
    }
    const int32_t *const *half =
                             (const int32_t *const *)(const void *)indirection(r.m, 1, bases, 1, 0),
                         *const *base = (const int32_t *const *)(const void *)indirection(
                             r.m, 1, bases + r.c, 1, 0);
    const void *blank = guarded(r.bytes, 4);
    COMPARE("steps, halved", blank, r.bytes, {
        const bool plain = out == want;
        const bc_row_step list[] = {
            {.op = plain ? BC_ROW_POP : BC_ROW_HALF,
             .x = pop,
             .base = plain ? base : half,
             .ld = r.ld},
            {.op = BC_ROW_AFFINE, .scale = scales + (plain ? 0 : r.c), .bias = bias},
            {.op = BC_ROW_STORE, .to = out, .ld = r.ld}};
        k->steps(r.m, r.c, list, sizeof list / sizeof *list);
    });
    release_all();
}

static void check_conversions(rows r) {
    const size_t n = r.bytes / 4, bytes = (r.c + 7) / 8, stride = bytes + 3,
                 bit_bytes = (r.m - 1) * stride + bytes;
    const int32_t *acc = integers(n, r.f, LIMIT_24), *tau = integers(r.c, FILL_RANDOM, LIMIT_24);
    const void *blank = guarded(bc_max(r.bytes, bit_bytes), 4);
    COMPARE("i32_to_bits", blank, bit_bytes, k->i32_to_bits(r.m, r.c, acc, r.ld, tau, out, stride));
    COMPARE("i32_to_bits (ties)", blank, bit_bytes,
            k->i32_to_bits(r.m, r.c, acc, r.ld, acc, out, stride));
    const float *y = floats(n, r.f), inv = 1.0f / (float)r.c;
    COMPARE("abs_mean", blank, r.m * 4, k->abs_mean(r.m, r.c, y, r.ld, inv, out));
    release_all();
}

static void check_turn(size_t octets, fill f) {
    uint8_t *low = guarded(octets * 8, 1), *high = guarded(octets * 8, 1);
    uint64_t *words = guarded(octets * 16, 8);
    fill_words(words, octets * 2, f);
    memcpy(low, words, octets * 8);
    memcpy(high, words + octets, octets * 8);
    const rows r = {.m = octets, .c = 16, .f = f};
    const void *blank = guarded(octets * 16, 1);
    COMPARE("turn_bits", blank, octets * 16, k->turn_bits(octets, low, high, out));
    release_all();
}

static void check_taps(size_t taps, size_t channels, size_t n, size_t stride, size_t step, fill f) {
    const size_t words = bc_words(taps * channels), read = (n - 1) * stride + (taps - 1) * step + 1;
    uint64_t *from = guarded(read * 8, 8);
    fill_words(from, read, f);
    for (size_t i = 0; i < read; i++)
        from[i] &= ~(uint64_t)0 >> (64 - channels);
    const rows r = {.m = n, .c = taps * channels, .f = f};
    const void *blank = guarded(n * words * 8, 8);
    COMPARE("pack_taps", blank, n * words * 8,
            k->pack_taps(n, taps, channels, stride, step, from, out));
    release_all();
}

/* Tables of 16 floats of rows 16 + 3 apart, then products that look up; bytes `step` apart. */
static void check_lookup(size_t m, size_t taps, size_t octets, fill f) {
    const size_t groups = taps * octets * 2, ld = 16 + m % 2 * 3, step = m % 3 ? 1 : 16,
                 skip = m % 4, bytes = skip + (octets - 1) * step + 1,
                 rows_bytes = ((m - 1) * ld + 16) * 4;
    const rows r = {.m = m, .c = groups, .ld = ld, .f = f};
    const float *x = floats((4 * groups - 1) * ld + 16, f);
    const void *blank = guarded(groups * 16 * 16 * 4, 4), *start = floats(rows_bytes / 4, f);
    COMPARE("ltable", blank, groups * 16 * 16 * 4, k->ltable(groups, x, ld, out));
    float *table = guarded(groups * 16 * 16 * 4, 4);
    bc_kernels_scalar.ltable(groups, x, ld, table);
    uint8_t *bits = guarded((m + taps) * bytes, 1);
    for (size_t i = 0; i < (m + taps) * bytes; i++)
        bits[i] = (uint8_t)random64();
    const uint8_t *const *a =
        (const uint8_t *const *)(const void *)indirection(m, taps, bits, m + taps, bytes);
    COMPARE("lgemm", start, rows_bytes,
            k->lgemm(m, taps, octets, a, taps, skip, step, table, out, ld));
    if (taps > 1) /* some of a window's rows */
        COMPARE("lgemm of the last taps", start, rows_bytes,
                k->lgemm(m, taps - 1, octets, a + 1, taps, skip, step, table, out, ld));
    release_all();
}

static void check_gradients(rows r) {
    const size_t n = r.m * r.c;
    const float *x = floats(n, r.f), *dy = floats(n, FILL_RANDOM), *center = floats(r.c, r.f),
                *input = floats(2 * r.c, FILL_RANDOM);
    const void *blank = guarded(2 * r.c * 4, 4);
    COMPARE("center_sums of squares", blank, 2 * r.c * 4,
            k->center_sums(r.m, r.c, x, NULL, center, out));
    COMPARE("center_sums", blank, 2 * r.c * 4, k->center_sums(r.m, r.c, x, dy, center, out));
    for (bc_estimator e = BC_IDENTITY; e <= BC_APPROXSIGN && r.c % 16 == 0; e++) {
        /* dx and, behind it, the sums */
        char *start = guarded((n + 2 * r.c) * 4, 4);
        memset(start, 0, (n + 2 * r.c) * 4);
        memcpy(start, dy, n * 4);
        COMPARE("through_sign", start, (n + 2 * r.c) * 4,
                k->through_sign(r.m, r.c, e, x, input, center, out, (float *)out + n));
    }
    release_all();
}

static void check_pools(rows r, size_t taps) {
    const size_t inputs = r.m + taps;
    const float *x = floats(inputs * r.c, r.f);
    const float *const *a =
        (const float *const *)(const void *)indirection(r.m, taps, x, inputs, r.c * 4);
    float *divisor = guarded(r.m * 4, 4);
    for (size_t p = 0; p < r.m; p++)
        divisor[p] = (float)(1 + random64() % taps);
    const void *blank = guarded(r.bytes, 4);
    COMPARE("max_pool", blank, r.bytes, k->max_pool(r.m, r.c, taps, a, out, r.ld));
    COMPARE("avg_pool", blank, r.bytes, k->avg_pool(r.m, r.c, taps, a, divisor, out, r.ld));

    uint64_t *words = guarded(inputs * r.c * 8, 8), *or_mask = guarded(r.c * 8, 8);
    fill_words(words, inputs * r.c, r.f);
    fill_words(or_mask, r.c, FILL_RANDOM);
    const uint64_t *const *b =
        (const uint64_t *const *)(const void *)indirection(r.m, taps, words, inputs, r.c * 8);
    uint64_t *want = guarded(r.m * r.c * 8, 8);
    bc_kernels_scalar.bit_pool(r.m, r.c, taps, b, or_mask, want);
    for (size_t t = 0; t < tables_count; t++) {
        uint64_t *got = guarded(r.m * r.c * 8, 8);
        tables[t]->bit_pool(r.m, r.c, taps, b, or_mask, got);
        failures += differs(want, got, r.m * r.c * 8, tables[t], WHAT("bit_pool"), ROWS(r));
    }
    cases++;
    release_all();
}

int check_rows(void) {
    static const size_t m[] = {1, 2, 3, 7}, more[] = {63, 64, 65, 97, 127, 128, 129, 512},
                        taps[] = {1, 2, 4, 9};
    failures = cases = 0;
    for (size_t i = 0; i < sizeof m / sizeof *m; i++)
        for (size_t j = 0; j < 33 + sizeof more / sizeof *more; j++)
            for (fill f = 0; f < FILLS; f++) {
                const size_t c = j < 33 ? j + 1 : more[j - 33], ld = c + (i % 2 ? 0 : 3);
                const rows r = {m[i], c, ld, f, ((m[i] - 1) * ld + c) * 4};
                for (size_t list = 0; list < STEPS + 3; list++)
                    check_list(r, list);
                check_sources(r);
                check_halves(r);
                check_conversions(r);
                check_gradients(r);
                check_pools(r, taps[(i + j) % 4]);
            }
    for (size_t octets = 1; octets < 40; octets++)
        for (fill f = 0; f < FILLS; f++)
            check_turn(octets, f);
    for (size_t taps_of = 1; taps_of <= BC_MOST_PACKED_TAPS; taps_of++)
        for (size_t channels = 1; channels < 64 && taps_of * channels <= 64 * BC_MOST_PACKED_WORDS;
             channels += 1 + channels / 8)
            for (fill f = 0; f < FILLS; f++)
                check_taps(taps_of, channels, 1 + (channels + f * 5) % 35, 1 + channels % 3,
                           1 + channels / 2 % 2, f);
    for (size_t rows = 1; rows < 14; rows++)
        for (size_t octets = 1; octets < 8; octets += 1 + octets / 4)
            for (fill f = 0; f < FILLS; f++)
                check_lookup(rows, 1 + rows % 3, octets, f);
    printf("rows: %d cases, %d failures\n", cases, failures);
    return failures;
}
