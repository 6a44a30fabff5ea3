/* float_weight_gradient.c: dw[o][tap][c] = sum over pixels p of dy[p][o] * x[p + tap][c] of floats,
 * a product whose "pixels" are the pairs (tap, c).
 *
 * What it sums over are the pixels: so x is transposed, its channels become planes with a margin of
 * zeros, and what a pair sees of a row of dy are consecutive numbers of a plane; with a stride, of
 * the columns that lie as many apart. Its "weights" are rows of dy. */
#include "backward.h"

#include <string.h>

enum { MOST_PAIRS = 192 /* per product */ };

typedef float four __attribute__((vector_size(16)));

/* The four elements of a and, from 4 on, of b that the numbers name. */
#if defined(__clang__)
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else /* GCC has that one since 12 */
typedef int four_places __attribute__((vector_size(16)));
#define PICK(a, b, ...) __builtin_shuffle(a, b, (four_places){__VA_ARGS__})
#endif

typedef struct parts {
    float *planes; /* [image][c_in][padded_h][residues][columns] */
    float *dy;     /* [c_out / 16][pixels][16] */
    float *acc;    /* [pairs][c_out] */
    const float **rows;
} parts;

/* Of columns by the stride: those that taps see. */
static size_t residues_of(const train_conv *c) {
    return bc_min(c->sw, c->kw);
}

/* Columns of one residue in a row of a plane, a multiple of four. */
static size_t columns_of(const train_conv *c) {
    return bc_round_up((c->padded_w + c->sw - 1) / c->sw, 4);
}

static size_t plane_floats(const train_conv *c) {
    return c->padded_h * residues_of(c) * columns_of(c);
}

/* Whole rows of dy that are summed together. */
static size_t block_rows(const bc_backward *b) {
    return bc_max(1, b->block / b->c->ow);
}

static size_t most_pairs(const train_conv *c) {
    return bc_min(c->taps, bc_max(1, MOST_PAIRS / c->c_in)) * c->c_in;
}

static size_t cut(const bc_backward *b, char *from, parts *m) {
    const train_conv *c = b->c;
    const size_t bytes[] = {b->together * c->c_in * plane_floats(c) * sizeof *m->planes,
                            block_rows(b) * c->ow * c->c_out * sizeof *m->dy,
                            most_pairs(c) * c->c_out * sizeof *m->acc,
                            most_pairs(c) * block_rows(b) * sizeof *m->rows};
    size_t at[sizeof bytes / sizeof *bytes];
    const size_t total = bc_lay_out(bytes, sizeof bytes / sizeof *bytes, at);
    if (from)
        *m = (parts){.planes = (float *)(void *)(from + at[0]),
                     .dy = (float *)(void *)(from + at[1]),
                     .acc = (float *)(void *)(from + at[2]),
                     .rows = (const float **)(void *)(from + at[3])};
    return total;
}

size_t bc_float_weight_gradient_bytes(const bc_backward *b) {
    parts none;
    return cut(b, NULL, &none);
}

/* Four channels of four pixels, `step` floats apart, to four planes. */
static void turn(const float *from, size_t step, float *to, size_t plane) {
    four r[4], lo0, lo1, hi0, hi1;
    for (size_t n = 0; n < 4; n++)
        memcpy(&r[n], from + n * step, sizeof r[n]);
    lo0 = PICK(r[0], r[1], 0, 4, 1, 5);
    lo1 = PICK(r[2], r[3], 0, 4, 1, 5);
    hi0 = PICK(r[0], r[1], 2, 6, 3, 7);
    hi1 = PICK(r[2], r[3], 2, 6, 3, 7);
    r[0] = PICK(lo0, lo1, 0, 1, 4, 5);
    r[1] = PICK(lo0, lo1, 2, 3, 6, 7);
    r[2] = PICK(hi0, hi1, 0, 1, 4, 5);
    r[3] = PICK(hi0, hi1, 2, 3, 6, 7);
    for (size_t n = 0; n < 4; n++)
        memcpy(to + n * plane, &r[n], sizeof r[n]);
}

/* A row of an image, its channels to planes: pixels rest, rest + sw, ... of the padded row. */
static void split_row(const train_conv *c, const float *x, size_t rest, float *to) {
    const size_t first = (rest + c->sw - c->pw % c->sw) % c->sw, /* pixel of the row */
        at = (first + c->pw) / c->sw, count = first < c->w ? (c->w - first + c->sw - 1) / c->sw : 0,
                 step = c->sw * c->c_in, plane = plane_floats(c);
    for (size_t i = 0; i < c->c_in; i += 4) {
        const float *from = x + first * c->c_in + i;
        float *column = to + i * plane + at;
        size_t p = 0;
        for (; p + 4 <= count; p += 4)
            turn(from + p * step, step, column + p, plane);
        for (; p < count; p++)
            for (size_t n = 0; n < 4; n++)
                column[n * plane + p] = from[p * step + n];
    }
}

static void split_image(const train_conv *c, const float *x, float *planes) {
    for (size_t y = 0; y < c->h; y++)
        for (size_t rest = 0; rest < residues_of(c); rest++)
            split_row(c, x + y * c->w * c->c_in, rest,
                      planes + ((y + c->ph) * residues_of(c) + rest) * columns_of(c));
}

static void pack_dy(size_t pixels, size_t c, const float *dy, float *to) {
    for (size_t o = 0; o < c; o += BC_PANEL_FLOAT)
        for (size_t p = 0; p < pixels; p++, to += BC_PANEL_FLOAT)
            memcpy(to, dy + p * c + o, BC_PANEL_FLOAT * sizeof *to);
}

/* What the channels under a tap see of `count` rows of dy: a pointer each, channel after channel.
 */
static void find_rows(const bc_backward *b, size_t row, size_t count, size_t tap, const parts *m,
                      const float **to) {
    const train_conv *c = b->c;
    const size_t plane = plane_floats(c), line = residues_of(c) * columns_of(c),
                 at = tap % c->kw % c->sw * columns_of(c) + tap % c->kw / c->sw;
    for (size_t r = 0; r < count; r++) {
        const size_t image = (row + r) / c->oh, y = (row + r) % c->oh * c->sh + tap / c->kw;
        to[r] = m->planes + image * c->c_in * plane + y * line + at;
    }
    for (size_t i = count; i < c->c_in * count; i++)
        to[i] = to[i - count] + plane;
}

/* Adds what `count` rows of dy bring, the first of them `row` of all images' rows. */
static void add_rows(const bc_backward *b, size_t row, size_t count, const parts *m, float *sum) {
    const train_conv *c = b->c;
    const size_t taps = most_pairs(c) / c->c_in;
    for (size_t t = 0, next; t < c->taps; t = next) {
        next = bc_min(t + taps, c->taps);
        for (size_t tap = t; tap < next; tap++)
            find_rows(b, row, count, tap, m, m->rows + (tap - t) * c->c_in * count);
        const size_t pairs = (next - t) * c->c_in;
        b->kernels->fgemm(pairs, c->c_out, count, c->ow, m->rows, m->dy, m->acc, c->c_out, NULL);
        for (size_t o = 0; o < c->c_out; o += 16)
            for (size_t pair = 0; pair < pairs; pair++)
                for (size_t i = 0; i < 16; i++)
                    sum[(o / 16 * c->k + t * c->c_in + pair) * 16 + i] +=
                        m->acc[pair * c->c_out + o + i];
    }
}

void bc_float_weight_gradient(const bc_backward *b, size_t image, size_t images, char *memory,
                              float *sum) {
    const train_conv *c = b->c;
    parts m = {0};
    cut(b, memory, &m);
    for (size_t i = 0; i < images; i++)
        split_image(c, b->x + (image + i) * c->h * c->w * c->c_in,
                    m.planes + i * c->c_in * plane_floats(c));
    for (size_t row = 0, count; row < images * c->oh; row += count) {
        count = bc_min(block_rows(b), images * c->oh - row);
        pack_dy(count * c->ow, c->c_out, b->dy + (image * c->oh + row) * c->ow * c->c_out, m.dy);
        add_rows(b, row, count, &m, sum);
    }
}
