/* check_train: the convolutions of training equal plain loops: sums of signs exactly, gradients
 * within the rounding of float sums; and no instruction set and no number of threads changes a bit.
 */
#include "bincompress_train.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state = 1;
static int failures;

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("FAIL: line %d: ", __LINE__);                                                   \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)

static uint32_t draw(void) {
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

static float *floats(size_t count, bool signs) {
    float *x = malloc(count * sizeof *x);
    for (size_t i = 0; x && i < count; i++)
        x[i] = signs ? (draw() & 1 ? 1.0f : -1.0f) : (float)((int)(draw() % 2001) - 1000) / 1000.0f;
    return x;
}

typedef struct plain {
    double *y, *dx, *dw, *dx_size,
        *dw_size; /* _size: sums of magnitudes, what rounding is measured by */
} plain;

static plain by_loops(const bc_conv *c, size_t oh, size_t ow, const float *x, const float *w,
                      const float *alpha, const float *dy) {
    size_t inputs = (size_t)c->n * c->h * c->w * c->c_in,
           weights = (size_t)c->c_out * c->kh * c->kw * c->c_in;
    plain p = {calloc(c->n * oh * ow * c->c_out, sizeof(double)), calloc(inputs, sizeof(double)),
               calloc(weights, sizeof(double)), calloc(inputs, sizeof(double)),
               calloc(weights, sizeof(double))};
    for (size_t n = 0; n < c->n; n++)
        for (size_t oy = 0; oy < oh; oy++)
            for (size_t ox = 0; ox < ow; ox++)
                for (size_t o = 0; o < c->c_out; o++)
                    for (size_t t = 0; t < (size_t)c->kh * c->kw; t++) {
                        size_t iy = oy * c->sh + t / c->kw - c->ph,
                               ix = ox * c->sw + t % c->kw - c->pw;
                        if (iy >= c->h || ix >= c->w) /* wrapped around, if negative */
                            continue;
                        for (size_t i = 0; i < c->c_in; i++) {
                            size_t out = ((n * oh + oy) * ow + ox) * c->c_out + o;
                            size_t in = ((n * c->h + iy) * c->w + ix) * c->c_in + i;
                            size_t at = (o * c->kh * c->kw + t) * c->c_in + i;
                            p.y[out] += (double)x[in] * (double)w[at];
                            p.dx[in] += (double)(dy[out] * alpha[o]) * (double)w[at];
                            p.dw[at] += (double)dy[out] * (double)x[in];
                            p.dx_size[in] += fabs((double)(dy[out] * alpha[o]));
                            p.dw_size[at] += fabs((double)dy[out]);
                        }
                    }
    return p;
}

static bool near(const float *x, const double *want, const double *size, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)x[i] - want[i]) <= 1e-5 * size[i] + 1e-7))
            return false;
    return true;
}

static void shape(const bc_conv *c) {
    size_t oh = (c->h + 2 * c->ph - c->kh) / c->sh + 1, ow = (c->w + 2 * c->pw - c->kw) / c->sw + 1;
    size_t inputs = (size_t)c->n * c->h * c->w * c->c_in, outputs = c->n * oh * ow * c->c_out,
           weights = (size_t)c->c_out * c->kh * c->kw * c->c_in;
    float *x = floats(inputs, false), *signs = malloc(inputs * 4), *w = floats(weights, true),
          *alpha = floats(c->c_out, false), *dy = floats(outputs, false);
    float *y = malloc(outputs * 4), *dx = malloc(inputs * 4), *dw = malloc(weights * 4);
    float *dx0 = malloc(inputs * 4), *dw0 = malloc(weights * 4);
    for (size_t i = 0; i < inputs; i++) {
        x[i] *= 1.5f; /* on both sides of the estimators' bounds, and 0 */
        signs[i] = x[i] < 0 ? -1.0f : 1.0f;
    }
    plain p = by_loops(c, oh, ow, signs, w, alpha, dy);
    void *bits = malloc(bc_train_bits(c));
    bool first = true;
    for (size_t isa = 0; isa < bc_isa_count(); isa++)
        for (uint32_t threads = 1; threads <= 3 && bc_isa_available(isa); threads++) {
            bc_trainer *trainer;
            bc_error error;
            CHECK(bc_trainer_open(threads, bc_isa_name(isa), &trainer, &error) == BC_OK, "open");
            CHECK(bc_train_forward(trainer, c, x, w, alpha, y, bits, &error) == BC_OK, "forward");
            bool exact = true;
            for (size_t i = 0; i < outputs; i++)
                exact &= y[i] == (float)p.y[i] * alpha[i % c->c_out];
            CHECK(exact, "%s: y of %ux%ux%u -> %u, kernel %u", bc_isa_name(isa), c->h, c->w,
                  c->c_in, c->c_out, c->kh);
            memset(dx, 1, inputs * 4);
            CHECK(bc_train_backward(trainer, c, bits, w, alpha, dy, NULL, BC_IDENTITY, dx, dw,
                                    &error) == BC_OK,
                  "backward");
            if (first) {
                CHECK(near(dx, p.dx, p.dx_size, inputs), "dx of %ux%ux%u, kernel %u", c->h, c->w,
                      c->c_in, c->kh);
                CHECK(near(dw, p.dw, p.dw_size, weights), "dw of %ux%ux%u, kernel %u", c->h, c->w,
                      c->c_in, c->kh);
                memcpy(dx0, dx, inputs * 4);
                memcpy(dw0, dw, weights * 4);
                first = false;
            }
            CHECK(!memcmp(dx, dx0, inputs * 4) && !memcmp(dw, dw0, weights * 4),
                  "%s, %u threads: other bits", bc_isa_name(isa), threads);
            CHECK(bc_train_backward(trainer, c, bits, w, alpha, dy, NULL, BC_IDENTITY, NULL, dw,
                                    &error) == BC_OK,
                  "without dx");
            CHECK(!memcmp(dw, dw0, weights * 4), "dw depends on dx");
            for (bc_estimator e = BC_STE; e <= BC_APPROXSIGN; e++) {
                CHECK(bc_train_backward(trainer, c, bits, w, alpha, dy, x, e, dx, dw, &error) ==
                          BC_OK,
                      "estimator");
                bool same = true;
                for (size_t k = 0; k < inputs; k++) {
                    float slope =
                        e == BC_STE ? (float)(fabsf(x[k]) <= 1) : fmaxf(0, 2 - 2 * fabsf(x[k]));
                    same &= dx[k] == dx0[k] * slope;
                }
                CHECK(same, "%s: estimator %d", bc_isa_name(isa), (int)e);
            }
            bc_trainer_close(trainer);
        }
    void *all[] = {x,   signs, w,    alpha, dy,   y,    dx,        dw,
                   dx0, dw0,   bits, p.y,   p.dx, p.dw, p.dx_size, p.dw_size};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static void prelu(size_t pixels, uint32_t c) {
    size_t count = pixels * c;
    float *x = floats(count, false), *slope = floats(c, false), *dy = floats(count, false);
    float *y = malloc(count * 4), *dx = malloc(count * 4), *dslope = malloc(c * 4),
          *first = malloc(c * 4);
    x[0] = 0;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        bc_trainer *trainer;
        bc_error error;
        CHECK(bc_trainer_open(threads, NULL, &trainer, &error) == BC_OK, "open");
        CHECK(bc_train_prelu_forward(trainer, pixels, c, x, slope, y, &error) == BC_OK, "prelu");
        CHECK(bc_train_prelu_backward(trainer, pixels, c, x, slope, dy, dx, dslope, &error) ==
                  BC_OK,
              "prelu");
        bool same = true;
        for (size_t i = 0; i < count; i++)
            same &= y[i] == (x[i] >= 0 ? x[i] : x[i] * slope[i % c]) &&
                    dx[i] == (x[i] > 0 ? dy[i] : dy[i] * slope[i % c]);
        for (size_t i = 0; i < c; i++) {
            double sum = 0, size = 0;
            for (size_t k = i; k < count; k += c) {
                sum += x[k] < 0 ? (double)x[k] * (double)dy[k] : 0;
                size += fabs((double)x[k] * (double)dy[k]);
            }
            same &= fabs((double)dslope[i] - sum) <= 1e-5 * size + 1e-7;
        }
        CHECK(same, "prelu of %zu x %u", pixels, c);
        if (threads == 1)
            memcpy(first, dslope, c * 4);
        CHECK(!memcmp(first, dslope, c * 4), "prelu: %u threads, other bits", threads);
        bc_trainer_close(trainer);
    }
    void *all[] = {x, slope, dy, y, dx, dslope, first};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static void refused(void) {
    const bc_conv bad[] = {
        {.n = 1, .h = 4, .w = 4, .c_in = 8, .c_out = 16, .kh = 3, .kw = 3, .sh = 1, .sw = 1},
        {.n = 1, .h = 4, .w = 4, .c_in = 16, .c_out = 20, .kh = 3, .kw = 3, .sh = 1, .sw = 1},
        {.n = 0, .h = 4, .w = 4, .c_in = 16, .c_out = 16, .kh = 3, .kw = 3, .sh = 1, .sw = 1},
        {.n = 1, .h = 2, .w = 4, .c_in = 16, .c_out = 16, .kh = 3, .kw = 3, .sh = 1, .sw = 1},
        {.n = 1, .h = 4, .w = 4, .c_in = 16, .c_out = 16, .kh = 3, .kw = 3, .sh = 0, .sw = 1},
        {.n = 1,
         .h = 4,
         .w = 4,
         .c_in = 16,
         .c_out = 16,
         .kh = 3,
         .kw = 3,
         .sh = 1,
         .sw = 1,
         .ph = 3},
    };
    bc_trainer *trainer;
    bc_error error;
    CHECK(bc_trainer_open(1, "scalar", &trainer, &error) == BC_OK, "open");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        float x[1];
        CHECK(bc_train_bits(&bad[i]) == 0, "shape %zu is not supported", i);
        CHECK(bc_train_forward(trainer, &bad[i], x, x, x, x, x, &error) == BC_ERR_ARGUMENT,
              "shape %zu", i);
        CHECK(bc_train_backward(trainer, &bad[i], x, x, x, x, x, BC_STE, x, x, &error) ==
                  BC_ERR_ARGUMENT,
              "shape %zu", i);
    }
    const bc_conv good = {
        .n = 1, .h = 1, .w = 1, .c_in = 16, .c_out = 16, .kh = 1, .kw = 1, .sh = 1, .sw = 1};
    float x[256] = {0}, y[256];
    uint64_t *bits = malloc(bc_train_bits(&good) + 8);
    CHECK(bc_train_forward(trainer, &good, x, x, x, y, (char *)bits + 4, &error) == BC_ERR_ARGUMENT,
          "bits anywhere");
    CHECK(bc_train_forward(trainer, &good, x, x, x, y, bits, &error) == BC_OK, "bits");
    CHECK(bc_train_backward(trainer, &good, bits, x, x, x, x, (bc_estimator)3, NULL, y, &error) ==
              BC_ERR_ARGUMENT,
          "an unknown estimator");
    const float odd[4] = {NAN, INFINITY, -INFINITY, -2}, slope[4] = {0.5f, 0.5f, 0.5f, 0.5f};
    CHECK(bc_train_prelu_forward(trainer, 1, 4, odd, slope, y, &error) == BC_OK && isnan(y[0]) &&
              y[1] == INFINITY && y[2] == -INFINITY && y[3] == -1,
          "prelu hides what is not a number");
    free(bits);
    bc_trainer_close(trainer);
    bc_trainer_close(NULL);
    CHECK(bc_trainer_open(1, "none", &trainer, &error) == BC_ERR_ISA && !trainer,
          "an unknown instruction set");
    CHECK(bc_trainer_open(1000, NULL, &trainer, &error) == BC_ERR_ARGUMENT, "too many threads");
}

int main(void) {
    /* n, h, w, c_in, c_out, kh, kw, sh, sw, ph, pw */
    const bc_conv shapes[] = {
        {3, 7, 5, 16, 16, 3, 3, 1, 1, 1, 1}, {9, 8, 8, 32, 16, 3, 3, 2, 2, 1, 1},
        {2, 9, 7, 48, 32, 5, 5, 2, 2, 2, 2}, {1, 6, 6, 64, 64, 1, 1, 1, 1, 0, 0},
        {1, 7, 7, 64, 32, 1, 1, 2, 2, 0, 0}, {2, 8, 8, 128, 64, 3, 3, 1, 1, 1, 1},
        {4, 9, 9, 80, 16, 3, 3, 3, 3, 0, 0}, {2, 6, 6, 16, 16, 2, 2, 2, 2, 1, 1},
        {2, 5, 5, 16, 16, 4, 4, 1, 1, 3, 3}, {1, 1, 70, 32, 16, 1, 1, 1, 1, 0, 0},
        {2, 6, 9, 32, 48, 3, 5, 2, 1, 1, 2}, {1, 30, 30, 16, 32, 3, 3, 1, 1, 1, 1},
        {1, 3, 3, 16, 16, 3, 3, 1, 1, 0, 0}, {1, 1, 1, 16, 16, 1, 1, 1, 1, 0, 0},
        {1, 5, 6, 16, 16, 3, 3, 4, 4, 1, 1}, {1, 5, 6, 16, 16, 3, 3, 30000, 32768, 1, 1},
        {1, 1, 2, 16, 16, 5, 5, 4, 3, 4, 3},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        shape(&shapes[i]);
    prelu(1, 1);
    prelu(31, 3);
    prelu(1000, 16);
    refused();
    printf("%zu shapes, %d failures\n", sizeof shapes / sizeof *shapes, failures);
    return failures != 0;
}
