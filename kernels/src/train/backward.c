/* backward.c: both gradients are sums of floats with signs, the product `wgemm` of weight-only
 * layers.
 *
 * To the input:   dx[p][c] = sum over taps, o of alpha[o] dy[p'][o] * w[o][tap][c]
 *     "filters" are the channels c, their weights the signs of w; the rows of dy are scaled by
 * alpha and copied into an image with a border of zeros, where the taps of a window's row are
 * consecutive. With a stride, the pixels of dx fall into sh * sw classes, each of which sees its
 * own taps. To the weights: dw[o][tap][c] = sum over pixels p of dy[p][o] * x[p + tap][c] "pixels"
 * are the outputs o, "filters" the pairs (tap, c); their weights are the bits of x, shifted by the
 * tap, and the sum runs over pixels, so dy is transposed. An outside tap's bit 0 would count as +1:
 * what it adds, the sum of dy over the pixels where the tap is outside, is taken off. Images are
 * divided among LANES, each summed in order, then lane after lane: the same sum for any number of
 * threads.
 */
#include "train.h"

#include <math.h>
#include <string.h>

enum { LANES = 8, CHUNK = 96 /* pixels per product */, BLOCK_PIXELS = 512 };

typedef float four __attribute__((vector_size(16)));
typedef int32_t mask __attribute__((vector_size(16)));

typedef struct backward {
    const bc_trainer *trainer;
    const train_conv *c;
    const char *bits;
    const float *alpha, *dy, *x;
    bc_estimator estimator;
    float *dx, *lanes; /* lanes: [LANES][c_out][taps c_in] */
    float *border;     /* [LANES][taps][c_out] */
    uint16_t *panels;  /* of all classes after each other */
    size_t block;      /* rows of pixels that are transposed together */
    size_t top, left;  /* border of zeros around dy */
    size_t dy_h, dy_w; /* with border */
    char *thread_memory;
    size_t thread_bytes;
} backward;

/* Taps r, r + s, r + 2 s, ... of a kernel. */
static size_t class_taps(size_t k, size_t s, size_t r) {
    return r < k ? (k - r + s - 1) / s : 0;
}

/* Classes to look at on an axis: with a stride beyond the kernel and the image the others have
 * neither taps nor pixels. */
static size_t class_count(size_t s, size_t k, size_t size, size_t pad) {
    return bc_min(s, bc_max(k, size + pad));
}

/* u16 of a class's weights; panels begin at 64 bytes. */
static size_t class_size(const train_conv *c, size_t rows, size_t cols) {
    return bc_round_up(c->c_in / 16 * rows * cols * c->c_out, 32);
}

/* [class][c_in / 16][J I c_out] u16; row and column taps descend, so that they ascend in dy. */
static void pack_weights(const train_conv *c, const float *w, uint16_t *panels) {
    const size_t high = class_count(c->sh, c->kh, c->h, c->ph),
                 wide = class_count(c->sw, c->kw, c->w, c->pw);
    for (size_t ry = 0; ry < high; ry++)
        for (size_t rx = 0; rx < wide; rx++) {
            size_t rows = class_taps(c->kh, c->sh, ry), cols = class_taps(c->kw, c->sw, rx);
            uint16_t *to = panels;
            for (size_t panel = 0; panel < c->c_in / 16; panel++)
                for (size_t j = rows; j-- > 0;)
                    for (size_t i = cols; i-- > 0;)
                        for (size_t o = 0; o < c->c_out; o++) {
                            const float *from =
                                w +
                                ((o * c->kh + ry + j * c->sh) * c->kw + rx + i * c->sw) * c->c_in +
                                panel * 16;
                            unsigned word = 0;
                            for (unsigned b = 0; b < 16; b++)
                                word |= (unsigned)(from[b] < 0) << b;
                            *to++ = (uint16_t)word;
                        }
            panels += class_size(c, rows, cols);
        }
}

/* ---- to the input ---- */

static void scaled_image(const backward *b, size_t image, float *to) {
    const train_conv *c = b->c;
    memset(to, 0, b->dy_h * b->dy_w * c->c_out * sizeof *to);
    for (size_t y = 0; y < c->oh; y++) {
        const float *from = b->dy + (image * c->oh + y) * c->ow * c->c_out;
        float *row = to + ((y + b->top) * b->dy_w + b->left) * c->c_out;
        for (size_t x = 0; x < c->ow; x++)
            for (size_t o = 0; o < c->c_out; o++)
                row[x * c->c_out + o] = from[x * c->c_out + o] * b->alpha[o];
    }
}

/* Row y of dx, the pixels x0, x0 + sw, ... of one class. */
static void input_row(const backward *b, const float *dy, const uint16_t *panels, size_t rows,
                      size_t cols, size_t image, size_t y, size_t x0) {
    const train_conv *c = b->c;
    const float *pointers[CHUNK * BC_TRAIN_MAX_KERNEL];
    size_t count = (c->w - x0 + c->sw - 1) / c->sw;
    size_t top = (y + c->ph) / c->sh + b->top + 1 - rows,
           left = (x0 + c->pw) / c->sw + b->left + 1 - cols;
    for (size_t done = 0; done < count; done += CHUNK) {
        size_t m = bc_min(CHUNK, count - done);
        for (size_t p = 0; p < m; p++)
            for (size_t j = 0; j < rows; j++)
                pointers[p * rows + j] = dy + ((top + j) * b->dy_w + left + done + p) * c->c_out;
        b->trainer->kernels->wgemm(
            m, c->c_in / 16, rows, cols * c->c_out, pointers, panels,
            b->dx + ((image * c->h + y) * c->w + x0 + done * c->sw) * c->c_in, c->sw * c->c_in);
    }
}

static void input_image(const backward *b, size_t image, float *dy) {
    const train_conv *c = b->c;
    const uint16_t *panels = b->panels;
    const size_t high = class_count(c->sh, c->kh, c->h, c->ph),
                 wide = class_count(c->sw, c->kw, c->w, c->pw);
    scaled_image(b, image, dy);
    for (size_t ry = 0; ry < high; ry++)
        for (size_t rx = 0; rx < wide; rx++) {
            size_t rows = class_taps(c->kh, c->sh, ry), cols = class_taps(c->kw, c->sw, rx);
            size_t y0 = (ry + c->sh - c->ph % c->sh) % c->sh,
                   x0 = (rx + c->sw - c->pw % c->sw) % c->sw;
            for (size_t y = y0; y < c->h && x0 < c->w; y += c->sh) {
                if (rows && cols) {
                    input_row(b, dy, panels, rows, cols, image, y, x0);
                    continue;
                }
                for (size_t x = x0; x < c->w; x += c->sw) /* no window sees these pixels */
                    memset(b->dx + ((image * c->h + y) * c->w + x) * c->c_in, 0,
                           c->c_in * sizeof *b->dx);
            }
            panels += class_size(c, rows, cols);
        }
}

/* Through the sign in front of the convolution, while the image's gradient is in the cache. */
static void through_sign(const backward *b, size_t image) {
    const size_t count = b->c->h * b->c->w * b->c->c_in;
    const float *restrict x = b->x + image * count;
    float *restrict dx = b->dx + image * count;
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

/* ---- to the weights ---- */

/* [k][c] -> [c][k], c a multiple of 16, k of any size */
static void transpose(const float *from, size_t k, size_t c, float *to) {
    size_t whole = k / 4 * 4;
    for (size_t i = 0; i < whole; i += 4)
        for (size_t j = 0; j < c; j += 4) {
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

/* The bits of x under every tap for some rows of pixels: [tap][c_in / 16][pixels] u16. Rows count
 * through all images. */
static void shifted_bits(const backward *b, size_t first, size_t rows, uint16_t *to) {
    const train_conv *c = b->c;
    const size_t groups = c->c_in / 16, step = c->sw * groups;
    for (size_t t = 0; t < c->taps; t++)
        for (size_t g = 0; g < groups; g++)
            for (size_t row = first; row < first + rows; row++, to += c->ow) {
                const char *line =
                    b->bits + row / c->oh * c->image_bytes +
                    ((row % c->oh * c->sh + t / c->kw) * c->padded_w + t % c->kw) * c->pixel_bytes;
                const uint16_t *from = (const uint16_t *)(const void *)line + g;
                if (step == 1)
                    memcpy(to, from, c->ow * sizeof *to);
                else
                    for (size_t x = 0; x < c->ow; x++)
                        to[x] = from[x * step];
            }
}

/* What outside taps would add: [tap][c_out] += sum of dy over the pixels of an image where the tap
 * is outside. */
static void add_border(const backward *b, size_t image, float *border) {
    const train_conv *c = b->c;
    for (size_t t = 0; t < c->taps; t++)
        for (size_t y = 0; y < c->oh; y++) {
            bool row = bc_train_inside(y, c->sh, t / c->kw, c->ph, c->h);
            for (size_t x = 0; x < c->ow; x++) {
                if (row && bc_train_inside(x, c->sw, t % c->kw, c->pw, c->w)) {
                    /* inside from here to the last column that is */
                    size_t last = bc_min(c->ow - 1, (c->w + c->pw - 1 - t % c->kw) / c->sw);
                    x = last;
                    continue;
                }
                const float *dy = b->dy + ((image * c->oh + y) * c->ow + x) * c->c_out;
                for (size_t o = 0; o < c->c_out; o++)
                    border[t * c->c_out + o] += dy[o];
            }
        }
}

/* The sum over some rows of pixels, added to `sum`. */
static void weight_block(const backward *b, size_t first, size_t count, char *memory, float *sum) {
    const train_conv *c = b->c;
    const size_t k = count * c->ow;
    float *dy = (float *)(void *)memory;
    float *acc = dy + b->block * c->ow * c->c_out;
    const float **rows = (const float **)(void *)(acc + c->c_out * c->k);
    uint16_t *bits =
        (uint16_t *)(void *)(memory +
                             bc_round_up((size_t)((char *)(rows + c->c_out) - memory), 64));
    transpose(b->dy + first * c->ow * c->c_out, k, c->c_out, dy);
    shifted_bits(b, first, count, bits);
    for (size_t o = 0; o < c->c_out; o++)
        rows[o] = dy + o * k;
    b->trainer->kernels->wgemm(c->c_out, c->k / 16, 1, k, rows, bits, acc, c->k);
    for (size_t i = 0; i < c->c_out * c->k; i++)
        sum[i] += acc[i];
}

static void lane(const void *context, size_t index, size_t thread) {
    const backward *b = context;
    const train_conv *c = b->c;
    char *memory = b->thread_memory + thread * b->thread_bytes;
    float *sum = b->lanes + index * c->c_out * c->k,
          *border = b->border + index * c->taps * c->c_out;
    memset(sum, 0, c->c_out * c->k * sizeof *sum);
    memset(border, 0, c->taps * c->c_out * sizeof *border);
    size_t begin = c->n * index / LANES, end = c->n * (index + 1) / LANES;
    for (size_t image = begin; image < end; image++) {
        if (b->dx)
            input_image(b, image, (float *)(void *)memory);
        if (b->dx && b->estimator != BC_IDENTITY)
            through_sign(b, image);
        add_border(b, image, border);
    }
    for (size_t row = begin * c->oh; row < end * c->oh; row += b->block)
        weight_block(b, row, bc_min(b->block, end * c->oh - row), memory, sum);
}

static void add_lanes(const backward *b, float *dw) {
    const train_conv *c = b->c;
    for (size_t o = 0; o < c->c_out; o++)
        for (size_t i = 0; i < c->k; i++) {
            float sum = 0, outside = 0;
            for (size_t l = 0; l < LANES; l++) {
                sum += b->lanes[(l * c->c_out + o) * c->k + i];
                outside += b->border[(l * c->taps + i / c->c_in) * c->c_out + o];
            }
            dw[o * c->k + i] = sum - outside;
        }
}

bc_status bc_train_backward(bc_trainer *trainer, const bc_conv *conv, const void *bits,
                            const float *w, const float *alpha, const float *dy, const float *x,
                            bc_estimator estimator, float *dx, float *dw, bc_error *error) {
    train_conv c;
    if (!trainer || !conv || !bits || !w || !alpha || !dy || !dw ||
        (!x && estimator != BC_IDENTITY) || !bc_train_conv(conv, &c))
        return bc_fail(error, BC_ERR_ARGUMENT, -1,
                       "a null pointer, or a convolution that is not supported");
    if (estimator != BC_IDENTITY && estimator != BC_STE && estimator != BC_APPROXSIGN)
        return bc_fail(error, BC_ERR_ARGUMENT, -1, "estimator %d is unknown", (int)estimator);
    backward b = {.trainer = trainer,
                  .c = &c,
                  .bits = bits,
                  .alpha = alpha,
                  .dy = dy,
                  .x = x,
                  .estimator = estimator,
                  .dx = dx};
    b.top = class_taps(c.kh, c.sh, 0) - 1;
    b.left = class_taps(c.kw, c.sw, 0) - 1;
    b.dy_h = b.top + bc_max(c.oh, (c.h - 1 + c.ph) / c.sh + 1);
    b.dy_w = b.left + bc_max(c.ow, (c.w - 1 + c.pw) / c.sw + 1);
    b.block = bc_max(1, BLOCK_PIXELS / c.ow);
    size_t pixels = b.block * c.ow;
    /* of the sh * sw classes only those with taps have weights, each rounded up */
    size_t panel_bytes = bc_round_up(c.k * c.c_out / 16 * 2, 64) +
                         64 * bc_min(c.sh, c.kh) * bc_min(c.sw, c.kw),
           lane_bytes = bc_round_up(LANES * c.c_out * c.k * 4, 64),
           border_bytes = bc_round_up(LANES * c.taps * c.c_out * 4, 64);
    size_t weight_bytes =
        (pixels * c.c_out + c.c_out * c.k) * 4 + c.c_out * 8 + 64 + pixels * c.k / 16 * 2;
    b.thread_bytes = bc_round_up(bc_max(weight_bytes, b.dy_h * b.dy_w * c.c_out * 4), 64);
    char *memory = bc_train_scratch(trainer, panel_bytes + lane_bytes + border_bytes +
                                                 trainer->thread_count * b.thread_bytes);
    if (!memory)
        return bc_fail(error, BC_ERR_MEMORY, -1, "no memory for a training step's scratch");
    b.panels = (uint16_t *)(void *)memory;
    b.lanes = (float *)(void *)(memory += panel_bytes);
    b.border = (float *)(void *)(memory += lane_bytes);
    b.thread_memory = memory + border_bytes;
    if (dx)
        pack_weights(&c, w, b.panels);
    bc_parallel(trainer->threads, LANES, lane, &b);
    add_lanes(&b, dw);
    return BC_OK;
}
