/* dense.c: dense layers with 1-bit weights while they are trained; rows are the samples of a batch.
 *
 *     y  = alpha * (x w^T)      bits: XOR and popcount; floats: tables of x, 1-bit weights
 *     dx = (alpha dy) w         tables of alpha dy, the same product with w turned round
 *     dw = dy^T x               tables of dy, transposed; x of +-1 are the "weights"
 *
 * The signs of w are packed once, row by row, for both passes. */
#include "train.h"

#include <string.h>

enum {
    ROWS = 12,     /* whose tables are kept at a time: two tiles of tgemm */
    OUTPUTS = 128, /* per product of bits */
    MAX_SIDE = 1 << 24,
    NR = BC_PANEL_FLOAT
};

/* A matrix of signs as bits, each row in whole words. */
typedef struct bits {
    size_t rows, c;
    char *at;
} bits;

static size_t row_bytes(const bits *b) {
    return bc_words(b->c) * 8;
}

typedef struct work {
    const bc_trainer *trainer;
    bits x, w;
    const float *from; /* floats that become bits or tables */
    bits *to;          /* of `from` */
    float *y;          /* [rows][outputs] */
    size_t rows, c, outputs;
    const float *before, *behind; /* factors of columns of `from` and of y, or NULL */
    bool turned;                  /* `from` are columns of [c][rows], not rows of [rows][c] */
    char *panels;                 /* of the product: words of w, or bytes for tgemm */
    int32_t *base;                /* [OUTPUTS] */
    float *zeros;                 /* [OUTPUTS] */
    const uint64_t **list;        /* the rows of x */
    char *thread_memory;
    size_t thread_bytes;
} work;

/* ---- packing ---- */

static void pack_row(const void *context, size_t row, size_t thread) {
    const work *k = context;
    char *to = k->to->at + row * row_bytes(k->to);
    (void)thread;
    memset(to, 0, row_bytes(k->to));
    const bc_row_step steps[] = {{.op = BC_ROW_LOAD, .x = k->from + row * k->to->c, .ld = k->to->c},
                                 {.op = BC_ROW_SIGN, .to = to, .ld = row_bytes(k->to)}};
    k->trainer->kernels->steps(1, k->to->c, steps, 2);
}

static void pack(work *k, const float *from, bits *to) {
    k->from = from;
    k->to = to;
    bc_parallel(k->trainer->threads, to->rows, pack_row, k);
}

/* Words of w for bgemm: [panel][word][8]. */
static void panel_of_words(const void *context, size_t panel, size_t thread) {
    const work *k = context;
    const size_t words = bc_words(k->w.c);
    char *to = k->panels + panel * words * 8 * 8;
    (void)thread;
    for (size_t i = 0; i < words; i++)
        for (size_t f = 0; f < 8; f++, to += 8)
            memcpy(to, k->w.at + ((panel * 8 + f) * words + i) * 8, 8);
}

/* Bits for tgemm, whose sum runs along the rows of `b`: 16 columns to [octet of rows][16]. */
static void turn_columns(const work *k, const bits *b, size_t panel, char *to) {
    uint8_t low[64], high[64];
    for (size_t row = 0; row < b->rows; row += 64) {
        const size_t count = bc_min(64, b->rows - row), octets = (count + 7) / 8;
        memset(low, 0, sizeof low);
        memset(high, 0, sizeof high);
        for (size_t i = 0; i < count; i++) {
            const char *at = b->at + (row + i) * row_bytes(b) + panel * 2;
            low[i] = (uint8_t)at[0];
            high[i] = (uint8_t)at[1];
        }
        k->trainer->kernels->turn_bits(octets, low, high, (uint8_t *)to + row / 8 * NR);
    }
}

static void panel_of_x(const void *context, size_t panel, size_t thread) {
    const work *k = context;
    (void)thread;
    turn_columns(k, &k->x, panel, k->panels + panel * ((k->x.rows + 7) / 8) * NR);
}

static void panel_of_w(const void *context, size_t panel, size_t thread) {
    const work *k = context;
    (void)thread;
    turn_columns(k, &k->w, panel, k->panels + panel * (k->w.rows / 8) * NR);
}

/* The same of w itself, whose sum runs along a row: [16 rows] to [octet][16]. */
static void panel_of_rows(const void *context, size_t panel, size_t thread) {
    const work *k = context;
    const size_t octets = k->w.c / 8;
    char *to = k->panels + panel * octets * NR;
    (void)thread;
    for (size_t f = 0; f < NR; f++) {
        const char *from = k->w.at + (panel * NR + f) * row_bytes(&k->w);
        for (size_t i = 0; i < octets; i++)
            to[i * NR + f] = from[i];
    }
}

/* ---- products ---- */

static void bit_product(const void *context, size_t index, size_t thread) {
    const work *k = context;
    const bc_kernels *of = k->trainer->kernels;
    const size_t o = index * OUTPUTS, count = bc_min(OUTPUTS, k->outputs - o),
                 words = bc_words(k->w.c);
    char *memory = k->thread_memory + thread * k->thread_bytes;
    const int32_t **base = (const int32_t **)(void *)memory;
    int32_t *pop = (int32_t *)(void *)(memory + bc_round_up(k->rows * sizeof *base, 64));
    const uint64_t *panels = (const uint64_t *)(const void *)k->panels + o * words;
    for (size_t i = 0; i < k->rows; i++)
        base[i] = k->base;
    of->bgemm(k->rows, count / 8, 1, words, k->list, 0, panels, pop, count);
    const bc_row_step steps[] = {{.op = BC_ROW_POP, .x = pop, .base = base, .ld = count},
                                 {.op = BC_ROW_AFFINE, .scale = k->behind + o, .bias = k->zeros},
                                 {.op = BC_ROW_STORE, .to = k->y + o, .ld = k->outputs}};
    of->steps(k->rows, count, steps, 3);
}

/* Rows of `from`, as they are, times alpha, or taken out of columns, in floats without gaps. */
static const float *float_rows(const work *k, size_t row, size_t count, float *to) {
    if (k->turned) {
        for (size_t i = 0; i < k->c; i++)
            for (size_t r = 0; r < count; r++)
                to[r * k->c + i] = k->from[i * k->rows + row + r];
        return to;
    }
    const float *from = k->from + row * k->c;
    if (!k->before)
        return from;
    for (size_t r = 0; r < count; r++)
        for (size_t i = 0; i < k->c; i++)
            to[r * k->c + i] = from[r * k->c + i] * k->before[i];
    return to;
}

static void float_product(const void *context, size_t index, size_t thread) {
    const work *k = context;
    const bc_kernels *of = k->trainer->kernels;
    const size_t row = index * ROWS, count = bc_min(ROWS, k->rows - row), octets = (k->c + 7) / 8,
                 bytes = octets * of->ttable_octet;
    char *tables = k->thread_memory + thread * k->thread_bytes;
    const void *list[ROWS];
    for (size_t r = 0; r < count; r++)
        list[r] = tables + r * bytes;
    of->ttable(count, k->c, float_rows(k, row, count, (float *)(void *)(tables + ROWS * bytes)),
               tables);
    float *y = k->y + row * k->outputs;
    of->tgemm(count, k->outputs / NR, 1, octets, list, (const uint8_t *)k->panels, y, k->outputs);
    for (size_t r = 0; k->behind && r < count; r++)
        for (size_t o = 0; o < k->outputs; o++)
            y[r * k->outputs + o] *= k->behind[o];
}

static size_t float_bytes(const work *k, size_t c) {
    return bc_round_up(ROWS * ((c + 7) / 8 * k->trainer->kernels->ttable_octet + c * sizeof(float)),
                       64);
}

/* y [rows][outputs] of rows of c floats, or of columns, and the panels that are ready. */
static void multiply(work *k, const float *from, bool turned, size_t rows, size_t c, size_t outputs,
                     float *y) {
    k->from = from;
    k->turned = turned;
    k->rows = rows;
    k->c = c;
    k->outputs = outputs;
    k->y = y;
    bc_parallel(k->trainer->threads, (rows + ROWS - 1) / ROWS, float_product, k);
}

/* ---- the two passes ---- */

static bool sound(const bc_dense *d) {
    return d->n && d->c_in && d->c_out && d->c_in % 16 == 0 && d->c_out % 16 == 0 &&
           d->n <= MAX_SIDE && d->c_in < MAX_SIDE && d->c_out < MAX_SIDE;
}

uint64_t bc_train_dense_bits(uint32_t rows, uint32_t c) {
    return (uint64_t)rows * bc_words(c) * 8;
}

static bc_status no_memory(bc_error *error) {
    return bc_fail(error, BC_ERR_MEMORY, -1, "no memory for a training step's scratch");
}

static void multiply_bits(work *k, const float *alpha, float *y) {
    bc_parallel(k->trainer->threads, k->w.rows / 8, panel_of_words, k);
    for (size_t i = 0; i < OUTPUTS; i++) {
        k->base[i] = (int32_t)k->w.c;
        k->zeros[i] = 0;
    }
    for (size_t i = 0; i < k->rows; i++)
        k->list[i] = (const uint64_t *)(const void *)(k->x.at + i * row_bytes(&k->x));
    k->behind = alpha;
    k->y = y;
    bc_parallel(k->trainer->threads, (k->outputs + OUTPUTS - 1) / OUTPUTS, bit_product, k);
}

bc_status bc_train_dense_forward(bc_trainer *trainer, const bc_dense *d, const float *x,
                                 const float *w, const float *alpha, float *y, void *x_bits,
                                 void *w_bits, bc_error *error) {
    if (!trainer || !d || !x || !w || !alpha || !y || !w_bits || !sound(d) ||
        (uintptr_t)x_bits % 8 || (uintptr_t)w_bits % 8)
        return bc_fail(error, BC_ERR_ARGUMENT, -1,
                       "a null pointer, bits at an odd address, or a layer that is not supported");
    work k = {.trainer = trainer,
              .x = {d->n, d->c_in, x_bits},
              .w = {d->c_out, d->c_in, w_bits},
              .rows = d->n,
              .outputs = d->c_out};
    const size_t panel_bytes = bc_round_up(d->c_out * row_bytes(&k.w), 64),
                 list_bytes = bc_round_up(d->n * sizeof *k.list, 64);
    k.thread_bytes = x_bits ? bc_round_up(list_bytes + (size_t)d->n * OUTPUTS * 4, 64)
                            : float_bytes(&k, d->c_in);
    char *memory = bc_train_scratch(trainer, panel_bytes + list_bytes + 2 * OUTPUTS * 4 +
                                                 trainer->thread_count * k.thread_bytes);
    if (!memory)
        return no_memory(error);
    k.panels = memory;
    k.list = (const uint64_t **)(void *)(memory += panel_bytes);
    k.base = (int32_t *)(void *)(memory += list_bytes);
    k.zeros = (float *)(void *)(memory += OUTPUTS * 4);
    k.thread_memory = memory + OUTPUTS * 4;
    pack(&k, w, &k.w);
    if (x_bits) {
        pack(&k, x, &k.x);
        multiply_bits(&k, alpha, y);
    } else {
        bc_parallel(trainer->threads, d->c_out / NR, panel_of_rows, &k);
        k.behind = alpha;
        multiply(&k, x, false, d->n, d->c_in, d->c_out, y);
    }
    return BC_OK;
}

bc_status bc_train_dense_backward(bc_trainer *trainer, const bc_dense *d, const void *x_bits,
                                  const void *w_bits, const float *alpha, const float *dy,
                                  float *dx, float *dw, bc_error *error) {
    if (!trainer || !d || !w_bits || !alpha || !dy || !sound(d) || (dw && !x_bits))
        return bc_fail(error, BC_ERR_ARGUMENT, -1,
                       "a null pointer, or a layer that is not supported");
    work k = {.trainer = trainer,
              .x = {d->n, d->c_in, (char *)(uintptr_t)x_bits},
              .w = {d->c_out, d->c_in, (char *)(uintptr_t)w_bits}};
    const size_t octets = (bc_max(d->n, d->c_out) + 7) / 8,
                 panel_bytes = bc_round_up(octets * d->c_in, 64);
    k.thread_bytes = float_bytes(&k, bc_max(d->n, d->c_out));
    char *memory = bc_train_scratch(trainer, panel_bytes + trainer->thread_count * k.thread_bytes);
    if (!memory)
        return no_memory(error);
    k.panels = memory;
    k.thread_memory = memory + panel_bytes;
    if (dx) {
        bc_parallel(trainer->threads, d->c_in / NR, panel_of_w, &k);
        k.before = alpha;
        multiply(&k, dy, false, d->n, d->c_out, d->c_in, dx);
    }
    if (dw) {
        bc_parallel(trainer->threads, d->c_in / NR, panel_of_x, &k);
        k.before = NULL;
        multiply(&k, dy, true, d->c_out, d->n, d->c_in, dw);
    }
    return BC_OK;
}
