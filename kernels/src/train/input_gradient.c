/* input_gradient.c: dx[p][c] = sum over taps, o of alpha[o] dy[p'][o] * w[o][tap][c], a product of
 * floats with weights, as a layer of float activations is.
 *
 * Its "filters" are the channels c, its input the rows of dy, times alpha where w are signs. Rows
 * are kept, or tables of them, of no more than a window sees, so that they stay in the first cache;
 * they have a border of zeros left and right, so that the taps of a window's row are consecutive,
 * and one row of zeros stands for all that lie above and below. With a stride, the pixels of dx
 * fall into classes of rows and of columns, each of which sees its own taps. */
#include "../isa/simd.h"
#include "backward.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 96 /* pixels per product */ };

typedef float four __attribute__((vector_size(16)));
typedef int32_t mask __attribute__((vector_size(16)));

/* Taps r, r + s, r + 2 s, ... of a kernel. */
static size_t class_taps(size_t k, size_t s, size_t r) {
    return r < k ? (k - r + s - 1) / s : 0;
}

/* Classes to look at on an axis: with a stride beyond the kernel and the image the others have
 * neither taps nor pixels. */
static size_t class_count(size_t s, size_t k, size_t size, size_t pad) {
    return bc_min(s, bc_max(k, size + pad));
}

void bc_input_gradient_shape(bc_backward *b) {
    const train_conv *c = b->c;
    const size_t rows = class_taps(c->kh, c->sh, 0), cols = class_taps(c->kw, c->sw, 0);
    b->high = class_count(c->sh, c->kh, c->h, c->ph);
    b->wide = class_count(c->sw, c->kw, c->w, c->pw);
    b->top = rows - 1;
    b->left = cols - 1;
    b->dy_w = b->left + bc_max(c->ow, (c->w - 1 + c->pw) / c->sw + 1);
    b->class_bytes = bc_float_weight_bytes(&b->dy_rows, rows * cols, c->c_in);
}

size_t bc_input_gradient_panel_bytes(const bc_backward *b) {
    const train_conv *c = b->c; /* only classes with taps have weights */
    return bc_min(b->high, c->kh) * bc_min(b->wide, c->kw) * b->class_bytes;
}

static char *class_panels(const bc_backward *b, size_t ry, size_t rx) {
    return b->panels + (ry * bc_min(b->wide, b->c->kw) + rx) * b->class_bytes;
}

static size_t pixel_bytes(const bc_backward *b) {
    return bc_float_pixel_bytes(&b->dy_rows);
}

static size_t row_bytes(const bc_backward *b) {
    return bc_round_up(b->dy_w * pixel_bytes(b), 64);
}

/* A window's rows and a row of zeros, and floats: a row of alpha dy, or sums. */
size_t bc_input_gradient_bytes(const bc_backward *b) {
    const size_t floats = bc_max(b->c->ow * b->c->c_out, 2 * b->c->c_in);
    return (b->top + 2) * row_bytes(b) + bc_round_up(floats * sizeof(float), 64);
}

static float *row_memory(const bc_backward *b, char *memory) {
    return (float *)(void *)(memory + (b->top + 2) * row_bytes(b));
}

/* [class][c_in / 16][J I]; row and column taps descend, so that they ascend in dy. */
static void pack_class(const bc_backward *b, const float *w, size_t ry, size_t rx) {
    const train_conv *c = b->c;
    char *to = class_panels(b, ry, rx);
    for (size_t channel = 0; channel < c->c_in; channel += BC_PANEL_FLOAT)
        for (size_t j = class_taps(c->kh, c->sh, ry); j-- > 0;)
            for (size_t i = class_taps(c->kw, c->sw, rx); i-- > 0;) {
                const size_t tap = (ry + j * c->sh) * c->kw + rx + i * c->sw;
                to = bc_float_weights(&b->dy_rows, w + tap * c->c_in + channel, 1, c->k, to);
            }
}

void bc_input_gradient_weights(const bc_backward *b, const float *w) {
    for (size_t ry = 0; ry < bc_min(b->high, b->c->kh); ry++)
        for (size_t rx = 0; rx < bc_min(b->wide, b->c->kw); rx++)
            pack_class(b, w, ry, rx);
}

static void multiply(size_t pixels, size_t c, const float *restrict x, const float *restrict alpha,
                     float *restrict y) {
    for (size_t p = 0; p < pixels; p++, x += c, y += c)
        for (size_t o = 0; o < c; o += 16)
            for (size_t i = o; i < o + 16; i++)
                y[i] = x[i] * alpha[i];
}

/* Row y of dy takes the place of one that no window sees any more. */
static void make_row(const bc_backward *b, size_t image, size_t y, char *memory) {
    const train_conv *c = b->c;
    const size_t floats = c->ow * c->c_out;
    const float *from = b->dy + (image * c->oh + y) * floats;
    float *row = row_memory(b, memory);
    for (size_t i = 0; i < floats; i += 16) /* the row after the next */
        BC_PREFETCH(from + 2 * floats + i);
    if (b->alpha)
        multiply(c->ow, c->c_out, from, b->alpha, row);
    bc_float_pixels(&b->dy_rows, c->ow, b->alpha ? row : from,
                    memory + y % (b->top + 1) * row_bytes(b) + b->left * pixel_bytes(b));
}

/* The pixels of row y of dx that are in column class rx. */
static void row_class(const bc_backward *b, const char *memory, size_t image, size_t y, size_t rx) {
    const train_conv *c = b->c;
    const void *pointers[CHUNK * BC_TRAIN_MAX_KERNEL];
    const size_t ry = (y + c->ph) % c->sh, last = (y + c->ph) / c->sh,
                 rows = class_taps(c->kh, c->sh, ry), cols = class_taps(c->kw, c->sw, rx),
                 x0 = (rx + c->sw - c->pw % c->sw) % c->sw;
    const size_t bytes = pixel_bytes(b);
    float *dx = b->dx + (image * c->h + y) * c->w * c->c_in;
    if (!rows || !cols) { /* no window sees these pixels */
        for (size_t x = x0; x < c->w; x += c->sw)
            memset(dx + x * c->c_in, 0, c->c_in * sizeof *dx);
        return;
    }
    const char *tables[BC_TRAIN_MAX_KERNEL];
    for (size_t j = 0; j < rows; j++) {
        const size_t from = last + 1 + j - rows; /* wrapped around, if it is above the image */
        tables[j] = memory + (from < c->oh ? from % (b->top + 1) : b->top + 1) * row_bytes(b);
    }
    for (size_t x = x0, m; x < c->w; x += m * c->sw) {
        m = bc_min(CHUNK, (c->w - x + c->sw - 1) / c->sw);
        const size_t left = (x + c->pw) / c->sw + b->left + 1 - cols;
        for (size_t p = 0; p < m; p++)
            for (size_t j = 0; j < rows; j++)
                pointers[p * rows + j] = tables[j] + (left + p) * bytes;
        bc_float_product(&b->dy_rows, m, c->c_in, rows, cols, pointers, class_panels(b, ry, rx),
                         dx + x * c->c_in, c->sw * c->c_in);
    }
}

/* Through the sign in front of the convolution, while the row's gradient is in the cache. */
static void through_sign(const bc_backward *b, size_t row) {
    const size_t count = b->c->w * b->c->c_in;
    const float *restrict x = b->x + row * count;
    float *restrict dx = b->dx + row * count;
    if (b->estimator == BC_STE)
        for (size_t i = 0; i < count; i += 4) { /* a multiple of 16; a branch would guess wrong */
            four at, slope;
            memcpy(&at, x + i, sizeof at);
            memcpy(&slope, dx + i, sizeof slope);
            slope = (four)((mask)slope & (at <= 1) & (at >= -1));
            memcpy(dx + i, &slope, sizeof slope);
        }
    else
        for (size_t i = 0; i < count; i++) {
            float slope = 2 - 2 * fabsf(x[i]);
            dx[i] *= slope > 0 ? slope : 0;
        }
}

/* The same where what is signed is x * scale + shift: with the sums that the gradients of these
 * need, of a row in floats. */
static void through_input(const bc_backward *b, size_t row, float *few, double *sums) {
    const size_t c = b->c->c_in, at = row * b->c->w * c;
    b->kernels->through_sign(b->c->w, c, b->estimator, b->x + at, b->input, b->center, b->dx + at,
                             few);
    for (size_t i = 0; i < 2 * c; i++)
        sums[i] += (double)few[i];
}

void bc_input_gradient(const bc_backward *b, size_t image, char *memory, double *sums) {
    const train_conv *c = b->c;
    size_t made = 0; /* rows of dy */
    for (size_t y = 0; y < c->h; y++) {
        const size_t row = image * c->h + y;
        for (; made < c->oh && made <= (y + c->ph) / c->sh; made++)
            make_row(b, image, made, memory);
        for (size_t rx = 0; rx < b->wide; rx++)
            row_class(b, memory, image, y, rx);
        if (b->input)
            through_input(b, row, row_memory(b, memory), sums);
        else if (b->estimator != BC_IDENTITY)
            through_sign(b, row);
    }
}
