/* forward.c: y = alpha * (x conv w), all x and w +-1, by the kernels that run packed files.
 *
 *  1. pack: one task an image writes the bits of x into an image with a border of 0 bits (+1)
 *  2. a window's row of kw pixels is kw c_in consecutive bits of that image: `kh` taps of `inner`
 * words each, in place where c_in fills words, else copied
 *  3. acc = K - 2 popcount(x ^ w) - sum of w under outside taps = base - 2 pop; base depends on the
 * filter and on which taps are outside, so on a class of rows and a class of columns
 */
#include "forward.h"

#include <string.h>

enum { CHUNK = 192 }; /* pixels per call of the product */

typedef struct forward {
    const bc_trainer *trainer;
    const train_conv *c;
    const float *x, *input, *alpha, *zeros;
    float *y;
    char *bits;
    uint64_t *panels;
    int32_t *base; /* [row class][column class][c_out] */
    const uint32_t *row_class, *col_class;
    size_t col_classes, inner;
    char *thread_memory;
    size_t thread_bytes;
} forward;

static size_t inner_words(const train_conv *c) {
    return bc_words(c->kw * c->c_in);
}

/* w: [c_out][kh][kw c_in] floats -> [c_out / 8][kh inner][8] words, bit 1 = negative */
static void pack_weights(const train_conv *c, const float *w, uint64_t *panels) {
    size_t inner = inner_words(c), row = c->kw * c->c_in;
    memset(panels, 0, c->c_out * c->kh * inner * 8);
    for (size_t o = 0; o < c->c_out; o++)
        for (size_t ky = 0; ky < c->kh; ky++)
            for (size_t i = 0; i < row; i++)
                if (w[(o * c->kh + ky) * row + i] < 0)
                    panels[((o / 8 * c->kh + ky) * inner + i / 64) * 8 + o % 8] |= (uint64_t)1
                                                                                   << i % 64;
}

/* Numbers runs of output indices whose windows have the same taps inside; returns how many. */
static size_t classes(size_t out, size_t s, size_t k, size_t pad, size_t size, uint32_t *class) {
    size_t count = 0;
    for (size_t o = 0; o < out; o++) {
        bool same = o > 0;
        for (size_t t = 0; t < k && same; t++)
            same = bc_train_inside(o, s, t, pad, size) == bc_train_inside(o - 1, s, t, pad, size);
        count += !same;
        class[o] = (uint32_t)(count - 1);
    }
    return count;
}

static void make_base(const forward *f, const float *w) {
    const train_conv *c = f->c;
    for (size_t oy = 0; oy < c->oh; oy++) {
        if (oy && f->row_class[oy] == f->row_class[oy - 1])
            continue;
        for (size_t ox = 0; ox < c->ow; ox++) {
            if (ox && f->col_class[ox] == f->col_class[ox - 1])
                continue;
            int32_t *base =
                f->base + (f->row_class[oy] * f->col_classes + f->col_class[ox]) * c->c_out;
            for (size_t o = 0; o < c->c_out; o++) {
                base[o] = (int32_t)c->k;
                for (size_t t = 0; t < c->taps; t++) {
                    if (bc_train_inside(oy, c->sh, t / c->kw, c->ph, c->h) &&
                        bc_train_inside(ox, c->sw, t % c->kw, c->pw, c->w))
                        continue;
                    const float *tap = w + (o * c->taps + t) * c->c_in;
                    for (size_t i = 0; i < c->c_in; i++)
                        base[o] -= tap[i] < 0 ? -1 : 1;
                }
            }
        }
    }
}

void bc_pack_image(const bc_trainer *trainer, const train_conv *c, const float *x,
                   const float *input, size_t image, char *bits) {
    bits += image * c->image_bytes;
    memset(bits, 0, c->image_bytes);
    for (size_t y = 0; y < c->h; y++) {
        size_t at = (y + c->ph) * c->padded_w + c->pw;
        const bc_row_step
            load = {.op = BC_ROW_LOAD, .x = x + (image * c->h + y) * c->w * c->c_in, .ld = c->c_in},
            sign = {.op = BC_ROW_SIGN, .to = bits + at * c->pixel_bytes, .ld = c->pixel_bytes},
            affine = {.op = BC_ROW_AFFINE, .scale = input, .bias = input ? input + c->c_in : NULL};
        const bc_row_step steps[] = {load, input ? affine : sign, sign};
        trainer->kernels->steps(c->w, c->c_in, steps, input ? 3 : 2);
    }
}

/* What windows see of each row of an image, `inner` words for each output column: in place where
 * pixels fill words, else copied to `words`, [padded_h][ow][inner]. Returns the first; `row` and
 * `column` are the words from one to the next. */
static const uint64_t *window_rows(const forward *f, const char *image, uint64_t *words,
                                   size_t *row, size_t *column) {
    const train_conv *c = f->c;
    const size_t tail = c->kw * c->c_in % 64, step = c->sw * c->pixel_bytes;
    const uint64_t last = tail ? ((uint64_t)1 << tail) - 1 : ~(uint64_t)0;
    if (c->c_in % 64 == 0) {
        *row = c->padded_w * c->pixel_bytes / 8;
        *column = step / 8;
        return (const uint64_t *)(const void *)image;
    }
    *row = c->ow * f->inner;
    *column = f->inner;
    uint64_t *to = words;
    for (size_t y = 0; y < c->padded_h; y++) {
        const char *from = image + y * c->padded_w * c->pixel_bytes;
        for (size_t x = 0; x < c->ow; x++, from += step, to += f->inner) {
            for (size_t i = 0; i < f->inner; i++)
                memcpy(to + i, from + i * 8, 8);
            to[f->inner - 1] &= last;
        }
    }
    return words;
}

static void forward_image(const void *context, size_t image, size_t thread) {
    const forward *f = context;
    const train_conv *c = f->c;
    const bc_kernels *k = f->trainer->kernels;
    char *memory = f->thread_memory + thread * f->thread_bytes;
    const uint64_t **rows = (const uint64_t **)(void *)memory;
    const int32_t **base = (const int32_t **)(void *)(rows + CHUNK * c->kh);
    int32_t *pop = (int32_t *)(void *)(base + CHUNK);
    size_t row, column;
    bc_pack_image(f->trainer, c, f->x, f->input, image, f->bits);
    const uint64_t *seen = window_rows(f, f->bits + image * c->image_bytes,
                                       (uint64_t *)(void *)(pop + CHUNK * c->c_out), &row, &column);
    for (size_t p0 = 0; p0 < c->oh * c->ow; p0 += CHUNK) {
        size_t m = bc_min(CHUNK, c->oh * c->ow - p0);
        for (size_t p = 0, oy = p0 / c->ow, ox = p0 % c->ow; p < m; p++) {
            const uint64_t *from = seen + oy * c->sh * row + ox * column;
            for (size_t ky = 0; ky < c->kh; ky++)
                rows[p * c->kh + ky] = from + ky * row;
            base[p] = f->base + (f->row_class[oy] * f->col_classes + f->col_class[ox]) * c->c_out;
            if (++ox == c->ow) {
                ox = 0;
                oy++;
            }
        }
        k->bgemm(m, c->c_out / 8, c->kh, f->inner, rows, 0, f->panels, pop, c->c_out);
        const bc_row_step steps[] = {{.op = BC_ROW_POP, .x = pop, .base = base, .ld = c->c_out},
                                     {.op = BC_ROW_AFFINE, .scale = f->alpha, .bias = f->zeros},
                                     {.op = BC_ROW_STORE,
                                      .to = f->y + (image * c->oh * c->ow + p0) * c->c_out,
                                      .ld = c->c_out}};
        k->steps(m, c->c_out, steps, 3);
    }
}

bc_status bc_train_forward(bc_trainer *trainer, const bc_conv *conv, const float *x,
                           const float *input, const float *w, const float *alpha, float *y,
                           void *bits, bc_error *error) {
    train_conv c;
    if (!trainer || !conv || !x || !w || !y || (!bits && input) || !bc_train_conv(conv, &c))
        return bc_fail(error, BC_ERR_ARGUMENT, -1,
                       "a null pointer, or a convolution that is not supported");
    if ((uintptr_t)bits % sizeof(uint64_t))
        return bc_fail(error, BC_ERR_ARGUMENT, -1, "bits must begin at a multiple of 8 bytes");
    if (!bits)
        return bc_float_forward(trainer, &c, x, w, alpha, y, error);
    if (!alpha)
        return bc_lookup_forward(trainer, &c, x, input, w, y, bits, error);
    size_t inner = inner_words(&c);
    size_t max_classes = (2 * c.kh + 1) * (2 * c.kw + 1);
    size_t panel_bytes = bc_round_up(c.c_out * c.kh * inner * 8, 64),
           base_bytes = bc_round_up(max_classes * c.c_out * 4, 64),
           zero_bytes = bc_round_up(c.c_out * 4, 64),
           class_bytes = bc_round_up((c.oh + c.ow) * 4, 64);
    const size_t word_bytes = c.c_in % 64 ? c.padded_h * c.ow * inner * 8 : 0;
    size_t thread_bytes = bc_round_up(CHUNK * (c.kh * 8 + 8 + c.c_out * 4) + word_bytes, 64);
    char *memory = bc_train_scratch(trainer, panel_bytes + base_bytes + zero_bytes + class_bytes +
                                                 trainer->thread_count * thread_bytes);
    if (!memory)
        return bc_fail(error, BC_ERR_MEMORY, -1, "no memory for a training step's scratch");
    forward f = {.trainer = trainer,
                 .c = &c,
                 .x = x,
                 .input = input,
                 .alpha = alpha,
                 .y = y,
                 .bits = bits,
                 .inner = inner,
                 .thread_bytes = thread_bytes};
    f.panels = (uint64_t *)(void *)memory;
    f.base = (int32_t *)(void *)(memory += panel_bytes);
    f.zeros = (float *)(void *)(memory += base_bytes);
    memset(memory, 0, zero_bytes);
    uint32_t *class = (uint32_t *)(void *)(memory += zero_bytes);
    f.thread_memory = memory + class_bytes;
    f.row_class = class;
    f.col_class = class + c.oh;
    classes(c.oh, c.sh, c.kh, c.ph, c.h, class);
    f.col_classes = classes(c.ow, c.sw, c.kw, c.pw, c.w, class + c.oh);
    pack_weights(&c, w, f.panels);
    make_base(&f, w);
    bc_parallel(trainer->threads, c.n, forward_image, &f);
    return BC_OK;
}
