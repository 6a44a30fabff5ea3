/* backward.c: both gradients of a convolution.
 *
 * Of inputs and weights of +-1 they are sums of floats with signs: products of floats with 1-bit
 * weights. Images are divided among LANES, each summed in order, then lane after lane: the same sum
 * for any number of threads. A tap outside the image counts as 0; where it was summed as +1, what
 * that adds, the sum of dy over the pixels where the tap is outside, is taken off in the end. */
#include "backward.h"

#include <string.h>

enum { LANES = 8, BLOCK_OF_BITS = 192, BLOCK_OF_FLOATS = 512 /* pixels summed together */ };

typedef float four __attribute__((vector_size(16)));

typedef struct work {
    const bc_backward *b;
    float *lanes;  /* [LANES][c_out / 16][taps c_in][16] */
    float *border; /* [LANES][taps][c_out] */
    double *sums;  /* [LANES][2][c_in] */
    char *thread_memory;
    size_t input_bytes, thread_bytes;
} work;

/* Outputs [first, end) of an axis see tap k inside the image; the others do not. */
typedef struct range {
    size_t first, end;
} range;

static range inside(size_t outputs, size_t s, size_t k, size_t pad, size_t size) {
    const size_t first = pad > k ? (pad - k + s - 1) / s : 0,
                 end = pad + size > k ? (pad + size - k + s - 1) / s : 0;
    return (range){bc_min(first, outputs), bc_max(bc_min(end, outputs), bc_min(first, outputs))};
}

/* c: a multiple of 16; step: floats from one pixel to the next. */
static void add_pixels(size_t c, size_t count, size_t step, const float *dy, float *sum) {
    for (size_t o = 0; count && o < c; o += 16) {
        four s[4];
        memcpy(s, sum + o, sizeof s);
        for (size_t p = 0; p < count; p++)
            for (size_t i = 0; i < 4; i++) {
                four v;
                memcpy(&v, dy + p * step + o + 4 * i, sizeof v);
                s[i] += v;
            }
        memcpy(sum + o, s, sizeof s);
    }
}

/* What outside taps would add: [tap][c_out] += sum of dy over the pixels of an image where the tap
 * is outside. */
static void add_border(const bc_backward *b, size_t image, float *border) {
    const train_conv *c = b->c;
    const float *dy = b->dy + image * c->oh * c->ow * c->c_out;
    for (size_t t = 0; t < c->taps; t++, border += c->c_out) {
        const range y = inside(c->oh, c->sh, t / c->kw, c->ph, c->h),
                    x = inside(c->ow, c->sw, t % c->kw, c->pw, c->w);
        const size_t line = c->ow * c->c_out, rows = y.end - y.first;
        const float *middle = dy + y.first * line;
        add_pixels(c->c_out, y.first * c->ow, c->c_out, dy, border);
        for (size_t i = 0; i < c->ow; i++)
            if (i < x.first || i >= x.end)
                add_pixels(c->c_out, rows, line, middle + i * c->c_out, border);
        add_pixels(c->c_out, (c->oh - y.end) * c->ow, c->c_out, dy + y.end * line, border);
    }
}

/* Some images at a time go through both gradients, while their dy is in the cache. */
static void lane(const void *context, size_t index, size_t thread) {
    const work *k = context;
    const bc_backward *b = k->b;
    const train_conv *c = b->c;
    char *memory = k->thread_memory + thread * k->thread_bytes;
    float *sum = k->lanes + index * c->c_out * c->k,
          *border = k->border + index * c->taps * c->c_out;
    memset(sum, 0, c->c_out * c->k * sizeof *sum);
    double *sums = k->sums + index * 2 * c->c_in;
    memset(border, 0, c->taps * c->c_out * sizeof *border);
    memset(sums, 0, 2 * c->c_in * sizeof *sums);
    const size_t end = c->n * (index + 1) / LANES;
    for (size_t image = c->n * index / LANES, next; image < end; image = next) {
        next = bc_min(image + b->together, end);
        for (size_t i = image; i < next; i++) {
            if (b->dx)
                bc_input_gradient(b, i, memory, sums);
            if (b->bits)
                add_border(b, i, border);
        }
        (b->bits ? bc_weight_gradient : bc_float_weight_gradient)(b, image, next - image,
                                                                  memory + k->input_bytes, sum);
    }
}

static void add_lanes(const work *k, float *dw) {
    const train_conv *c = k->b->c;
    for (size_t t = 0; t < c->taps; t++) {
        const range y = inside(c->oh, c->sh, t / c->kw, c->ph, c->h),
                    x = inside(c->ow, c->sw, t % c->kw, c->pw, c->w);
        const bool never = y.first == y.end || x.first == x.end;
        for (size_t o = 0; o < c->c_out; o++) {
            float outside = 0;
            for (size_t l = 0; l < LANES; l++)
                outside += k->border[(l * c->taps + t) * c->c_out + o];
            const float *lanes = k->lanes + (o / 16 * c->k + t * c->c_in) * 16 + o % 16;
            for (size_t i = 0; i < c->c_in; i++) {
                float sum = 0;
                for (size_t l = 0; l < LANES; l++)
                    sum += lanes[l * c->c_out * c->k + i * 16];
                dw[o * c->k + t * c->c_in + i] = never ? 0 : sum - outside;
            }
        }
    }
}

bc_status bc_train_backward(bc_trainer *trainer, const bc_conv *conv, const void *bits,
                            const float *w, const float *alpha, const float *dy, const float *x,
                            const float *input, const float *center, bc_estimator estimator,
                            float *dx, double *sums, float *dw, bc_error *error) {
    train_conv c;
    if (!trainer || !conv || !w || !dy || !dw ||
        (!x && (!bits || input || estimator != BC_IDENTITY)) ||
        (!bits && (input || estimator != BC_IDENTITY)) || (input && (!center || !sums)) ||
        !bc_train_conv(conv, &c))
        return bc_fail(error, BC_ERR_ARGUMENT, -1,
                       "a null pointer, or a convolution that is not supported");
    if (estimator != BC_IDENTITY && estimator != BC_STE && estimator != BC_APPROXSIGN)
        return bc_fail(error, BC_ERR_ARGUMENT, -1, "estimator %d is unknown", (int)estimator);
    const size_t block = bits ? BLOCK_OF_BITS : BLOCK_OF_FLOATS;
    bc_backward b = {.kernels = trainer->kernels,
                     .c = &c,
                     .bits = bits,
                     .alpha = alpha,
                     .dy = dy,
                     .x = x,
                     .input = input,
                     .center = center,
                     .estimator = estimator,
                     .dx = dx,
                     .dy_rows = {trainer->kernels, alpha != NULL, c.c_out},
                     .block = block,
                     .together = bc_max(1, block / (c.oh * c.ow))};
    bc_input_gradient_shape(&b);
    work k = {.b = &b, .input_bytes = dx ? bc_input_gradient_bytes(&b) : 0};
    k.thread_bytes =
        k.input_bytes + (bits ? bc_weight_gradient_bytes(&b) : bc_float_weight_gradient_bytes(&b));
    const size_t panel_bytes = bc_input_gradient_panel_bytes(&b),
                 lane_bytes = bc_round_up(LANES * c.c_out * c.k * 4, 64),
                 border_bytes = bc_round_up(LANES * c.taps * c.c_out * 4, 64),
                 sum_bytes = LANES * 2 * c.c_in * sizeof *sums;
    char *memory = bc_train_scratch(trainer, panel_bytes + lane_bytes + border_bytes + sum_bytes +
                                                 trainer->thread_count * k.thread_bytes);
    if (!memory)
        return bc_fail(error, BC_ERR_MEMORY, -1, "no memory for a training step's scratch");
    b.panels = memory;
    k.lanes = (float *)(void *)(memory += panel_bytes);
    k.border = (float *)(void *)(memory += lane_bytes);
    k.sums = (double *)(void *)(memory += border_bytes);
    k.thread_memory = memory + sum_bytes;
    if (dx)
        bc_input_gradient_weights(&b, w);
    for (size_t t = 0; t < trainer->thread_count; t++)
        memset(k.thread_memory + t * k.thread_bytes, 0, bits ? k.input_bytes : k.thread_bytes);
    bc_parallel(trainer->threads, LANES, lane, &k);
    add_lanes(&k, dw);
    for (size_t i = 0; input && i < 2 * c.c_in; i++) {
        sums[i] = 0;
        for (size_t l = 0; l < LANES; l++)
            sums[i] += k.sums[l * 2 * c.c_in + i];
    }
    return BC_OK;
}
