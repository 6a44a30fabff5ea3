/* prelu.c: PReLU between two shifts, y = prelu(x + before) + after, and its gradients, in one pass
 * over NHWC rows each.
 *
 * The gradients of slope and shifts are sums over all pixels: PARTS stretches of pixels are summed
 * on their own and then added in order, so that a sum is the same for any number of threads. */
#include "train.h"

#include <string.h>

enum { PARTS = 32, FEW = 64 /* pixels */, CHANNELS = 128 /* at a time */ };

enum { SLOPE, BEFORE, AFTER, GRADS }; /* rows of gradients */

typedef struct prelu {
    size_t pixels, c;
    const float *x, *slope, *before, *after, *dy;
    float *y, *dx;
    double *sums; /* [PARTS][GRADS][c] */
} prelu;

static void forward_part(const void *context, size_t part, size_t thread) {
    const prelu *r = context;
    (void)thread;
    for (size_t p = r->pixels * part / PARTS; p < r->pixels * (part + 1) / PARTS; p++) {
        const float *restrict x = r->x + p * r->c, *restrict slope = r->slope,
                              *restrict before = r->before, *restrict after = r->after;
        float *restrict y = r->y + p * r->c;
        for (size_t i = 0; i < r->c; i++) {
            /* one of them is 0: no branch on a random sign; a NaN is below, and stays one */
            const float v = x[i] + before[i], above = v > 0 ? v : 0, below = v > 0 ? 0 : v;
            y[i] = above + below * slope[i] + after[i];
        }
    }
}

/* The sums of a few pixels and at most CHANNELS channels are floats. */
static void backward_few(const prelu *r, size_t first, size_t end, size_t from, double *sums) {
    const size_t count = bc_min(CHANNELS, r->c - from);
    const float *restrict slope = r->slope + from, *restrict before = r->before + from;
    float few[GRADS][CHANNELS] = {{0}};
    for (size_t p = first; p < end; p++) {
        const float *restrict x = r->x + p * r->c + from, *restrict dy = r->dy + p * r->c + from;
        float *restrict dx = r->dx + p * r->c + from;
        for (size_t i = 0; i < count; i++) {
            /* at 0, which sums of signs often are, the slope: as torch does */
            const float v = x[i] + before[i], above = v > 0 ? 1.0f : 0.0f, below = 1 - above,
                        to_x = dy[i] * (above + below * slope[i]);
            dx[i] = to_x;
            few[SLOPE][i] += below * dy[i] * v;
            few[BEFORE][i] += to_x;
            few[AFTER][i] += dy[i];
        }
    }
    for (size_t grad = 0; grad < GRADS; grad++)
        for (size_t i = 0; i < count; i++)
            sums[grad * r->c + from + i] += (double)few[grad][i];
}

static void backward_part(const void *context, size_t part, size_t thread) {
    const prelu *r = context;
    double *sums = r->sums + part * GRADS * r->c;
    const size_t end = r->pixels * (part + 1) / PARTS;
    (void)thread;
    memset(sums, 0, GRADS * r->c * sizeof *sums);
    for (size_t p = r->pixels * part / PARTS, next; p < end; p = next) {
        next = bc_min(p + FEW, end);
        for (size_t i = 0; i < r->c; i += CHANNELS)
            backward_few(r, p, next, i, sums);
    }
}

/* Memory for the sums and, at its end, a shift of zeros where one is missing; NULL: none. */
static double *scratch(bc_trainer *trainer, prelu *r) {
    const size_t sums = PARTS * GRADS * r->c * sizeof(double);
    char *memory = bc_train_scratch(trainer, sums + r->c * sizeof(float));
    if (!memory)
        return NULL;
    float *zeros = (float *)(void *)(memory + sums);
    memset(zeros, 0, r->c * sizeof *zeros);
    r->before = r->before ? r->before : zeros;
    r->after = r->after ? r->after : zeros;
    return (double *)(void *)memory;
}

bc_status bc_train_prelu_forward(bc_trainer *trainer, uint64_t pixels, uint32_t c, const float *x,
                                 const float *slope, const float *before, const float *after,
                                 float *y, bc_error *error) {
    if (!trainer || !c || !x || !slope || !y)
        return bc_fail(error, BC_ERR_ARGUMENT, -1, "a null pointer, or no channels");
    prelu r = {
        .pixels = pixels, .c = c, .x = x, .slope = slope, .before = before, .after = after, .y = y};
    if (!scratch(trainer, &r))
        return bc_fail(error, BC_ERR_MEMORY, -1, "no memory for a training step's scratch");
    bc_parallel(trainer->threads, PARTS, forward_part, &r);
    return BC_OK;
}

bc_status bc_train_prelu_backward(bc_trainer *trainer, uint64_t pixels, uint32_t c, const float *x,
                                  const float *slope, const float *before, const float *dy,
                                  float *dx, float *grads, bc_error *error) {
    if (!trainer || !c || !x || !slope || !dy || !dx || !grads)
        return bc_fail(error, BC_ERR_ARGUMENT, -1, "a null pointer, or no channels");
    prelu r = {
        .pixels = pixels, .c = c, .x = x, .slope = slope, .before = before, .dy = dy, .dx = dx};
    r.sums = scratch(trainer, &r);
    if (!r.sums)
        return bc_fail(error, BC_ERR_MEMORY, -1, "no memory for a training step's scratch");
    bc_parallel(trainer->threads, PARTS, backward_part, &r);
    for (size_t i = 0; i < GRADS * c; i++) {
        double sum = 0;
        for (size_t part = 0; part < PARTS; part++)
            sum += r.sums[part * GRADS * c + i];
        grads[i] = (float)sum;
    }
    return BC_OK;
}
