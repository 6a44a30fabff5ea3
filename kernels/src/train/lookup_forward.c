/* lookup_forward.c: y = x conv w of x of +-1, w of floats.
 *
 * Sixteen filters are one vector. Tables hold the signed sums of four channels of their weights
 * under a tap; a pixel adds what its bits choose. Some images at a time pass by one table after the
 * other, each small enough for the first cache. An outside tap has bits of 0, +1; what its weights
 * add is taken off in the end. */
#include "forward.h"

#include <string.h>

enum {
    TOGETHER = 1024, /* pixels that pass by a table, at least */
    OCTETS = 12,     /* of a table, at most: 24 KiB */
    NR = BC_PANEL_FLOAT
};

typedef struct lookup {
    const bc_trainer *trainer;
    const train_conv *c;
    const float *x, *input;
    float *y;
    char *bits;
    const float *weights; /* [c_out / 16][taps c_in][16] */
    const float *outside; /* [taps][c_out]: sums of w over the channels of a tap */
    size_t together;      /* images of a task */
    char *thread_memory;
    size_t thread_bytes;
} lookup;

/* A part of the window: `taps` rows of the kernel from `row` on, `octets` of each from `first` on.
 */
typedef struct part {
    size_t row, taps, first, octets;
} part;

/* The part behind another; false, if that was the last. Whole rows, where one fits a table. */
static bool next_part(const train_conv *c, part *p) {
    const size_t octets = c->kw * c->c_in / 8;
    p->first += p->octets;
    if (p->first >= octets) {
        p->row += p->taps;
        p->first = 0;
    }
    p->octets = bc_min(OCTETS, octets - p->first);
    p->taps = p->octets < octets ? 1 : bc_min(bc_max(1, OCTETS / octets), c->kh - p->row);
    return p->row < c->kh;
}

static void pack_weights(const train_conv *c, const float *w, float *to, float *outside) {
    for (size_t o = 0; o < c->c_out; o++)
        for (size_t t = 0; t < c->taps; t++) {
            float sum = 0;
            for (size_t i = 0; i < c->c_in; i++) {
                const float v = w[o * c->k + t * c->c_in + i];
                to[(o / NR * c->k + t * c->c_in + i) * NR + o % NR] = v;
                sum += v;
            }
            outside[t * c->c_out + o] = sum;
        }
}

static void take_off(const lookup *f, size_t oy, size_t ox, float *y) {
    const train_conv *c = f->c;
    for (size_t t = 0; t < c->taps; t++)
        if (!bc_train_inside(oy, c->sh, t / c->kw, c->ph, c->h) ||
            !bc_train_inside(ox, c->sw, t % c->kw, c->pw, c->w))
            for (size_t o = 0; o < c->c_out; o++)
                y[o] -= f->outside[t * c->c_out + o];
}

/* Whether all taps of an axis lie inside. */
static bool whole(size_t o, size_t s, size_t k, size_t pad, size_t size) {
    return bc_train_inside(o, s, 0, pad, size) && bc_train_inside(o, s, k - 1, pad, size);
}

static void take_off_borders(const lookup *f, float *y) {
    const train_conv *c = f->c;
    for (size_t oy = 0; oy < c->oh; oy++)
        for (size_t ox = 0; ox < c->ow; ox++, y += c->c_out)
            if (!whole(oy, c->sh, c->kh, c->ph, c->h) || !whole(ox, c->sw, c->kw, c->pw, c->w))
                take_off(f, oy, ox, y);
}

/* What the windows of an image see: kh rows of bits for each pixel. */
static void find_rows(const train_conv *c, const char *bits, const uint8_t **rows) {
    for (size_t oy = 0; oy < c->oh; oy++)
        for (size_t ox = 0; ox < c->ow; ox++)
            for (size_t ky = 0; ky < c->kh; ky++)
                *rows++ = (const uint8_t *)bits +
                          ((oy * c->sh + ky) * c->padded_w + ox * c->sw) * c->pixel_bytes;
}

static void forward_images(const void *context, size_t index, size_t thread) {
    const lookup *f = context;
    const train_conv *c = f->c;
    const bc_kernels *k = f->trainer->kernels;
    float *table = (float *)(void *)(f->thread_memory + thread * f->thread_bytes);
    const uint8_t **rows = (const uint8_t **)(void *)(table + OCTETS * 2 * 16 * NR);
    const size_t pixels = c->oh * c->ow, first = index * f->together,
                 images = bc_min(f->together, c->n - first);
    float *y = f->y + first * pixels * c->c_out;
    for (size_t i = 0; i < images; i++) {
        bc_pack_image(f->trainer, c, f->x, f->input, first + i, f->bits);
        find_rows(c, f->bits + (first + i) * c->image_bytes, rows + i * pixels * c->kh);
    }
    memset(y, 0, images * pixels * c->c_out * sizeof *y);
    for (size_t o = 0; o < c->c_out; o += NR) {
        const float *w = f->weights + o * c->k;
        for (part p = {0}; next_part(c, &p);) {
            k->ltable(p.taps * p.octets * 2, w, NR, table);
            w += p.taps * p.octets * 8 * NR;
            k->lgemm(images * pixels, p.taps, p.octets, rows + p.row, c->kh, p.first, 1, table,
                     y + o, c->c_out);
        }
    }
    for (size_t i = 0; i < images; i++)
        take_off_borders(f, y + i * pixels * c->c_out);
}

bc_status bc_lookup_forward(bc_trainer *trainer, const train_conv *c, const float *x,
                            const float *input, const float *w, float *y, char *bits,
                            bc_error *error) {
    lookup f = {.trainer = trainer, .c = c, .x = x, .input = input, .y = y, .bits = bits};
    f.together = bc_min(c->n, bc_max(1, TOGETHER / (c->oh * c->ow)));
    const size_t weight_bytes = c->c_out * c->k * sizeof *w,
                 outside_bytes = bc_round_up(c->taps * c->c_out * sizeof *w, 64);
    f.thread_bytes = bc_round_up(
        OCTETS * 2 * 16 * NR * sizeof *w + f.together * c->oh * c->ow * c->kh * sizeof(void *), 64);
    char *memory = bc_train_scratch(trainer, weight_bytes + outside_bytes +
                                                 trainer->thread_count * f.thread_bytes);
    if (!memory)
        return bc_fail(error, BC_ERR_MEMORY, -1, "no memory for a training step's scratch");
    float *weights = (float *)(void *)memory, *outside = (float *)(void *)(memory + weight_bytes);
    f.thread_memory = memory + weight_bytes + outside_bytes;
    f.weights = weights;
    f.outside = outside;
    pack_weights(c, w, weights, outside);
    bc_parallel(trainer->threads, (c->n + f.together - 1) / f.together, forward_images, &f);
    return BC_OK;
}
