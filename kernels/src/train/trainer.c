/* trainer.c: the trainer object and the sizes of a convolution. */
#include "train.h"

#include <stdlib.h>

enum { MAX_SIDE = 1 << 15, MAX_THREADS = 64 };

bc_status bc_trainer_open(uint32_t threads, const char *isa, bc_trainer **trainer,
                          bc_error *error) {
    if (trainer)
        *trainer = NULL;
    if (!trainer || threads > MAX_THREADS)
        return bc_fail(error, BC_ERR_ARGUMENT, -1,
                       "a trainer needs a place to go and at most %d threads", MAX_THREADS);
    const bc_kernels *kernels = bc_dispatch(isa);
    if (!kernels)
        return bc_fail(error, BC_ERR_ISA, -1, "instruction set %s is unknown or not available here",
                       isa ? isa : "of BC_ISA");
    bc_trainer *made = calloc(1, sizeof *made);
    if (!made)
        return bc_fail(error, BC_ERR_MEMORY, -1, "no memory for a trainer");
    made->kernels = kernels;
    made->thread_count = threads > 1 ? threads : 1;
    if (made->thread_count > 1 && !(made->threads = bc_threads_open(made->thread_count))) {
        free(made);
        return bc_fail(error, BC_ERR_MEMORY, -1, "cannot start %u threads", threads);
    }
    *trainer = made;
    return BC_OK;
}

void bc_trainer_close(bc_trainer *trainer) {
    if (!trainer)
        return;
    if (trainer->threads)
        bc_threads_close(trainer->threads);
    free(trainer->scratch);
    free(trainer);
}

char *bc_train_scratch(bc_trainer *trainer, size_t bytes) {
    if (bytes + 64 > trainer->scratch_bytes) {
        free(trainer->scratch);
        trainer->scratch = malloc(bytes + 64);
        trainer->scratch_bytes = trainer->scratch ? bytes + 64 : 0;
    }
    if (!trainer->scratch)
        return NULL;
    uintptr_t start = (uintptr_t)trainer->scratch;
    return trainer->scratch + (bc_round_up(start, 64) - start);
}

bool bc_train_conv(const bc_conv *conv, train_conv *c) {
    const uint32_t sides[] = {conv->n,  conv->h,  conv->w,  conv->c_in, conv->c_out,
                              conv->kh, conv->kw, conv->sh, conv->sw};
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++)
        if (sides[i] < 1 || sides[i] > MAX_SIDE)
            return false;
    if (conv->kh > BC_TRAIN_MAX_KERNEL || conv->kw > BC_TRAIN_MAX_KERNEL || conv->c_in % 16 ||
        conv->c_out % 16 || conv->ph >= conv->kh || conv->pw >= conv->kw ||
        conv->h + 2 * conv->ph < conv->kh || conv->w + 2 * conv->pw < conv->kw)
        return false;
    *c = (train_conv){.n = conv->n,
                      .h = conv->h,
                      .w = conv->w,
                      .c_in = conv->c_in,
                      .c_out = conv->c_out,
                      .kh = conv->kh,
                      .kw = conv->kw,
                      .sh = conv->sh,
                      .sw = conv->sw,
                      .ph = conv->ph,
                      .pw = conv->pw};
    c->padded_h = c->h + 2 * c->ph;
    c->padded_w = c->w + 2 * c->pw;
    c->oh = (c->padded_h - c->kh) / c->sh + 1;
    c->ow = (c->padded_w - c->kw) / c->sw + 1;
    c->pixel_bytes = c->c_in / 8;
    c->image_bytes = bc_round_up(c->padded_h * c->padded_w * c->pixel_bytes, 64) +
                     64; /* words may be read beyond */
    c->taps = c->kh * c->kw;
    c->k = c->taps * c->c_in;
    /* sums of a filter must be exact in int32 and float32, and every buffer far from overflow */
    return c->k < (size_t)1 << 24 && c->n * c->image_bytes < (size_t)1 << 40;
}

uint64_t bc_train_bits(const bc_conv *conv) {
    train_conv c;
    return conv && bc_train_conv(conv, &c) ? c.n * c.image_bytes : 0;
}
