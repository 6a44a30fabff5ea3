/* check_train.h: what the checks of training share. */
#ifndef BC_CHECK_TRAIN_H
#define BC_CHECK_TRAIN_H

#include "bincompress_train.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

extern int failures;

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("FAIL: %s:%d: ", __FILE__, __LINE__);                                           \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)

/* Random numbers in [-1, 1], or +-1; to be freed. */
float *floats(size_t count, bool signs);

/* Both passes of a convolution by loops, without alpha in y. alpha: NULL is 1. */
typedef struct plain {
    double *y, *y_size, *dx, *dx_size, *dw,
        *dw_size; /* _size: sums of magnitudes, what rounding is measured by */
} plain;
plain by_loops(const bc_conv *c, size_t oh, size_t ow, const float *x, const float *w,
               const float *alpha, const float *dy);
void free_plain(plain *p);
bool near(const float *x, const double *want, const double *size, size_t count);

/* A convolution: both passes, every instruction set, 1 to 3 threads. */
void check_conv(const bc_conv *c);

/* The same where x or w or both are floats. */
void check_float_conv(const bc_conv *c);

/* A dense layer, of bits and of floats. */
void check_dense(const bc_dense *d);

/* y = prelu(x + before) + after; without shifts they are NULL. */
void check_prelu(size_t pixels, uint32_t c, bool shifts);

/* BatchNorm equals its definition in doubles; `away`: the mean in standard deviations. */
void check_norm(size_t pixels, uint32_t c, float away);

#endif
