/* weight_gradient.c: dw[o][tap][c] = sum over pixels p of dy[p][o] * x[p + tap][c], of x of +-1.
 *
 * Sixteen outputs o are one vector. What is summed over are the pixels: tables hold the signed sums
 * of four pixels of dy. The pairs (tap, c) look up in them; their bits are those of x, moved by the
 * tap and transposed to a byte for eight pixels. */
#include "backward.h"

#include <string.h>

typedef struct parts {
    float *table;         /* [groups][16][16] */
    float *rest;          /* [8][16] */
    uint8_t *bits;        /* [tap][c_in / 16][octets][16] */
    uint8_t *planes;      /* [image][c_in / 8][padded pixels]: a byte of eight channels */
    uint8_t *bytes;       /* [2][octets 8]: of two planes, the pixels under a tap */
    const uint8_t **rows; /* of `bits`, to each pair's first byte */
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
    const size_t bytes[] = {octets * 2 * 16 * 16 * sizeof *m->table,
                            8 * 16 * sizeof *m->rest,
                            octets * c->k,
                            octets * 16,
                            b->together * plane_bytes(c) * c->c_in / 8,
                            c->k * sizeof *m->rows};
    size_t at[sizeof bytes / sizeof *bytes];
    const size_t total = bc_lay_out(bytes, sizeof bytes / sizeof *bytes, at);
    if (from)
        *m = (parts){.table = (float *)(void *)(from + at[0]),
                     .rest = (float *)(void *)(from + at[1]),
                     .bits = (uint8_t *)from + at[2],
                     .bytes = (uint8_t *)from + at[3],
                     .planes = (uint8_t *)from + at[4],
                     .rows = (const uint8_t **)(void *)(from + at[5])};
    return total;
}

size_t bc_weight_gradient_bytes(const bc_backward *b) {
    parts none;
    return cut(b, NULL, &none);
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
    const size_t line = c->sh * c->padded_w, image = plane_bytes(c) * c->c_in / 8;
    size_t x = first % c->ow, y = first / c->ow % c->oh;
    const uint8_t *top = planes + first / c->ow / c->oh * image + g * plane_bytes(c) +
                         tap / c->kw * c->padded_w + tap % c->kw;
    for (size_t done = 0, run; done < count; done += run) {
        const uint8_t *from = top + y * line + x * c->sw;
        run = bc_min(c->ow - x, count - done);
        if (c->sw == 1 && run % 8 == 0)
            for (size_t i = 0; i < run; i += 8) /* a call for every row would take longer */
                memcpy(to + done + i, from + i, 8);
        else if (c->sw == 1)
            memcpy(to + done, from, run);
        else
            for (size_t i = 0; i < run; i++)
                to[done + i] = from[i * c->sw];
        x = 0;
        if (++y == c->oh) {
            y = 0;
            top += image;
        }
    }
}

/* The bits of all pairs; pixels after the last have bits of 0, and a dy of 0. */
static void pack(const bc_backward *b, size_t first, size_t count, const parts *m) {
    const train_conv *c = b->c;
    const size_t octets = octets_of(count);
    uint8_t *to = m->bits, *high = m->bytes + octets * 8;
    const uint8_t **rows = m->rows;
    memset(m->bytes + (octets - 1) * 8, 0, 8);
    memset(high + (octets - 1) * 8, 0, 8);
    for (size_t tap = 0; tap < c->taps; tap++)
        for (size_t g = 0; g < c->c_in / 8; g += 2, to += octets * 16) {
            gather(c, m->planes, g, tap, first, count, m->bytes);
            gather(c, m->planes, g + 1, tap, first, count, high);
            b->kernels->turn_bits(octets, m->bytes, high, to);
            for (size_t i = 0; i < 16; i++)
                *rows++ = to + i;
        }
}

/* The table of 16 outputs, of `count` pixels whose first is dy's. */
static void make_table(const bc_backward *b, const float *dy, size_t count, const parts *m) {
    const size_t c = b->c->c_out, whole = count / 8;
    b->kernels->ltable(2 * whole, dy, c, m->table);
    if (count % 8 == 0)
        return;
    memset(m->rest, 0, 8 * 16 * sizeof *m->rest);
    for (size_t p = 0; p < count % 8; p++)
        memcpy(m->rest + p * 16, dy + (8 * whole + p) * c, 16 * sizeof *dy);
    b->kernels->ltable(2, m->rest, 16, m->table + 2 * whole * 16 * 16);
}

/* Adds what `count` pixels bring, the first of them dy's. */
static void add_block(const bc_backward *b, const float *dy, size_t count, const parts *m,
                      float *sum) {
    const train_conv *c = b->c;
    for (size_t o = 0; o < c->c_out; o += 16) {
        make_table(b, dy + o, count, m);
        b->kernels->lgemm(c->k, 1, octets_of(count), m->rows, 1, 0, 16, m->table, sum + o * c->k,
                          16);
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
