/* input.c: from the caller's samples to the input value, and from values to floats. */
#include "session.h"
#include "isa/simd.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum { LOAD_ELEMENTS = 1 << 14 /* per task */, COLOURS = 3 };

bc_status bc_input_prepare(bc_session *session, const bc_input *input, bc_error *error) {
    const bc_model *model = session->model;
    const bc_value *v = &model->values[model->input];
    if (!input->data || input->dtype < BC_F32 || input->dtype > BC_U8 || input->layout < BC_NCHW ||
        input->layout > BC_NHWC)
        return bc_fail(error, BC_ERR_ARGUMENT, -1,
                       "input: data is NULL, or dtype or layout unknown");
    if (v->dtype == BC_BITS ? input->dtype == BC_U8
                            : input->dtype != v->dtype && !model->norm_count)
        return bc_fail(error, BC_ERR_INPUT, -1,
                       "the model has no normalisation to take %s input; give it %s",
                       input->dtype == BC_U8 ? "raw pixels as" : "floats as",
                       input->dtype == BC_U8 ? "floats" : "raw pixels");
    return BC_OK;
}

static uint8_t to_pixel(float x) {
    x = rintf(x);
    return (uint8_t)(x > 0 ? x < 255 ? x : 255 : 0); /* NaN gives 0 */
}

/* Writes channel c of a pixel; channels in ascending order, so that bit 0 of a word clears what was
 * there. */
static void put(const bc_value *v, char *pixel, size_t c, float x) {
    if (v->dtype == BC_F32) {
        ((float *)(void *)pixel)[c] = x;
    } else if (v->dtype == BC_U8) {
        ((uint8_t *)pixel)[c] = to_pixel(x);
    } else {
        uint64_t *word = (uint64_t *)(void *)pixel + c / 64;
        *word = (c % 64 ? *word : 0) | (uint64_t)(x < 0) << c % 64;
    }
}

/* Whether an exponent of all ones occurs; without a branch per number, so that it costs little. */
static bool all_finite(const float *x, size_t count) {
    uint32_t found = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        found |= (uint32_t)((bits & 0x7f800000u) == 0x7f800000u);
    }
    return !found;
}

static bc_status refuse(const bc_value *v, bc_layout layout, size_t sample, const float *x,
                        bc_error *error) {
    size_t at = 0;
    while (isfinite(x[at]))
        at++;
    size_t p = layout == BC_NHWC ? at / v->c : at % v->pixels;
    size_t c = layout == BC_NHWC ? at % v->c : at / v->pixels;
    return bc_fail(error, BC_ERR_INPUT, -1,
                   "input sample %zu, channel %zu, row %zu, column %zu is not a finite number",
                   sample, c, p / v->w, p % v->w);
}

/* Samples on their way in. Element (c, p) of one lies at c * sc + p * sp. */
typedef struct loading {
    const bc_session *session;
    const bc_input *input;
    const bc_value *v;
    size_t first, sc, sp;
    atomic_bool *refused;
} loading;

/* Raw pixels of three colours become floats one after the other: each line is written at once, and
 * not in three passes. */
static void load_colours(const loading *l, const uint8_t *u, size_t count, float *y) {
    const float *table = l->session->pixel_table;
    const size_t sc = l->sc, sp = l->sp;
    for (size_t p = 0; p < count; p++, u += sp, y += COLOURS) {
        y[0] = table[u[0]];
        y[1] = table[256 + u[sc]];
        y[2] = table[512 + u[2 * sc]];
    }
}

/* `count` raw pixels from u on. */
static void load_pixels(const loading *l, const uint8_t *u, size_t count, char *to) {
    const bc_value *v = l->v;
    if (v->dtype == BC_U8 && l->sc == 1) {
        memcpy(to, u, count * v->c);
        return;
    }
    if (v->dtype == BC_F32 && v->c == COLOURS) {
        load_colours(l, u, count, (float *)(void *)to);
        return;
    }
    for (size_t c = 0; c < v->c; c++, u += l->sc) {
        if (v->dtype == BC_U8) {
            uint8_t *y = (uint8_t *)to + c;
            for (size_t p = 0; p < count; p++)
                y[p * v->c] = u[p * l->sp];
        } else {
            const float *table = l->session->pixel_table + c * 256;
            float *y = (float *)(void *)to + c;
            for (size_t p = 0; p < count; p++)
                y[p * v->c] = table[u[p * l->sp]];
        }
    }
}

/* The same of floats; raw pixels undo the normalisation, each operation rounded. */
static void load_floats(const loading *l, const float *x, size_t count, char *to) {
    const bc_model *model = l->session->model;
    const bc_value *v = l->v;
    if (v->dtype == BC_F32 && l->sc == 1) {
        memcpy(to, x, count * v->c * sizeof *x);
        return;
    }
    for (size_t c = 0; c < v->c; c++, x += l->sc) {
        if (v->dtype == BC_F32) {
            float *y = (float *)(void *)to + c;
            for (size_t p = 0; p < count; p++)
                y[p * v->c] = x[p * l->sp];
            continue;
        }
        for (size_t p = 0; p < count; p++) {
            float y = x[p * l->sp];
            if (v->dtype == BC_U8) {
                y = y * model->std[c];
                y = (y + model->mean[c]) * 255.0f;
            }
            put(v, to + p * v->pixel_bytes, c, y);
        }
    }
}

/* Whether the numbers of a row are finite, of all its channels. */
static bool row_finite(const loading *l, const float *x) {
    const bc_value *v = l->v;
    if (l->sc == 1)
        return all_finite(x, (size_t)v->w * v->c);
    bool finite = true;
    for (size_t c = 0; c < v->c; c++)
        finite &= all_finite(x + c * l->sc, v->w);
    return finite;
}

/* Rows of the images, as what a row becomes stays in L1 while its channels are written one by one.
 */
static void load_rows(const void *context, size_t first, size_t end) {
    const loading *l = context;
    const bc_value *v = l->v;
    const bc_run *run = &l->session->run;
    for (size_t r = first; r < end; r++) {
        size_t row = r; /* of all samples */
        char *to = run->loaded ? bc_copy_row(run, run->loaded, 1, r, &row)
                               : run->values[run->model->input] + r * v->w * v->pixel_bytes;
        if (!to)
            continue;
        const size_t at = (l->first + row / v->h) * v->c * v->pixels + row % v->h * v->w * l->sp;
        /* the row behind it is on its way meanwhile; past the last one it does no harm */
        for (size_t next = 0; next < v->w * v->pixel_bytes; next += BC_LINE)
            BC_PREFETCH_TO(to + v->w * v->pixel_bytes + next);
        if (l->input->dtype == BC_U8) {
            load_pixels(l, (const uint8_t *)l->input->data + at, v->w, to);
            continue;
        }
        const float *x = (const float *)l->input->data + at;
        if (row_finite(l, x))
            load_floats(l, x, v->w, to);
        else
            atomic_store_explicit(l->refused, true, memory_order_relaxed);
    }
}

const bc_node *bc_input_copied(const bc_model *model) {
    const bc_node *first = model->nodes;
    for (size_t n = 0; n < model->node_count; n++)
        for (size_t i = 0; i < model->nodes[n].input_count; i++)
            if (model->nodes[n].inputs[i] == model->input && (n || i))
                return NULL;
    return model->input != model->output && first->input == model->input && first->prep_bytes &&
                   bc_ops[first->op].op == &bc_op_float_product
               ? first
               : NULL;
}

bc_status bc_input_load(bc_session *session, const bc_input *input, size_t first, size_t n,
                        bc_error *error) {
    const bc_value *v = &session->model->values[session->model->input];
    const size_t count = (size_t)v->c * v->pixels;
    /* an image of one pixel is the same in both layouts */
    const bool last = input->layout == BC_NHWC || v->pixels == 1;
    atomic_bool refused = false;
    const loading l = {session, input, v, first, last ? 1 : v->pixels, last ? v->c : 1, &refused};
    const size_t rows = n * (session->run.loaded ? session->run.loaded->copy.h : v->h);
    bc_run_rows(&session->run, rows, (size_t)v->w * v->c, LOAD_ELEMENTS, load_rows, &l);
    for (size_t s = first; refused; s++) {
        const float *x = (const float *)input->data + s * count;
        if (!all_finite(x, count))
            return refuse(v, input->layout, s, x, error);
    }
    return BC_OK;
}

static float get(const bc_value *v, const char *pixel, size_t c) {
    if (v->dtype == BC_F32)
        return ((const float *)(const void *)pixel)[c];
    if (v->dtype == BC_U8)
        return ((const uint8_t *)pixel)[c];
    return ((const uint64_t *)(const void *)pixel)[c / 64] >> c % 64 & 1 ? -1.0f : 1.0f;
}

void bc_value_read(const bc_value *v, const char *memory, size_t n, bool channels_last,
                   float *out) {
    const size_t count = (size_t)v->c * v->pixels;
    const size_t sc = channels_last ? 1 : v->pixels, sp = channels_last ? v->c : 1;
    for (size_t s = 0; s < n; s++, out += count)
        for (size_t p = 0; p < v->pixels; p++, memory += v->pixel_bytes)
            for (size_t c = 0; c < v->c; c++)
                out[c * sc + p * sp] = get(v, memory, c);
}

void bc_value_write(const bc_value *v, char *memory, size_t n, const float *nhwc) {
    for (size_t p = 0; p < n * v->pixels; p++, memory += v->pixel_bytes)
        for (size_t c = 0; c < v->c; c++)
            put(v, memory, c, *nhwc++);
}
