/* check_images.c: binary products of images, where pixels below each other see the same words: what
 * kernels that know it again make of them, also where single pointers or limits differ. */
#include "check.h"

#include <stdio.h>

typedef struct image {
    size_t h, w, taps, words, panels; /* `taps` rows of a window of `words` per pixel .. */
    bool narrow;                      /* .. that is one pixel wide, not `taps` */
} image;

enum { LIMIT_ROWS = 12 };

static int failures;

/* `broken`: one pointer in so many is to another place; 0: none. */
static void check(image s, unsigned broken) {
    const size_t m = s.h * s.w, cw = (s.narrow ? 1 : s.taps) * s.words,
                 line = (s.w + s.taps - 1) * s.words, all = (s.h + s.taps - 1) * line,
                 n = s.panels * 8, stride = s.panels + 1;
    uint64_t *x = guarded(all * 8, 8), *w = guarded(n * s.taps * cw * 8, 64);
    fill_words(x, all, FILL_RANDOM);
    fill_words(w, n * s.taps * cw, FILL_RANDOM);
    const uint64_t **a = guarded(m * s.taps * sizeof *a, sizeof *a);
    int32_t *limits = guarded(LIMIT_ROWS * n * 4, 4);
    fill_i32(limits, LIMIT_ROWS * n, FILL_RANDOM, 20);
    for (size_t i = 0; i < LIMIT_ROWS * n; i++)
        limits[i] += (int32_t)(s.taps * cw * 32);
    const int32_t **limit = guarded(m * sizeof *limit, sizeof *limit);
    for (size_t p = 0; p < m; p++) {
        const size_t column = p % s.w, row = column == 0 ? 0 : column + 1 == s.w ? 1 : 2;
        for (size_t t = 0; t < s.taps; t++)
            a[p * s.taps + t] =
                x + (broken && random64() % broken == 0 ? random64() % (all - cw + 1)
                                                        : (p / s.w + t) * line + column * s.words);
        limit[p] =
            limits + (broken && random64() % broken == 0 ? random64() % LIMIT_ROWS : row) * n;
    }
    const size_t sum_bytes = m * n * 4, bit_bytes = (m - 1) * stride + s.panels;
    int32_t *want = guarded(sum_bytes, 4);
    uint8_t *want_bits = guarded(bit_bytes, 1);
    bc_kernels_scalar.bgemm(m, s.panels, s.taps, cw, a, 0, w, want, n);
    bc_kernels_scalar.bgemm_tau(m, s.panels, s.taps, cw, a, 0, w, limit, want_bits, stride);
#define WHAT "%zux%zu taps=%zu words=%zu panels=%zu narrow=%d broken=%u"
#define SHAPE s.h, s.w, s.taps, s.words, s.panels, s.narrow, broken
    for (size_t t = 0; t < tables_count; t++) {
        const bc_kernels *k = tables[t];
        int32_t *got = guarded(sum_bytes, 4);
        uint8_t *bits = guarded(bit_bytes, 1);
        k->bgemm(m, s.panels, s.taps, cw, a, 0, w, got, n);
        k->bgemm_tau(m, s.panels, s.taps, cw, a, 0, w, limit, bits, stride);
        failures += differs(want, got, sum_bytes, k, "bgemm " WHAT, SHAPE);
        failures += differs(want_bits, bits, bit_bytes, k, "bgemm_tau " WHAT, SHAPE);
    }
    release_all();
}

int check_images(void) {
    int cases = 0;
    failures = 0;
    for (size_t taps = 2; taps <= 5; taps++)
        for (size_t words = 1; words <= 3; words++)
            for (size_t width = 1; width <= 10; width++)
                for (unsigned broken = 0; broken <= 40; broken += 20, cases++)
                    check((image){40 / width + 2, width, taps, words, 1 + random64() % 9,
                                  random64() % 2},
                          broken);
    static const image many[] = {
        {56, 56, 3, 1, 8, false},  {12, 112, 3, 1, 3, false}, {28, 28, 3, 2, 16, false},
        {14, 14, 3, 4, 20, false}, {7, 7, 3, 8, 4, false},    {6, 200, 3, 1, 2, false},
        {3, 600, 3, 1, 1, false},  {9, 64, 6, 1, 2, false},   {6, 30, 5, 3, 5, false},
        {32, 32, 3, 1, 2, true},   {16, 16, 3, 2, 4, true},   {6, 200, 3, 2, 4, true},
        {3, 600, 3, 1, 2, true},   {9, 64, 9, 1, 4, true},    {40, 40, 9, 2, 9, true},
        {3, 4, 300, 1, 2, true},   {3, 4, 301, 1, 2, true},   {3, 4, 511, 1, 1, true},
    };
    for (size_t i = 0; i < sizeof many / sizeof *many; i++)
        for (unsigned broken = 0; broken <= 200; broken += 100, cases++)
            check(many[i], broken);
    printf("images: %d cases, %d failures\n", cases, failures);
    return failures;
}
