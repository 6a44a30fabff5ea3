/* input.c: from the caller's samples to the input value, and from values to floats. */
#include "session.h"

#include <math.h>

/* Element (c, p) of a sample of the caller's. */
static size_t place(const bc_value *v, bc_layout layout, size_t c, size_t p) {
    return layout == BC_NHWC ? p * v->c + c : c * v->pixels + p;
}

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

static bc_status refuse(const bc_value *v, size_t sample, size_t c, size_t p, bc_error *error) {
    return bc_fail(error, BC_ERR_INPUT, -1,
                   "input sample %zu, channel %zu, row %zu, column %zu is not a finite number",
                   sample, c, p / v->w, p % v->w);
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

bc_status bc_input_load(bc_session *session, const bc_input *input, size_t first, size_t n,
                        bc_error *error) {
    const bc_model *model = session->model;
    const bc_value *v = &model->values[model->input];
    const size_t count = (size_t)v->c * v->pixels;
    for (size_t s = 0; s < n; s++) {
        char *to = session->values[model->input] + s * v->bytes;
        const uint8_t *u = (const uint8_t *)input->data + (first + s) * count;
        const float *x = (const float *)input->data + (first + s) * count;
        for (size_t p = 0; p < v->pixels; p++, to += v->pixel_bytes)
            for (size_t c = 0; c < v->c; c++) {
                size_t at = place(v, input->layout, c, p);
                if (input->dtype == BC_U8) {
                    if (v->dtype == BC_U8)
                        ((uint8_t *)to)[c] = u[at];
                    else
                        ((float *)(void *)to)[c] = session->pixel_table[c * 256 + u[at]];
                    continue;
                }
                if (!isfinite(x[at]))
                    return refuse(v, first + s, c, p, error);
                if (v->dtype == BC_U8) { /* undo the normalisation, each operation rounded */
                    float product = x[at] * model->std[c];
                    put(v, to, c, (product + model->mean[c]) * 255.0f);
                } else {
                    put(v, to, c, x[at]);
                }
            }
    }
    return BC_OK;
}

void bc_value_read(const bc_value *v, const char *memory, size_t n, bool channels_last,
                   float *out) {
    const size_t count = (size_t)v->c * v->pixels;
    for (size_t s = 0; s < n; s++, out += count)
        for (size_t p = 0; p < v->pixels; p++, memory += v->pixel_bytes)
            for (size_t c = 0; c < v->c; c++) {
                float x;
                if (v->dtype == BC_F32)
                    x = ((const float *)(const void *)memory)[c];
                else if (v->dtype == BC_U8)
                    x = ((const uint8_t *)memory)[c];
                else
                    x = ((const uint64_t *)(const void *)memory)[c / 64] >> c % 64 & 1 ? -1.0f
                                                                                       : 1.0f;
                out[channels_last ? p * v->c + c : c * v->pixels + p] = x;
            }
}

void bc_value_write(const bc_value *v, char *memory, size_t n, const float *nhwc) {
    for (size_t p = 0; p < n * v->pixels; p++, memory += v->pixel_bytes)
        for (size_t c = 0; c < v->c; c++)
            put(v, memory, c, *nhwc++);
}
