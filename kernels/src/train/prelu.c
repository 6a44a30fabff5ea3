/* prelu.c: y = x >= 0 ? x : x * slope[c] and its gradients, in one pass over NHWC rows each.
 *
 * The slope's gradient sums over all pixels: PARTS stretches of pixels are summed on their own and
 * then added in order, so that the sum is the same for any number of threads. */
#include "train.h"

#include <string.h>

enum { PARTS = 32 };

typedef struct prelu {
    size_t pixels, c;
    const float *x, *slope, *dy;
    float *y, *dx, *sums; /* sums: [PARTS][c] */
} prelu;

static void forward_part(const void *context, size_t part, size_t thread) {
    const prelu *r = context;
    (void)thread;
    for (size_t p = r->pixels * part / PARTS; p < r->pixels * (part + 1) / PARTS; p++) {
        const float *restrict x = r->x + p * r->c, *restrict slope = r->slope;
        float *restrict y = r->y + p * r->c;
        for (size_t i = 0; i < r->c; i++) {
            /* one of them is 0: no branch on a random sign; a NaN is below, and stays one */
            float above = x[i] > 0 ? x[i] : 0, below = x[i] > 0 ? 0 : x[i];
            y[i] = above + below * slope[i];
        }
    }
}

static void backward_part(const void *context, size_t part, size_t thread) {
    const prelu *r = context;
    float *restrict sum = r->sums + part * r->c;
    (void)thread;
    memset(sum, 0, r->c * sizeof *sum);
    for (size_t p = r->pixels * part / PARTS; p < r->pixels * (part + 1) / PARTS; p++) {
        const float *restrict x = r->x + p * r->c, *restrict dy = r->dy + p * r->c,
                              *restrict slope = r->slope;
        float *restrict dx = r->dx + p * r->c;
        for (size_t i = 0; i < r->c; i++) {
            /* at 0, which sums of signs often are, the slope: as torch does */
            float above = x[i] > 0 ? 1.0f : 0.0f, below = 1 - above;
            dx[i] = dy[i] * (above + below * slope[i]);
            sum[i] += below * dy[i] * x[i];
        }
    }
}

bc_status bc_train_prelu_forward(bc_trainer *trainer, uint64_t pixels, uint32_t c, const float *x,
                                 const float *slope, float *y, bc_error *error) {
    if (!trainer || !c || !x || !slope || !y)
        return bc_fail(error, BC_ERR_ARGUMENT, -1, "a null pointer, or no channels");
    const prelu r = {.pixels = pixels, .c = c, .x = x, .slope = slope, .y = y};
    bc_parallel(trainer->threads, PARTS, forward_part, &r);
    return BC_OK;
}

bc_status bc_train_prelu_backward(bc_trainer *trainer, uint64_t pixels, uint32_t c, const float *x,
                                  const float *slope, const float *dy, float *dx, float *dslope,
                                  bc_error *error) {
    if (!trainer || !c || !x || !slope || !dy || !dx || !dslope)
        return bc_fail(error, BC_ERR_ARGUMENT, -1, "a null pointer, or no channels");
    float *sums = (float *)(void *)bc_train_scratch(trainer, PARTS * (size_t)c * sizeof *sums);
    if (!sums)
        return bc_fail(error, BC_ERR_MEMORY, -1, "no memory for a training step's scratch");
    const prelu r = {
        .pixels = pixels, .c = c, .x = x, .slope = slope, .dy = dy, .dx = dx, .sums = sums};
    bc_parallel(trainer->threads, PARTS, backward_part, &r);
    memcpy(dslope, sums, c * sizeof *dslope);
    for (size_t part = 1; part < PARTS; part++)
        for (size_t i = 0; i < c; i++)
            dslope[i] += sums[part * c + i];
    return BC_OK;
}
