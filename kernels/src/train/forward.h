/* forward.h: the forward pass of a convolution whose input are floats. */
#ifndef BC_TRAIN_FORWARD_H
#define BC_TRAIN_FORWARD_H

#include "train.h"

/* alpha NULL: w are floats, else signs. */
bc_status bc_float_forward(bc_trainer *trainer, const train_conv *c, const float *x, const float *w,
                           const float *alpha, float *y, bc_error *error);

#endif
