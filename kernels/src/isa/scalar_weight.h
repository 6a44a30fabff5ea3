/* scalar_weight.h: what scalar.c takes from scalar_weight.c. A new instruction set may begin with
 * these too: a table and its products only have to fit each other. */
#ifndef BC_ISA_SCALAR_WEIGHT_H
#define BC_ISA_SCALAR_WEIGHT_H

#include "../internal.h"

#include <math.h>

void bc_ttable__scalar(size_t rows, size_t c, const float *x, void *table);
void bc_tgemm__scalar(size_t m, size_t panels, size_t taps, size_t octets, const void *const *a,
                      const uint8_t *w, float *acc, size_t ld);
float bc_abs_max__scalar(size_t n, const float *x);
void bc_qtable__scalar(size_t rows, size_t c, const float *x, float by, void *table);
void bc_qgemm__scalar(size_t m, size_t panels, size_t taps, size_t octets, const void *const *a,
                      const uint8_t *w, int32_t *acc, size_t ld);

#define BC_TABLES_SCALAR_I8                                                                        \
    .qtable_octet = 8, .abs_max = bc_abs_max__scalar, .qtable = bc_qtable__scalar,                 \
    .qgemm = bc_qgemm__scalar
#define BC_TABLES_SCALAR                                                                           \
    .ttable_octet = 8 * sizeof(float), .mr_table = 1, .ttable = bc_ttable__scalar,                 \
    .tgemm = bc_tgemm__scalar, BC_TABLES_SCALAR_I8

/* One integer of qtable. A NaN becomes -127. */
static inline int8_t bc_quantize(float x, float by) {
    float t = x * by;
    t = t > -127.0f ? t : -127.0f;
    t = t < 127.0f ? t : 127.0f;
    return (int8_t)rintf(t);
}

#endif
