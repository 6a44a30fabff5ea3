/* scalar.h: products of scalar.c that an instruction set may begin with; contracts are in
 * internal.h. */
#ifndef BC_ISA_SCALAR_H
#define BC_ISA_SCALAR_H

#include "scalar_weight.h"

void bc_fgemm__scalar(size_t m, size_t n, size_t taps, size_t cin, const float *const *a,
                      const float *w, float *acc, size_t ld, const bc_ahead *ahead);
void bc_igemm__scalar(size_t m, size_t panels, size_t taps, size_t cin, const int16_t *const *a,
                      const uint16_t *w, int32_t *acc, size_t ld);

#define BC_PRODUCTS_SCALAR .fgemm = bc_fgemm__scalar, .igemm = bc_igemm__scalar

#endif
