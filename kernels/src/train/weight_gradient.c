/* weight_gradient.c: dw[o][tap][c] = sum over pixels p of dy[p][o] * x[p + tap][c], a product of
 * floats with 1-bit weights turned round.
 *
 * Its "pixels" are the outputs o, and what is summed over are the pixels: so dy is transposed, its
 * tables hold the sums of four pixels. Its "filters" are the pairs (tap, c); their weights are the
 * bits of x, moved by the tap and transposed to a byte for eight pixels. */
#include "backward.h"

#include <string.h>

typedef float four __attribute__((vector_size(16)));

typedef struct parts {
    float *dy, *acc; /* [c_out][pixels], [mr_table][k] */
    char *tables;    /* [mr_table][octets] */
    uint8_t *bits;   /* [tap][c_in / 16][octets][16] */
    uint8_t *planes; /* [image][c_in / 8][padded pixels]: a byte of eight channels */
    uint8_t *bytes;  /* [2][octets 8]: of two planes, the pixels under a tap */
    const void **rows;
} parts;

static size_t octets_of(size_t pixels) {
    return (pixels + 7) / 8;
}

/* Padded pixels of an image. */
static size_t plane_bytes(const train_conv *c) {
    return c->padded_h * c->padded_w;
}

/* Cuts one thread's memory into parts, if there is any; returns what they take. */
static size_t cut(const bc_backward *b, char *from, parts *m) {
    const train_conv *c = b->c;
    const size_t octets = octets_of(b->block);
    const size_t bytes[] = {octets * b->kernels->ttable_octet * b->kernels->mr_table,
                            octets * c->k,
                            octets * 8 * c->c_out * sizeof *m->dy,
                            b->kernels->mr_table * c->k * sizeof *m->acc,
                            octets * 16,
                            b->together * plane_bytes(c) * c->c_in / 8,
                            b->kernels->mr_table * sizeof *m->rows};
    size_t at[sizeof bytes / sizeof *bytes], total = 0;
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        at[i] = total;
        total += bc_round_up(bytes[i], 64);
    }
    if (from)
        *m = (parts){.tables = from + at[0],
                     .bits = (uint8_t *)from + at[1],
                     .dy = (float *)(void *)(from + at[2]),
                     .acc = (float *)(void *)(from + at[3]),
                     .bytes = (uint8_t *)from + at[4],
                     .planes = (uint8_t *)from + at[5],
                     .rows = (const void **)(void *)(from + at[6])};
    return total;
}

size_t bc_weight_gradient_bytes(const bc_backward *b) {
    parts none;
    return cut(b, NULL, &none);
}

/* [k][c] -> [c][k], c a multiple of 16, k of any size */
static void transpose(const float *from, size_t k, size_t c, float *to) {
    size_t whole = k / 4 * 4;
    for (size_t j = 0; j < c; j += 4)
        for (size_t i = 0; i < whole; i += 4) {
            four r[4], lo0, lo1, hi0, hi1;
            for (size_t n = 0; n < 4; n++)
                memcpy(&r[n], from + (i + n) * c + j, sizeof r[n]);
            lo0 = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
            lo1 = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
            hi0 = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
            hi1 = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
            r[0] = __builtin_shufflevector(lo0, lo1, 0, 1, 4, 5);
            r[1] = __builtin_shufflevector(lo0, lo1, 2, 3, 6, 7);
            r[2] = __builtin_shufflevector(hi0, hi1, 0, 1, 4, 5);
            r[3] = __builtin_shufflevector(hi0, hi1, 2, 3, 6, 7);
            for (size_t n = 0; n < 4; n++)
                memcpy(to + (j + n) * k + i, &r[n], sizeof r[n]);
        }
    for (size_t i = whole; i < k; i++)
        for (size_t j = 0; j < c; j++)
            to[j * k + i] = from[i * c + j];
}

/* The bits of an image, a plane for each eight channels. */
static void split_planes(const train_conv *c, const char *bits, uint8_t *planes) {
    const size_t count = plane_bytes(c);
    for (size_t g = 0; g < c->c_in / 8; g++)
        for (size_t p = 0; p < count; p++)
            planes[g * count + p] = (uint8_t)bits[p * c->pixel_bytes + g];
}

/* A plane's bytes under a tap, `count` pixels from `first` on. */
static void gather(const train_conv *c, const uint8_t *planes, size_t g, size_t tap, size_t first,
                   size_t count, uint8_t *to) {
    for (size_t done = 0, run; done < count; done += run) {
        const size_t row = (first + done) / c->ow, x = (first + done) % c->ow;
        const uint8_t *from = planes + (row / c->oh * c->c_in / 8 + g) * plane_bytes(c) +
                              (row % c->oh * c->sh + tap / c->kw) * c->padded_w + x * c->sw +
                              tap % c->kw;
        run = bc_min(c->ow - x, count - done);
        if (c->sw == 1)
            memcpy(to + done, from, run);
        else
            for (size_t i = 0; i < run; i++)
                to[done + i] = from[i * c->sw];
    }
}

/* The weights of all panels; pixels after the last have bits of 0, and a dy of 0. */
static void pack(const bc_backward *b, size_t first, size_t count, const parts *m) {
    const train_conv *c = b->c;
    const size_t octets = octets_of(count);
    uint8_t *to = m->bits, *high = m->bytes + octets * 8;
    memset(m->bytes + (octets - 1) * 8, 0, 8);
    memset(high + (octets - 1) * 8, 0, 8);
    for (size_t tap = 0; tap < c->taps; tap++)
        for (size_t g = 0; g < c->c_in / 8; g += 2, to += octets * 16) {
            gather(c, m->planes, g, tap, first, count, m->bytes);
            gather(c, m->planes, g + 1, tap, first, count, high);
            b->kernels->turn_bits(octets, m->bytes, high, to);
        }
}

/* Adds what `count` pixels bring, the first of them dy's. */
static void add_block(const bc_backward *b, const float *dy, size_t count, const parts *m,
                      float *sum) {
    const train_conv *c = b->c;
    const bc_kernels *k = b->kernels;
    const size_t row = octets_of(count) * k->ttable_octet,
                 cuts = (c->c_out + k->mr_table - 1) / k->mr_table;
    transpose(dy, count, c->c_out, m->dy);
    for (size_t i = 0; i < cuts; i++) { /* outputs whose tables stay in the first cache */
        const size_t o = c->c_out * i / cuts, height = c->c_out * (i + 1) / cuts - o;
        k->ttable(height, count, m->dy + o * count, m->tables);
        for (size_t r = 0; r < height; r++)
            m->rows[r] = m->tables + r * row;
        k->tgemm(height, c->k / 16, 1, octets_of(count), m->rows, m->bits, m->acc, c->k);
        for (size_t j = 0; j < height * c->k; j++)
            sum[o * c->k + j] += m->acc[j];
    }
}

void bc_weight_gradient(const bc_backward *b, size_t image, size_t images, char *memory,
                        float *sum) {
    const train_conv *c = b->c;
    const size_t pixels = c->oh * c->ow;
    parts m = {0};
    cut(b, memory, &m);
    for (size_t i = 0; i < images; i++)
        split_planes(c, b->bits + (image + i) * c->image_bytes,
                     m.planes + i * plane_bytes(c) * c->c_in / 8);
    for (size_t first = 0, count; first < images * pixels; first += count) {
        count = bc_min(b->block, images * pixels - first);
        pack(b, first, count, &m);
        add_block(b, b->dy + (image * pixels + first) * c->c_out, count, &m, sum);
    }
}
