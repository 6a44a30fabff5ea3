/* forward.h: what the three forward passes share: of bits and signs, of bits and floats, of floats.
 */
#ifndef BC_TRAIN_FORWARD_H
#define BC_TRAIN_FORWARD_H

#include "train.h"

/* forward.c: the bits of an image of x, or of x * scale + shift, in their border of 0 bits (+1). */
void bc_pack_image(const bc_trainer *trainer, const train_conv *c, const float *x,
                   const float *input, size_t image, char *bits);

/* lookup_forward.c: x are bits, w floats. */
bc_status bc_lookup_forward(bc_trainer *trainer, const train_conv *c, const float *x,
                            const float *input, const float *w, float *y, char *bits,
                            bc_error *error);

/* float_forward.c: x are floats; alpha NULL: w are floats, else signs. */
bc_status bc_float_forward(bc_trainer *trainer, const train_conv *c, const float *x, const float *w,
                           const float *alpha, float *y, bc_error *error);

#endif
