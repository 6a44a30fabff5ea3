/* check_train_dense.c: dense layers with 1-bit weights equal plain loops, sums of signs exactly,
 * and no instruction set and no number of threads changes a bit. */
#include "check_train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct layer {
    const bc_dense *d;
    bool bits;
    float *x, *w, *alpha, *dy, *seen; /* seen: x, signed where it is */
    float *y, *dx, *dw;
} layer;

/* Whether one number is within rounding of the sum of `count` products. */
static bool sum_is(float got, const float *a, size_t a_step, const float *b, size_t b_step,
                   const float *factor, size_t factor_step, size_t count, float behind,
                   bool exact) {
    double sum = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        const double v = (double)a[i * a_step] * (double)b[i * b_step] *
                         (factor ? (double)factor[i * factor_step] : 1);
        sum += v;
        size += fabs(v);
    }
    if (exact)
        return got == (float)sum * behind;
    return fabs((double)got - sum * (double)behind) <= 1e-5 * size + 1e-7;
}

static bool right(const layer *l) {
    const size_t n = l->d->n, in = l->d->c_in, out = l->d->c_out;
    bool same = true;
    for (size_t s = 0; s < n; s++)
        for (size_t o = 0; o < out; o++)
            same &= sum_is(l->y[s * out + o], l->seen + s * in, 1, l->w + o * in, 1, NULL, 0, in,
                           l->alpha[o], l->bits);
    for (size_t s = 0; s < n; s++)
        for (size_t i = 0; i < in; i++)
            same &= sum_is(l->dx[s * in + i], l->dy + s * out, 1, l->w + i, in, l->alpha, 1, out, 1,
                           false);
    for (size_t o = 0; l->bits && o < out; o++)
        for (size_t i = 0; i < in; i++)
            same &=
                sum_is(l->dw[o * in + i], l->dy + o, out, l->seen + i, in, NULL, 0, n, 1, false);
    return same;
}

static void check_kind(layer *l) {
    const size_t n = l->d->n, in = l->d->c_in, out = l->d->c_out;
    void *x_bits = l->bits ? malloc(bc_train_dense_bits(l->d->n, l->d->c_in)) : NULL,
         *w_bits = malloc(bc_train_dense_bits(l->d->c_out, l->d->c_in));
    float *first = calloc(n * out + n * in + out * in, 4);
    bool known = false;
    for (size_t i = 0; i < n * in; i++)
        l->seen[i] = !l->bits ? l->x[i] : l->x[i] < 0 ? -1.0f : 1.0f;
    for (size_t isa = 0; isa < bc_isa_count(); isa++)
        for (uint32_t threads = 1; threads <= 3 && bc_isa_available(isa); threads++) {
            bc_trainer *trainer;
            bc_error error;
            memset(l->y, 1, (n * out + n * in + out * in) * 4);
            CHECK(bc_trainer_open(threads, bc_isa_name(isa), &trainer, &error) == BC_OK, "open");
            CHECK(bc_train_dense_forward(trainer, l->d, l->x, l->w, l->alpha, l->y, x_bits, w_bits,
                                         &error) == BC_OK &&
                      bc_train_dense_backward(trainer, l->d, x_bits, w_bits, l->alpha, l->dy, l->dx,
                                              l->bits ? l->dw : NULL, &error) == BC_OK,
                  "dense");
            if (!known) {
                CHECK(right(l), "dense %zu x %zu -> %zu, bits %d", n, in, out, l->bits);
                memcpy(first, l->y, (n * out + n * in + out * in) * 4);
                known = true;
            }
            CHECK(!memcmp(first, l->y, (n * out + n * in + out * in) * 4),
                  "dense %zu x %zu -> %zu: %s, %u threads: other bits", n, in, out,
                  bc_isa_name(isa), threads);
            bc_trainer_close(trainer);
        }
    free(first);
    free(x_bits);
    free(w_bits);
}

void check_dense(const bc_dense *d) {
    const size_t n = d->n, in = d->c_in, out = d->c_out;
    layer l = {.d = d,
               .x = floats(n * in, false),
               .w = floats(out * in, true),
               .alpha = floats(out, false),
               .dy = floats(n * out, false),
               .seen = malloc(n * in * 4),
               .y = malloc((n * out + n * in + out * in) * 4)};
    l.dx = l.y + n * out;
    l.dw = l.dx + n * in;
    for (int bits = 0; bits < 2; bits++) {
        l.bits = bits != 0;
        check_kind(&l);
    }
    void *all[] = {l.x, l.w, l.alpha, l.dy, l.seen, l.y};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}
