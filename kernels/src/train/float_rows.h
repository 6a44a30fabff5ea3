/* float_rows.h: rows of float pixels that windows see, and their products with weights of +-1 or of
 * floats. */
#ifndef BC_TRAIN_FLOAT_ROWS_H
#define BC_TRAIN_FLOAT_ROWS_H

#include "train.h"

typedef struct bc_float_rows {
    const bc_kernels *kernels;
    bool signs; /* weights are +-1: pixels become tables of sums that products look up */
    size_t c;   /* channels of a pixel, a multiple of 16 */
} bc_float_rows;

/* Of a pixel in a row, a multiple of 64; of zeros it is all zero bytes. */
size_t bc_float_pixel_bytes(const bc_float_rows *r);

/* `count` pixels without gaps become part of a row, 64-byte aligned. */
void bc_float_pixels(const bc_float_rows *r, size_t count, const float *x, char *row);

/* Of the weights of some taps, for a multiple of 16 of outputs. */
size_t bc_float_weight_bytes(const bc_float_rows *r, size_t taps, size_t outputs);

/* One tap of 16 outputs, that of output f and channel i at w[f * output + i * channel], goes to
 * where it is read: panels of 16 outputs, in them the taps of a window. Returns the place of the
 * next tap. */
char *bc_float_weights(const bc_float_rows *r, const float *w, size_t output, size_t channel,
                       char *to);

/* m pixels of `outputs`, a row of them `ld` after the other: rows pointers each, to `cols` pixels
 * under the taps of a window's row. */
void bc_float_product(const bc_float_rows *r, size_t m, size_t outputs, size_t rows, size_t cols,
                      const void *const *pointers, const char *weights, float *y, size_t ld);

#endif
