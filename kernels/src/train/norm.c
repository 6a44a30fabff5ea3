/* norm.c: BatchNorm of NHWC rows in training, with an addition behind it, and its gradients.
 *
 *     y = x * scale + shift (+ addend),   or its ReLU,
 *                                         scale = weight / sqrt(variance + eps),
 *                                         shift = bias - mean * scale
 *
 * Sums over pixels are made in PARTS stretches, of floats over a few pixels and of doubles over
 * these, and added in order: the same for any number of threads. */
#include "train.h"

#include <math.h>
#include <string.h>

enum { PARTS = 32, FEW = 64 /* pixels */ };
enum { MEAN, INVERSE, SCALE, SHIFT }; /* rows of `stats` */

typedef struct norm {
    const bc_kernels *kernels;
    size_t pixels, c;
    const float *x, *dy, *addend, *center;
    const float *factors; /* [3][c]: y = x * [0] + [1] (+ addend); dx = dy * [0] + x' * [2] + [1] */
    float *y;
    bool relu;    /* of y */
    double *sums; /* [PARTS][2][c] */
    float *few;   /* [threads][2][c] */
} norm;

static void sum_part(const void *context, size_t part, size_t thread) {
    const norm *n = context;
    const size_t c = n->c, end = n->pixels * (part + 1) / PARTS;
    double *total = n->sums + part * 2 * c;
    float *few = n->few + thread * 2 * c;
    memset(total, 0, 2 * c * sizeof *total);
    for (size_t p = n->pixels * part / PARTS, count; p < end; p += count) {
        count = bc_min(FEW, end - p);
        n->kernels->center_sums(count, c, n->x + p * c, n->dy ? n->dy + p * c : NULL, n->center,
                                few);
        for (size_t i = 0; i < 2 * c; i++)
            total[i] += (double)few[i];
    }
}

static void apply_part(const void *context, size_t part, size_t thread) {
    const norm *n = context;
    const size_t c = n->c;
    (void)thread;
    for (size_t p = n->pixels * part / PARTS; p < n->pixels * (part + 1) / PARTS; p++) {
        const float *restrict x = n->x + p * c, *restrict by = n->factors, *restrict plus = by + c;
        float *restrict y = n->y + p * c;
        if (n->addend) {
            const float *restrict addend = n->addend + p * c;
            for (size_t i = 0; i < c; i++)
                y[i] = x[i] * by[i] + plus[i] + addend[i];
        } else {
            for (size_t i = 0; i < c; i++)
                y[i] = x[i] * by[i] + plus[i];
        }
        for (size_t i = 0; n->relu && i < c; i++)
            y[i] = y[i] < 0 ? 0 : y[i]; /* NaN stays */
    }
}

/* y = dx, which may be dy. */
static void gradient_part(const void *context, size_t part, size_t thread) {
    const norm *n = context;
    const size_t c = n->c;
    const float *of_dy = n->factors, *plus = of_dy + c, *of_x = plus + c;
    (void)thread;
    for (size_t p = n->pixels * part / PARTS; p < n->pixels * (part + 1) / PARTS; p++) {
        const float *x = n->x + p * c, *dy = n->dy + p * c;
        float *y = n->y + p * c;
        for (size_t i = 0; i < c; i++)
            y[i] = dy[i] * of_dy[i] + (x[i] - n->center[i]) * of_x[i] + plus[i];
    }
}

static void add_parts(const norm *n, double *sums) {
    memcpy(sums, n->sums, 2 * n->c * sizeof *sums);
    for (size_t part = 1; part < PARTS; part++)
        for (size_t i = 0; i < 2 * n->c; i++)
            sums[i] += n->sums[part * 2 * n->c + i];
}

/* Sums of all parts at its beginning, then those of each part, factors, and sums of few pixels. */
static double *scratch(bc_trainer *trainer, norm *n, bc_error *error) {
    const size_t sums = 2 * n->c * sizeof(double);
    char *memory = bc_train_scratch(trainer, (1 + PARTS) * sums + (3 + 2 * trainer->thread_count) *
                                                                      n->c * sizeof(float));
    if (!memory) {
        bc_fail(error, BC_ERR_MEMORY, -1, "no memory for a training step's scratch");
        return NULL;
    }
    n->sums = (double *)(void *)(memory + sums);
    float *floats = (float *)(void *)(memory + (1 + PARTS) * sums);
    n->kernels = trainer->kernels;
    n->factors = floats;
    n->few = floats + 3 * n->c;
    return (double *)(void *)memory;
}

bc_status bc_train_norm_forward(bc_trainer *trainer, uint64_t pixels, uint32_t c, const bc_norm *of,
                                const float *x, const float *addend, float *y, float *stats,
                                bc_error *error) {
    if (!trainer || !pixels || !c || !of || !x || !stats || !of->running_mean != !of->running_var)
        return bc_fail(error, BC_ERR_ARGUMENT, -1, "a null pointer, or no pixels or channels");
    norm n = {.pixels = pixels,
              .c = c,
              .x = x,
              .addend = addend,
              .center = x,
              .y = y,
              .relu = of->relu != 0};
    double *sums = scratch(trainer, &n, error);
    if (!sums)
        return BC_ERR_MEMORY;
    bc_parallel(trainer->threads, PARTS, sum_part, &n); /* around the first pixel */
    add_parts(&n, sums);
    for (size_t i = 0; i < c; i++) {
        const double count = (double)pixels, away = sums[i] / count, mean = (double)x[i] + away,
                     squares = sums[c + i] / count - away * away,
                     variance = squares > 0 ? squares : 0 * squares, /* NaN stays */
            inverse = 1 / sqrt(variance + (double)of->eps),
                     scale = inverse * (of->weight ? (double)of->weight[i] : 1);
        stats[MEAN * c + i] = (float)mean;
        stats[INVERSE * c + i] = (float)inverse;
        stats[SCALE * c + i] = (float)scale;
        stats[SHIFT * c + i] = (float)((of->bias ? (double)of->bias[i] : 0) - mean * scale);
        if (!of->running_mean)
            continue;
        const double momentum = (double)of->momentum,
                     unbiased = variance * (count / (pixels > 1 ? count - 1 : 1));
        of->running_mean[i] =
            (float)((double)of->running_mean[i] * (1 - momentum) + mean * momentum);
        of->running_var[i] =
            (float)((double)of->running_var[i] * (1 - momentum) + unbiased * momentum);
    }
    n.factors = stats + SCALE * c;
    if (y)
        bc_parallel(trainer->threads, PARTS, apply_part, &n);
    return BC_OK;
}

bc_status bc_train_norm_backward(bc_trainer *trainer, uint64_t pixels, uint32_t c, const float *x,
                                 const float *stats, const float *dy, const double *known,
                                 float *dx, float *dweight, float *dbias, bc_error *error) {
    if (!trainer || !pixels || !c || !x || !stats || !dy || !dx || !dweight || !dbias)
        return bc_fail(error, BC_ERR_ARGUMENT, -1, "a null pointer, or no pixels or channels");
    norm n = {.pixels = pixels, .c = c, .x = x, .dy = dy, .center = stats + MEAN * c, .y = dx};
    double *sums = scratch(trainer, &n, error);
    if (!sums)
        return BC_ERR_MEMORY;
    if (known) {
        memcpy(sums, known, 2 * c * sizeof *sums);
    } else {
        bc_parallel(trainer->threads, PARTS, sum_part, &n);
        add_parts(&n, sums);
    }
    float *of_dy = (float *)(void *)((char *)(void *)n.sums + PARTS * 2 * c * sizeof *sums),
          *plus = of_dy + c, *of_x = plus + c;
    for (size_t i = 0; i < c; i++) {
        const double inverse = (double)stats[INVERSE * c + i], scale = (double)stats[SCALE * c + i],
                     to_weight = sums[c + i] * inverse, count = (double)pixels;
        of_dy[i] = (float)scale;
        plus[i] = (float)(-scale * sums[i] / count);
        of_x[i] = (float)(-scale * inverse * to_weight / count);
        dbias[i] = (float)sums[i];
        dweight[i] = (float)to_weight;
    }
    bc_parallel(trainer->threads, PARTS, gradient_part, &n);
    return BC_OK;
}
