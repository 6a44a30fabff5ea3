/* train.h: what the files of src/train share: the shape with everything derived from it, and the
 * scratch memory. */
#ifndef BC_TRAIN_H
#define BC_TRAIN_H

#include "../session.h"
#include "bincompress_train.h"

enum { BC_TRAIN_MAX_KERNEL = 64 }; /* rows or columns */

struct bc_trainer {
    const bc_kernels *kernels;
    bc_threads *threads; /* NULL: only the calling thread */
    size_t thread_count;
    char *scratch;
    size_t scratch_bytes;
};

/* A convolution, with sizes that follow from the caller's. */
typedef struct train_conv {
    size_t n, h, w, c_in, c_out, kh, kw, sh, sw, ph, pw;
    size_t oh, ow;
    size_t padded_h, padded_w; /* of the padded bit image */
    size_t pixel_bytes;        /* of one pixel's bits */
    size_t image_bytes;        /* of one padded bit image */
    size_t taps, k;            /* kh kw, and kh kw c_in */
} train_conv;

/* false if the shape is not supported. */
bool bc_train_conv(const bc_conv *conv, train_conv *full);

/* At least this much scratch memory, 64-byte aligned; NULL if there is none. */
char *bc_train_scratch(bc_trainer *trainer, size_t bytes);

/* Whether tap (ky, kx) of output pixel (oy, ox) lies inside the image. */
static inline bool bc_train_inside(size_t o, size_t s, size_t k, size_t pad, size_t size) {
    size_t at = o * s + k;
    return at >= pad && at < pad + size;
}

#endif
