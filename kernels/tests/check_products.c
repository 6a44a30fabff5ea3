/* check_products.c: bgemm, bgemm_tau, bgemm_steps, fgemm, igemm and fdepthwise of every table
 * against scalar, over sweeps of all sizes. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    size_t m, panels, taps, c; /* c: words or elements per tap */
} shape;

static int failures;
static int cases;

#define COUNT(list) (sizeof(list) / sizeof *(list))
#define WHAT(name) name " m=%zu panels=%zu taps=%zu c=%zu fill=%s"
#define SHAPE(s, f) (s).m, (s).panels, (s).taps, (s).c, fill_names[f]

/* Activations against weights of another fill too: all ones against all zeros is the largest
 * popcount. */
static fill weight_fill(fill f) {
    return f == FILL_ONE ? FILL_ZERO : f == FILL_ZERO ? FILL_RANDOM : f;
}

/* The same pixels, skipping words under every pointer. Returns how many. */
static size_t move_back(const uint64_t *const *list, size_t count) {
    const uint64_t **a = (const uint64_t **)(void *)(uintptr_t)list;
    const size_t skip = random64() % 2 * (random64() % 300);
    for (size_t i = 0; i < count; i++)
        a[i] = (const uint64_t *)((uintptr_t)a[i] - skip * sizeof(uint64_t));
    return skip;
}

/* The weights in the table's other form; NULL: it has none. */
static const void *spread_of(const bc_kernels *k, shape s, const uint64_t *w) {
    if (!k->spread_bytes)
        return NULL;
    const size_t parts = (s.panels + k->spread_panels - 1) / k->spread_panels;
    void *to = guarded(parts * (s.taps * s.c + 1) * k->spread_bytes, 64);
    k->spread(s.panels, s.taps * s.c, w, to);
    return to;
}

static void check_binary(shape s, fill f) {
    const void *spread[16] = {NULL};
    const size_t rows = s.m + s.taps, n = s.panels * 8, ld = n + 3, w_words = n * s.taps * s.c;
    uint64_t *x = guarded(rows * s.c * 8, 8), *w = guarded(w_words * 8, 64);
    fill_words(x, rows * s.c, f);
    fill_words(w, w_words, weight_fill(f));
    const uint64_t *const *a =
        (const uint64_t *const *)(const void *)indirection(s.m, s.taps, x, rows, s.c * 8);

    const size_t pop_bytes = ((s.m - 1) * ld + n) * 4;
    int32_t *want = guarded(pop_bytes, 4);
    bc_kernels_scalar.bgemm(s.m, s.panels, s.taps, s.c, a, 0, w, want, ld);
    const size_t skip = move_back(a, s.m * s.taps);
    for (size_t t = 0; t < tables_count; t++) {
        int32_t *got = guarded(pop_bytes, 4);
        tables[t]->bgemm(s.m, s.panels, s.taps, s.c, a, skip, w, got, ld);
        failures += differs(want, got, pop_bytes, tables[t], WHAT("bgemm"), SHAPE(s, f));
        if (!(spread[t] = spread_of(tables[t], s, w)))
            continue;
        got = guarded(pop_bytes, 4);
        tables[t]->bgemm_spread(s.m, s.panels, s.taps, s.c, a, skip, w, spread[t], got, ld);
        failures += differs(want, got, pop_bytes, tables[t], WHAT("bgemm_spread"), SHAPE(s, f));
    }

    /* Limits beside the sums, so that > and >= differ; and the constants that mark padding filters
     * and constant bits. */
    const size_t limit_rows = 3, stride = s.panels + 2, bit_bytes = (s.m - 1) * stride + s.panels;
    int32_t *limits = guarded(limit_rows * n * 4, 4);
    for (size_t i = 0; i < limit_rows * n; i++) {
        const uint64_t r = random64();
        limits[i] = r % 17 == 0 ? INT32_MAX
                    : r % 17 == 1
                        ? INT32_MIN
                        : want[random64() % s.m * ld + i % n] + (int32_t)(r >> 32 & 3) - 2;
    }
    const int32_t *const *limit = (const int32_t *const *)(const void *)indirection(
        s.m, 1, limits, f == FILL_RANDOM ? limit_rows : 1, n * 4);
    uint8_t *want_bits = guarded(bit_bytes, 1);
    bc_kernels_scalar.bgemm_tau(s.m, s.panels, s.taps, s.c, a, skip, w, limit, want_bits, stride);
    for (size_t t = 0; t < tables_count; t++) {
        uint8_t *got = guarded(bit_bytes, 1);
        tables[t]->bgemm_tau(s.m, s.panels, s.taps, s.c, a, skip, w, limit, got, stride);
        failures += differs(want_bits, got, bit_bytes, tables[t], WHAT("bgemm_tau"), SHAPE(s, f));
        if (!spread[t])
            continue;
        got = guarded(bit_bytes, 1);
        tables[t]->bgemm_tau_spread(s.m, s.panels, s.taps, s.c, a, skip, w, spread[t], limit, got,
                                    stride);
        failures +=
            differs(want_bits, got, bit_bytes, tables[t], WHAT("bgemm_tau_spread"), SHAPE(s, f));
    }
    release_all();
    cases++;
}

/* Words of weights that differ from the pixels in all their bits, in none or in few, and limits
 * right at the sums: where kernels add up in narrow numbers, these go to both their ends. */
static void check_limits(size_t words) {
    enum { M = 9, PANELS = 12, N = PANELS * 8 };
    const shape s = {M, PANELS, 1, words};
    uint64_t *x = guarded(M * words * 8, 8), *w = guarded(N * words * 8, 64);
    fill_words(x, M * words, FILL_ZERO);
    for (size_t i = 0; i < N * words; i++) {
        const uint64_t r = random64(), few = random64() & random64() & random64() & random64();
        w[i] = (r & 1 ? ~UINT64_C(0) : 0) ^ (r & 6 ? 0 : few);
    }
    const uint64_t *const *a =
        (const uint64_t *const *)(const void *)indirection(M, 1, x, M, words * 8);
    int32_t *sums = guarded(M * N * 4, 4), *limits = guarded(N * 4, 4);
    bc_kernels_scalar.bgemm(M, PANELS, 1, words, a, 0, w, sums, N);
    for (size_t f = 0; f < N; f++)
        limits[f] = sums[f] - (int32_t)(random64() % 2);
    const int32_t *const *limit =
        (const int32_t *const *)(const void *)indirection(M, 1, limits, 1, N * 4);
    uint8_t *want = guarded(M * PANELS, 1);
    bc_kernels_scalar.bgemm_tau(M, PANELS, 1, words, a, 0, w, limit, want, PANELS);
    for (size_t t = 0; t < tables_count; t++) {
        uint8_t *got = guarded(M * PANELS, 1);
        tables[t]->bgemm_tau(M, PANELS, 1, words, a, 0, w, limit, got, PANELS);
        failures += differs(want, got, M * PANELS, tables[t], WHAT("bgemm_tau at its limits"),
                            SHAPE(s, FILL_ZERO));
    }
    release_all();
    cases++;
}

/* Epilogues of products, which kernels may know parts of: the most common one, and one of nearly
 * every kind of step, from either source. */
typedef enum program { USUAL, USUAL_HALF, EVERY, EVERY_HALF, NO_AFFINE, PROGRAMS } program;

/* The product with its epilogue: filters that end anywhere in a panel, bases that pixels share or
 * not. */
static void check_program(shape s, fill f, program which) {
    const size_t rows = s.m + s.taps, n = s.panels * 8, c = n - random64() % 8, ld = n + 3,
                 w_words = n * s.taps * s.c, stride = (c + 7) / 8 + 1,
                 y_bytes = ((s.m - 1) * (c + 2) + c) * 4, bytes = 2 * y_bytes + s.m * stride;
    uint64_t *x = guarded(rows * s.c * 8, 8), *w = guarded(w_words * 8, 64);
    fill_words(x, rows * s.c, f);
    fill_words(w, w_words, weight_fill(f));
    const uint64_t *const *a =
        (const uint64_t *const *)(const void *)indirection(s.m, s.taps, x, rows, s.c * 8);
    int32_t *bases = guarded(2 * c * 4, 4), *pop = guarded(s.m * ld * 4, 4);
    float *scale = guarded(c * 4, 4), *bias = guarded(c * 4, 4), *map = guarded(s.m * 4, 4),
          *shortcut = guarded(y_bytes, 4);
    fill_i32(bases, 2 * c, FILL_RANDOM, 1 << 20);
    fill_f32(scale, c, FILL_RANDOM);
    fill_f32(bias, c, FILL_RANDOM);
    fill_f32(map, s.m, FILL_RANDOM);
    fill_f32(shortcut, y_bytes / 4, FILL_RANDOM);
    const int32_t *const *base = (const int32_t *const *)(const void *)indirection(
        s.m, 1, bases, f == FILL_RANDOM ? 2 : 1, c * 4);
    const bc_kernels *scalar = &bc_kernels_scalar;
    const bc_row_op third = random64() % 4 ? BC_ROW_RELU : BC_ROW_PRELU;
    void *want = NULL;
    size_t skip = 0;
    for (size_t t = 0; t <= tables_count; t++) {
        const bc_kernels *k = t == 0 ? scalar : tables[t - 1];
        uint8_t *got = guarded(bytes, 4);
        const bc_row_op source =
            which == USUAL_HALF || which == EVERY_HALF ? BC_ROW_HALF : BC_ROW_POP;
        const bc_row_step usual[] = {
            {.op = source, .x = pop, .base = base, .ld = ld},
            {.op = BC_ROW_AFFINE, .scale = scale, .bias = bias},
            {.op = third, .scale = scale},
            {.op = BC_ROW_STORE, .to = got, .ld = c + 2},
        };
        const bc_row_step every[] = {
            usual[0],
            which == NO_AFFINE ? (bc_row_step){.op = BC_ROW_RELU} : usual[1],
            {.op = BC_ROW_MUL_MAP, .x = map},
            {.op = BC_ROW_STORE, .to = got, .ld = c + 2},
            {.op = BC_ROW_AFFINE, .scale = scale, .bias = bias},
            {.op = BC_ROW_ADD, .x = shortcut, .ld = c + 2},
            {.op = BC_ROW_PRELU, .scale = scale},
            {.op = BC_ROW_SIGN, .to = got + 2 * y_bytes, .ld = stride},
            {.op = BC_ROW_STORE, .to = got + y_bytes, .ld = c + 2},
        };
        if (which <= USUAL_HALF)
            k->bgemm_steps(s.m, c, s.taps, s.c, a, skip, w, pop, ld, usual, COUNT(usual));
        else
            k->bgemm_steps(s.m, c, s.taps, s.c, a, skip, w, pop, ld, every, COUNT(every));
        if (t == 0) {
            want = got;
            skip = move_back(a, s.m * s.taps);
        } else {
            failures += differs(want, got, bytes, k, WHAT("bgemm_steps, program %d, %zu filters,"),
                                (int)which, c, SHAPE(s, f));
        }
    }
    release_all();
    cases++;
}

static void check_steps(shape s, fill f) {
    check_program(s, f, (program)(random64() % PROGRAMS));
}

static void check_float(shape s, fill f) {
    const size_t rows = s.m + s.taps, n = s.panels * 16, ld = n + 5, k = s.taps * s.c;
    /* every second time, fgemm's last panel has a half that is not computed */
    const size_t filters = n - random64() % 16, columns = bc_round_up(filters, 8),
                 bytes = ((s.m - 1) * ld + columns) * 4;
    float *x = guarded(rows * s.c * 4, 4), *w = guarded(n * k * 4, 64);
    fill_f32(x, rows * s.c, f);
    fill_f32(w, n * k, weight_fill(f));
    const float *const *a =
        (const float *const *)(const void *)indirection(s.m, s.taps, x, rows, s.c * 4);
    float *want = guarded(bytes, 4);
    /* from the last line before the guard page on, and far into it: a hint may be wrong */
    const bc_ahead ahead = {(const char *)(want + bytes / 4) - BC_LINE, random64() % (1 << 20)};
    const bool hint = random64() % 2;
    bc_kernels_scalar.fgemm(s.m, filters, s.taps, s.c, a, w, want, ld, NULL);
    for (size_t t = 0; t < tables_count; t++) {
        float *got = guarded(bytes, 4);
        tables[t]->fgemm(s.m, filters, s.taps, s.c, a, w, got, ld, hint ? &ahead : NULL);
        failures +=
            differs(want, got, bytes, tables[t], WHAT("fgemm, %zu filters,"), filters, SHAPE(s, f));
    }
    release_all();
    cases++;
}

static void check_integer(shape s, fill f) {
    const size_t rows = s.m + s.taps, n = s.panels * 16, ld = n + 5, k = s.taps * s.c,
                 bytes = ((s.m - 1) * ld + n) * 4;
    int16_t *x = guarded(rows * s.c * 2, 2);
    uint16_t *bits = guarded(s.panels * k * 2, 64);
    fill_i16(x, rows * s.c, f);
    fill_u16(bits, s.panels * k, weight_fill(f));
    const int16_t *const *a =
        (const int16_t *const *)(const void *)indirection(s.m, s.taps, x, rows, s.c * 2);
    int32_t *want = guarded(bytes, 4);
    bc_kernels_scalar.igemm(s.m, s.panels, s.taps, s.c, a, bits, want, ld);
    for (size_t t = 0; t < tables_count; t++) {
        int32_t *got = guarded(bytes, 4);
        tables[t]->igemm(s.m, s.panels, s.taps, s.c, a, bits, got, ld);
        failures += differs(want, got, bytes, tables[t], WHAT("igemm"), SHAPE(s, f));
    }
    release_all();
    cases++;
}

static void check_depthwise(shape s, fill f) {
    const size_t rows = s.m + s.taps, ld = s.c + 5, bytes = ((s.m - 1) * ld + s.c) * 4;
    float *x = guarded(rows * s.c * 4, 4), *w = guarded(s.taps * s.c * 4, 64);
    fill_f32(x, rows * s.c, f);
    fill_f32(w, s.taps * s.c, weight_fill(f));
    const float *const *a =
        (const float *const *)(const void *)indirection(s.m, s.taps, x, rows, s.c * 4);
    float *want = guarded(bytes, 4);
    bc_kernels_scalar.fdepthwise(s.m, s.c, s.taps, a, w, want, ld);
    for (size_t t = 0; t < tables_count; t++) {
        float *got = guarded(bytes, 4);
        tables[t]->fdepthwise(s.m, s.c, s.taps, a, w, got, ld);
        failures += differs(want, got, bytes, tables[t], WHAT("fdepthwise"), SHAPE(s, f));
    }
    release_all();
    cases++;
}

/* Every combination of the lists, each with all fills; every list but the first is walked less
 * densely where m is large. */
static void sweep(void (*check)(shape, fill), const size_t *c, size_t c_count, const size_t *panels,
                  size_t panels_count) {
    static const size_t m[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  11, 12,
                               13, 14, 15, 16, 28, 29, 48, 49, 56, 97};
    static const size_t taps[] = {1, 2, 3, 9, 25};
    for (size_t i = 0; i < COUNT(m); i++)
        for (size_t j = 0; j < panels_count; j++)
            for (size_t t = 0; t < COUNT(taps); t++)
                for (size_t n = 0; n < c_count; n++) {
                    if (m[i] > 16 && (i + j + t + n) % 4 != 0)
                        continue;
                    for (fill f = 0; f < FILLS; f++)
                        check((shape){m[i], panels[j], taps[t], c[n]}, f);
                }
}

int check_products(void) {
    static const size_t words[] = {1, 2, 3, 4, 7}, few[] = {1, 2, 3, 4, 5, 9},
                        channels[] = {1, 2, 3, 8, 17}, wide[] = {1, 2, 3, 5},
                        deep[] = {1, 7, 8, 16, 31, 32, 33, 40, 64, 65}, one[] = {1};
    failures = cases = 0;
    sweep(check_binary, words, COUNT(words), few, COUNT(few));
    sweep(check_steps, words, COUNT(words), few, COUNT(few));
    sweep(check_float, channels, COUNT(channels), wide, COUNT(wide));
    sweep(check_integer, channels, COUNT(channels), wide, COUNT(wide));
    sweep(check_depthwise, deep, COUNT(deep), one, COUNT(one));
    for (size_t i = 0; i < 600; i++)
        check_limits(1 + i % 10);
    for (fill f = 0; f < FILLS; f++) {
        check_binary((shape){5, 3, 25, 48}, f); /* K = 76,800: beyond 16-bit sums */
        check_binary((shape){1, 2, 1, 1300}, f);
        check_binary((shape){7, 5, 1, 511}, f); /* the largest sums that int16 holds, and more */
        check_binary((shape){7, 5, 7, 73}, f);
        check_binary((shape){7, 5, 1, 512}, f);
        check_binary((shape){13, 19, 9, 5}, f); /* several vectors of panels */
        check_binary((shape){70, 12, 25, 2}, f);
        check_binary((shape){200, 9, 3, 3},
                     f); /* more pixels than one expansion of weights serves */
        check_binary((shape){131, 17, 3, 13}, f);
        check_binary((shape){7, 2, 1, 64}, f);
        /* many pixels of few words, which AVX-512 turns the weights for, and its bounds */
        static const shape many[] = {{245, 8, 3, 3}, {127, 7, 17, 1}, {127, 5, 9, 2},
                                     {126, 6, 9, 2}, {140, 4, 19, 1}, {36, 4, 1, 5},
                                     {36, 3, 2, 3},  {41, 6, 5, 1},   {43, 2, 1, 1}};
        for (size_t i = 0; i < COUNT(many); i++) {
            check_binary(many[i], f);
            for (program which = 0; which < PROGRAMS; which++)
                check_program(many[i], f, which);
        }
        check_steps((shape){13, 19, 9, 5}, f);
        check_integer((shape){4, 2, 1, 4097}, f); /* several blocks of K */
        check_float((shape){3, 5, 1, 1025}, f);
    }
    printf("products: %d cases, %d failures\n", cases, failures);
    return failures;
}
