/* float_rows.c: the two products of float pixels, by tables where weights are +-1, else by
 * multiplication. */
#include "float_rows.h"

#include <string.h>

size_t bc_float_pixel_bytes(const bc_float_rows *r) {
    return r->signs ? r->c / 8 * r->kernels->ttable_octet : r->c * sizeof(float);
}

void bc_float_pixels(const bc_float_rows *r, size_t count, const float *x, char *row) {
    if (r->signs)
        r->kernels->ttable(count, r->c, x, row);
    else
        memcpy(row, x, count * r->c * sizeof *x);
}

size_t bc_float_weight_bytes(const bc_float_rows *r, size_t taps, size_t outputs) {
    return bc_round_up(r->signs ? taps * r->c / 8 * outputs : taps * r->c * outputs * 4, 64);
}

static char *pack_signs(size_t c, const float *w, size_t output, size_t channel, char *to) {
    for (size_t i = 0; i < c; i += 8, to += BC_PANEL_FLOAT)
        for (size_t f = 0; f < BC_PANEL_FLOAT; f++) {
            unsigned byte = 0;
            for (size_t bit = 0; bit < 8; bit++)
                byte |= (unsigned)(w[f * output + (i + bit) * channel] < 0) << bit;
            to[f] = (char)byte;
        }
    return to;
}

static char *pack_floats(size_t c, const float *w, size_t output, size_t channel, char *to) {
    for (size_t i = 0; i < c; i++)
        for (size_t f = 0; f < BC_PANEL_FLOAT; f++, to += sizeof *w)
            memcpy(to, w + f * output + i * channel, sizeof *w);
    return to;
}

char *bc_float_weights(const bc_float_rows *r, const float *w, size_t output, size_t channel,
                       char *to) {
    return (r->signs ? pack_signs : pack_floats)(r->c, w, output, channel, to);
}

void bc_float_product(const bc_float_rows *r, size_t m, size_t outputs, size_t rows, size_t cols,
                      const void *const *pointers, const char *weights, float *y, size_t ld) {
    if (r->signs)
        r->kernels->tgemm(m, outputs / BC_PANEL_FLOAT, rows, cols * r->c / 8, pointers,
                          (const uint8_t *)weights, y, ld);
    else
        r->kernels->fgemm(m, outputs, rows, cols * r->c, (const float *const *)pointers,
                          (const float *)(const void *)weights, y, ld, NULL);
}
