/* bincompress_train.h: the layers of a 1-bit network while it is trained.
 *
 * The same kernels that run a packed file do the forward pass of its convolutions, so what is
 * trained is computed as it will be shipped; the two gradients are sums of floats with signs.
 * Activations and weights are +-1, or one of the two, everything is NHWC float32.
 *
 *     y[n, oy, ox, o] = alpha[o] * sum over ky, kx, c of
 *                           x[n, oy sh + ky - ph, ox sw + kx - pw, c] * w[o, ky, kx, c]
 *     dx              = its gradient to x, with alpha
 *     dw[o, ky, kx, c] = its gradient to w, without alpha
 *
 * Outside taps count as 0. A bc_trainer has a pool of threads and scratch memory; one thread at a
 * time may use it. The number of threads never changes a bit of any result.
 */
#ifndef BINCOMPRESS_TRAIN_H
#define BINCOMPRESS_TRAIN_H

#include "bincompress.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bc_trainer bc_trainer;

typedef struct bc_conv {
    uint32_t n, h, w, c_in;  /* input; c_in a multiple of 16 */
    uint32_t c_out, kh, kw;  /* filters; c_out a multiple of 16 */
    uint32_t sh, sw, ph, pw; /* stride, padding on each side (smaller than the kernel) */
} bc_conv;

/* threads: 0 or 1 is the calling thread alone. isa: NULL is the fastest, else a name as BC_ISA
 * knows it. */
BC_API bc_status bc_trainer_open(uint32_t threads, const char *isa, bc_trainer **trainer,
                                 bc_error *error);
BC_API void bc_trainer_close(bc_trainer *trainer);

/* Bytes of the packed input that the forward pass leaves for the backward pass; 0 for a shape that
 * is not supported. */
BC_API uint64_t bc_train_bits(const bc_conv *conv);

/* x: [n][h][w][c_in], negative is -1; input: [2][c_in], scale and shift of the channels of x on
 * the way to the sign, so that x * scale + shift is what is signed, or NULL; w:
 * [c_out][kh][kw][c_in] of signs; alpha: [c_out]; y: [n][oh][ow][c_out]; bits: bc_train_bits(conv)
 * bytes at an address that 8 divides, written.
 * Without alpha, NULL, w are not signs but floats, and alpha is 1 everywhere. Without bits, NULL, x
 * is not signed, and there is no input. */
BC_API bc_status bc_train_forward(bc_trainer *trainer, const bc_conv *conv, const float *x,
                                  const float *input, const float *w, const float *alpha, float *y,
                                  void *bits, bc_error *error);

/* What stands in for the derivative of the sign that x went through. */
typedef enum bc_estimator {
    BC_IDENTITY = 0,   /* 1 */
    BC_STE = 1,        /* 1 where |x| <= 1, else 0 */
    BC_APPROXSIGN = 2, /* max(0, 2 - 2 |x|) */
} bc_estimator;

/* bits: from the forward pass, or NULL as there; alpha may be NULL as there; dy:
 * [n][oh][ow][c_out]; dx: as x, or NULL; dw: as w. dx is multiplied with the estimator's value at
 * what was signed; so with input it is the gradient to that, not to x. Without bits the estimator
 * is BC_IDENTITY; with them x may be NULL for it without input. sums: with input, [2][c_in]: of dx,
 * and of dx * (x - center), over all pixels; center: [c_in]. */
BC_API bc_status bc_train_backward(bc_trainer *trainer, const bc_conv *conv, const void *bits,
                                   const float *w, const float *alpha, const float *dy,
                                   const float *x, const float *input, const float *center,
                                   bc_estimator estimator, float *dx, double *sums, float *dw,
                                   bc_error *error);

/* A dense layer: y = alpha * (x w^T), x [n][c_in], w [c_out][c_in] of signs, y [n][c_out]. */
typedef struct bc_dense {
    uint32_t n, c_in, c_out; /* c_in and c_out multiples of 16 */
} bc_dense;

/* Bytes of a matrix of signs that the forward pass leaves for the backward pass. */
BC_API uint64_t bc_train_dense_bits(uint32_t rows, uint32_t c);

/* x_bits, w_bits: bc_train_dense_bits of x and of w at addresses that 8 divides, written. Without
 * x_bits, NULL, x is not signed. */
BC_API bc_status bc_train_dense_forward(bc_trainer *trainer, const bc_dense *dense, const float *x,
                                        const float *w, const float *alpha, float *y, void *x_bits,
                                        void *w_bits, bc_error *error);

/* dx: [n][c_in], or NULL; dw: as w, to it without alpha, of an x that was signed, or NULL. */
BC_API bc_status bc_train_dense_backward(bc_trainer *trainer, const bc_dense *dense,
                                         const void *x_bits, const void *w_bits, const float *alpha,
                                         const float *dy, float *dx, float *dw, bc_error *error);

/* PReLU between two shifts over rows of c channels, each of which may be NULL, 0: with v = x +
 * before, y = (v >= 0 ? v : v * slope) + after; dx = v > 0 ? dy : dy * slope. grads: [3][c], of the
 * slope, of `before` and of `after`. */
BC_API bc_status bc_train_prelu_forward(bc_trainer *trainer, uint64_t pixels, uint32_t c,
                                        const float *x, const float *slope, const float *before,
                                        const float *after, float *y, bc_error *error);
BC_API bc_status bc_train_prelu_backward(bc_trainer *trainer, uint64_t pixels, uint32_t c,
                                         const float *x, const float *slope, const float *before,
                                         const float *dy, float *dx, float *grads, bc_error *error);

/* BatchNorm over rows of c channels, c floats each; weight and bias may be NULL, and both running
 * averages, which are moved by `momentum` towards the batch's mean and unbiased variance. */
typedef struct bc_norm {
    const float *weight, *bias;
    float *running_mean, *running_var;
    float eps, momentum;
    uint32_t relu; /* not 0: of a forward pass, ReLU behind it */
} bc_norm;

/* y = x * scale + shift (+ addend, unless NULL), with norm->relu 0 where that is below 0; or
 * nothing, if y is NULL. stats: [4][c], written: mean, 1 / standard deviation, scale, shift. */
BC_API bc_status bc_train_norm_forward(bc_trainer *trainer, uint64_t pixels, uint32_t c,
                                       const bc_norm *norm, const float *x, const float *addend,
                                       float *y, float *stats, bc_error *error);

/* stats: from the forward pass; sums: of bc_train_backward around its mean, or NULL; dx may be dy.
 */
BC_API bc_status bc_train_norm_backward(bc_trainer *trainer, uint64_t pixels, uint32_t c,
                                        const float *x, const float *stats, const float *dy,
                                        const double *sums, float *dx, float *dweight, float *dbias,
                                        bc_error *error);

#ifdef __cplusplus
}
#endif
#endif
