/* check_weights.c: the products of 1-bit weights with floats and 8-bit integers, each with the
 * tables of its own instruction set, against scalar. */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct shape {
    size_t m, panels, taps, c; /* c: channels per tap */
} shape;

static int failures;
static int cases;

#define WHAT(name) name " m=%zu panels=%zu taps=%zu c=%zu fill=%s"
#define SHAPE(s, f) (s).m, (s).panels, (s).taps, (s).c, fill_names[f]

static fill weight_fill(fill f) {
    return f == FILL_ONE ? FILL_ZERO : f == FILL_ZERO ? FILL_RANDOM : f;
}

/* Tables of zeros must be zero bytes: they stand for padding. */
static void check_zeros(const bc_kernels *k, size_t c) {
    const size_t w_bytes = bc_round_up(c, 8) / 8 * k->ttable_octet,
                 q_bytes = bc_round_up(c, 16) / 8 * k->qtable_octet;
    float *x = guarded(c * 4, 4);
    uint8_t *tables = guarded(w_bytes + q_bytes, 64), *zeros = guarded(w_bytes + q_bytes, 64);
    memset(x, 0, c * 4);
    memset(zeros, 0, w_bytes + q_bytes);
    k->qtable(1, c, x, 1.0f, tables + w_bytes);
    k->ttable(1, c, x, tables);
    for (size_t i = 0; i < w_bytes; i += 4) { /* -0 is a zero too, and adds as +0 does */
        uint32_t word;
        memcpy(&word, tables + i, 4);
        word &= 0x7fffffff;
        memcpy(tables + i, &word, 4);
    }
    failures += differs(zeros, tables, w_bytes + q_bytes, k, "table of %zu zeros", c);
    if (k->ttable_octet > BC_TABLE_OCTET || k->qtable_octet > BC_TABLE_OCTET) {
        printf("%s: tables are larger than BC_TABLE_OCTET\n", k->name);
        failures++;
    }
    release_all();
}

static void product(const bc_kernels *k, bool floats, shape s, const float *x, float by,
                    size_t rows, const uint64_t *order, const uint8_t *w, void *acc, size_t ld) {
    const size_t octets = floats ? (s.c + 7) / 8 : (s.c + 15) / 16 * 2,
                 row = octets * (floats ? k->ttable_octet : k->qtable_octet);
    uint8_t *tables = guarded(rows * row, 64);
    const void **a = guarded(s.m * s.taps * sizeof *a, sizeof *a);
    for (size_t i = 0; i < s.m * s.taps; i++)
        a[i] = tables + order[i] * row;
    if (floats) {
        k->ttable(rows, s.c, x, tables);
        k->tgemm(s.m, s.panels, s.taps, octets, a, w, acc, ld);
    } else {
        k->qtable(rows, s.c, x, by, tables);
        k->qgemm(s.m, s.panels, s.taps, octets, a, w, acc, ld);
    }
}

static void check(shape s, fill f, bool floats) {
    const size_t rows = s.m + s.taps, n = s.panels * 16, ld = n + 5,
                 octets = floats ? (s.c + 7) / 8 : (s.c + 15) / 16 * 2,
                 bytes = ((s.m - 1) * ld + n) * 4, w_bytes = n * s.taps * octets;
    float *x = guarded(rows * s.c * 4, 4);
    uint64_t *order = guarded(s.m * s.taps * 8, 8);
    uint8_t *w = guarded(w_bytes, 64);
    fill_f32(x, rows * s.c, f);
    fill_bytes(w, w_bytes, weight_fill(f));
    for (size_t i = 0; i < s.m * s.taps; i++)
        order[i] = i + 1 == s.m * s.taps ? rows - 1 : random64() % rows;
    const float largest = bc_kernels_scalar.abs_max(rows * s.c, x);
    /* some saturate; halves are frequent where fills are integers */
    const float by = f == FILL_RANDOM ? 300.0f / largest : f == FILL_ONE ? 1000.0f : 31.75f;
    void *want = guarded(bytes, 4);
    product(&bc_kernels_scalar, floats, s, x, by, rows, order, w, want, ld);
    for (size_t t = 0; t < tables_count; t++) {
        void *got = guarded(bytes, 4);
        product(tables[t], floats, s, x, by, rows, order, w, got, ld);
        failures += floats ? differs(want, got, bytes, tables[t], WHAT("tgemm"), SHAPE(s, f))
                           : differs(want, got, bytes, tables[t], WHAT("qgemm"), SHAPE(s, f));
        const float most = tables[t]->abs_max(rows * s.c, x);
        if (memcmp(&largest, &most, sizeof most) != 0) {
            printf("%s: " WHAT("abs_max") ": %a, not %a\n", tables[t]->name, SHAPE(s, f), most,
                   largest);
            failures++;
        }
    }
    release_all();
    cases++;
}

/* Infinities and NaN have defined results too: nothing here may depend on the instruction set. */
static void check_special(void) {
    enum { C = 21, M = 3 };
    const float special[] = {INFINITY, -INFINITY, NAN,  3.4e38f, -3.4e38f,
                             1e-45f,   -0.0f,     0.5f, 1.5f};
    float *x = guarded((M + 1) * C * 4, 4);
    for (size_t i = 0; i < (M + 1) * C; i++)
        x[i] = special[i % 9];
    uint8_t *w = guarded(2 * 16 * 4, 64);
    fill_bytes(w, 2 * 16 * 4, FILL_RANDOM);
    const uint64_t order[M] = {0, 3, 1};
    const shape s = {M, 2, 1, C};
    int32_t *want = guarded(M * 32 * 4, 4);
    product(&bc_kernels_scalar, false, s, x, 1.0f, M + 1, order, w, want, 32);
    const float largest = bc_kernels_scalar.abs_max((M + 1) * C, x);
    for (size_t t = 0; t < tables_count; t++) {
        int32_t *got = guarded(M * 32 * 4, 4);
        product(tables[t], false, s, x, 1.0f, M + 1, order, w, got, 32);
        failures += differs(want, got, M * 32 * 4, tables[t], "qgemm of infinities and NaN");
        if (tables[t]->abs_max((M + 1) * C, x) != largest || tables[t]->abs_max(0, x) != 0) {
            printf("%s: abs_max of infinities and NaN, or of nothing\n", tables[t]->name);
            failures++;
        }
    }
    release_all();
}

#define COUNT(list) (sizeof(list) / sizeof *(list))

int check_weights(void) {
    static const size_t m[] = {1, 2, 3, 4, 5, 6, 7, 11, 13, 17, 48, 61},
                        panels[] = {1, 2, 3, 4, 5, 8}, taps[] = {1, 2, 9, 25},
                        c[] = {1, 3, 4, 8, 16, 21, 31, 64};
    failures = cases = 0;
    for (size_t t = 0; t < tables_count; t++)
        for (size_t i = 0; i < COUNT(c); i++)
            check_zeros(tables[t], c[i]);
    for (size_t i = 0; i < COUNT(m); i++)
        for (size_t j = 0; j < COUNT(panels); j++)
            for (size_t t = 0; t < COUNT(taps); t++)
                for (size_t n = 0; n < COUNT(c); n++)
                    for (fill f = 0; f < FILLS; f++) {
                        if (m[i] > 6 && (i + j + t + n) % 4 != 0)
                            continue;
                        const shape s = {m[i], panels[j], taps[t], c[n]};
                        check(s, f, true);
                        check(s, f, false);
                    }
    for (fill f = 0; f < FILLS; f++)
        for (int floats = 0; floats < 2; floats++) {
            check((shape){1, 4, 1, 4097}, f, floats); /* several blocks of K */
            check((shape){7, 3, 1, 1300}, f, floats);
            check((shape){5, 2, 9, 600}, f, floats);
        }
    check_special();
    printf("weights: %d cases, %d failures\n", cases, failures);
    return failures;
}
