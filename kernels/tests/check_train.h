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

/* A convolution: both passes, every instruction set, 1 to 3 threads. */
void check_conv(const bc_conv *c);

/* y = prelu(x + before) + after; without shifts they are NULL. */
void check_prelu(size_t pixels, uint32_t c, bool shifts);

/* BatchNorm equals its definition in doubles; `away`: the mean in standard deviations. */
void check_norm(size_t pixels, uint32_t c, float away);

#endif
