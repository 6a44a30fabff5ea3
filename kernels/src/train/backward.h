/* backward.h: what the two gradients of a convolution share. */
#ifndef BC_TRAIN_BACKWARD_H
#define BC_TRAIN_BACKWARD_H

#include "float_rows.h"

typedef struct bc_backward {
    const bc_kernels *kernels;
    const train_conv *c;
    const char *bits;   /* of x; NULL: x are floats */
    const float *alpha; /* NULL: w are floats */
    const float *dy, *x;
    const float *input, *center; /* or NULL: of what is signed, and of `sums` */
    bc_estimator estimator;
    float *dx;
    /* of the input's gradient */
    bc_float_rows dy_rows;
    char *panels;             /* weights of all classes, `class_bytes` each */
    size_t high, wide;        /* classes of rows and of columns */
    size_t top, left;         /* rows and columns of dy that lie outside of a window, at most */
    size_t dy_w, class_bytes; /* dy_w: with the border */
    /* of the weights' gradient */
    size_t block;    /* most pixels that are summed together */
    size_t together; /* most images that one call brings */
} bc_backward;

/* Where the parts of one thread's memory begin, each at a cache line; returns what all take. */
static inline size_t bc_lay_out(const size_t *bytes, size_t count, size_t *at) {
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        at[i] = total;
        total += bc_round_up(bytes[i], 64);
    }
    return total;
}

/* ---- input_gradient.c ---- */

void bc_input_gradient_shape(bc_backward *b);
size_t bc_input_gradient_panel_bytes(const bc_backward *b);
/* Of one thread; it must be zero before the first image, and serves the others as it is left. */
size_t bc_input_gradient_bytes(const bc_backward *b);
void bc_input_gradient_weights(const bc_backward *b, const float *w);
/* sums: with an input, [2][c_in], are added to. */
void bc_input_gradient(const bc_backward *b, size_t image, char *memory, double *sums);

/* ---- weight_gradient.c ---- */

size_t bc_weight_gradient_bytes(const bc_backward *b); /* of one thread */
/* Adds to sum [c_out / 16][taps c_in][16] what some images bring. Outside taps count as +1. */
void bc_weight_gradient(const bc_backward *b, size_t image, size_t images, char *memory,
                        float *sum);

/* ---- float_weight_gradient.c: the same where x are floats ---- */

size_t bc_float_weight_gradient_bytes(const bc_backward *b); /* of one thread, zero at first */
/* Outside taps count as 0. */
void bc_float_weight_gradient(const bc_backward *b, size_t image, size_t images, char *memory,
                              float *sum);

#endif
