/* float_forward.c: y = alpha * (x conv w) of floats x, w of +-1 or of floats.
 *
 * One task an image. Rows of x, with a margin of zeros left and right, are kept of no more rows
 * than a window sees, so that tables stay in the first cache; one row of zeros stands for all that
 * lie above and below. */
#include "float_rows.h"
#include "forward.h"

#include <string.h>

enum { CHUNK = 96 /* pixels per product */ };

typedef struct float_forward {
    const train_conv *c;
    bc_float_rows in;
    const float *x, *alpha;
    float *y;
    char *weights, *thread_memory;
    size_t row_bytes, thread_bytes;
} float_forward;

static void pack_weights(const float_forward *f, const float *w) {
    const train_conv *c = f->c;
    char *to = f->weights;
    for (size_t o = 0; o < c->c_out; o += BC_PANEL_FLOAT)
        for (size_t t = 0; t < c->taps; t++)
            to = bc_float_weights(&f->in, w + o * c->k + t * c->c_in, c->k, 1, to);
}

static void scale(size_t pixels, size_t c, const float *restrict alpha, float *restrict y) {
    for (size_t p = 0; p < pixels; p++, y += c)
        for (size_t o = 0; o < c; o++)
            y[o] *= alpha[o];
}

/* Output pixels of a row, from x on. `tables`: what the window sees, row after row. */
static void row_part(const float_forward *f, const char *const *tables, size_t x, size_t m,
                     float *y) {
    const train_conv *c = f->c;
    const void *pointers[CHUNK * BC_TRAIN_MAX_KERNEL];
    const size_t step = c->sw * bc_float_pixel_bytes(&f->in);
    for (size_t p = 0; p < m; p++)
        for (size_t ky = 0; ky < c->kh; ky++)
            pointers[p * c->kh + ky] = tables[ky] + (x + p) * step;
    bc_float_product(&f->in, m, c->c_out, c->kh, c->kw, pointers, f->weights, y, c->c_out);
    if (f->alpha)
        scale(m, c->c_out, f->alpha, y);
}

static void forward_image(const void *context, size_t image, size_t thread) {
    const float_forward *f = context;
    const train_conv *c = f->c;
    char *rows = f->thread_memory + thread * f->thread_bytes;
    const size_t left = c->pw * bc_float_pixel_bytes(&f->in);
    const char *tables[BC_TRAIN_MAX_KERNEL];
    size_t made = 0;
    for (size_t oy = 0; oy < c->oh; oy++) {
        const size_t top = oy * c->sh; /* of the padded image */
        made = bc_max(made, top > c->ph ? top - c->ph : 0);
        for (; made < c->h && made + c->ph < top + c->kh; made++)
            bc_float_pixels(&f->in, c->w, f->x + (image * c->h + made) * c->w * c->c_in,
                            rows + made % c->kh * f->row_bytes + left);
        for (size_t ky = 0; ky < c->kh; ky++) {
            const size_t y = top + ky - c->ph; /* wrapped around, if it is above the image */
            tables[ky] = rows + (y < c->h ? y % c->kh : c->kh) * f->row_bytes;
        }
        float *y = f->y + (image * c->oh + oy) * c->ow * c->c_out;
        for (size_t x = 0, m; x < c->ow; x += m) {
            m = bc_min(CHUNK, c->ow - x);
            row_part(f, tables, x, m, y + x * c->c_out);
        }
    }
}

bc_status bc_float_forward(bc_trainer *trainer, const train_conv *c, const float *x, const float *w,
                           const float *alpha, float *y, bc_error *error) {
    float_forward f = {
        .c = c, .in = {trainer->kernels, alpha != NULL, c->c_in}, .x = x, .alpha = alpha, .y = y};
    const size_t weight_bytes = bc_float_weight_bytes(&f.in, c->taps, c->c_out);
    f.row_bytes = bc_round_up(c->padded_w * bc_float_pixel_bytes(&f.in), 64);
    f.thread_bytes = (c->kh + 1) * f.row_bytes;
    char *memory = bc_train_scratch(trainer, weight_bytes + trainer->thread_count * f.thread_bytes);
    if (!memory)
        return bc_fail(error, BC_ERR_MEMORY, -1, "no memory for a training step's scratch");
    f.weights = memory;
    f.thread_memory = memory + weight_bytes;
    memset(f.thread_memory, 0, trainer->thread_count * f.thread_bytes);
    pack_weights(&f, w);
    bc_parallel(trainer->threads, c->n, forward_image, &f);
    return BC_OK;
}
