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

/* What is signed is x * scale + shift: as if it had been made before; and the sums. dx0: the
 * gradient without estimator for weights w and the x given. sums: of each estimator, of the first
 * call. */
static void with_input(bc_trainer *trainer, const bc_conv *c, const float *z, const float *w,
                       const float *alpha, const float *dy, const float *dx0, double *first) {
    const size_t pixels = (size_t)c->n * c->h * c->w, inputs = pixels * c->c_in,
                 weights = (size_t)c->c_out * c->kh * c->kw * c->c_in;
    float *input = malloc(2 * c->c_in * 4), *center = malloc(c->c_in * 4), *x = malloc(inputs * 4),
          *dx = malloc(inputs * 4), *dw = malloc(weights * 4), *made = malloc(inputs * 4);
    size_t oh = (c->h + 2 * c->ph - c->kh) / c->sh + 1, ow = (c->w + 2 * c->pw - c->kw) / c->sw + 1,
           outputs = c->n * oh * ow * c->c_out;
    float *y = malloc(outputs * 4), *want = malloc(outputs * 4);
    void *bits = malloc(bc_train_bits(c)), *want_bits = malloc(bc_train_bits(c));
    double *sums = malloc(2 * c->c_in * sizeof *sums);
    bc_error error;
    for (size_t i = 0; i < c->c_in; i++) {
        input[i] = i % 3 ? 0.75f : -1.5f;
        input[c->c_in + i] = (float)(i % 5) / 4 - 0.5f;
        center[i] = (float)(i % 7) / 8;
    }
    for (size_t i = 0; i < inputs; i++) { /* signs as those of z, on both sides of the bounds */
        const size_t k = i % c->c_in;
        x[i] = (z[i] - input[c->c_in + k]) / input[k];
        made[i] = x[i] * input[k] + input[c->c_in + k];
    }
    CHECK(bc_train_forward(trainer, c, x, input, w, alpha, y, bits, &error) == BC_OK &&
              bc_train_forward(trainer, c, made, NULL, w, alpha, want, want_bits, &error) == BC_OK,
          "forward");
    CHECK(!memcmp(y, want, outputs * 4) && !memcmp(bits, want_bits, bc_train_bits(c)),
          "scale and shift in front of the sign");
    for (bc_estimator e = BC_IDENTITY; e <= BC_APPROXSIGN; e++, first += 2 * c->c_in) {
        CHECK(bc_train_backward(trainer, c, bits, w, alpha, dy, x, input, center, e, dx, sums, dw,
                                &error) == BC_OK,
              "backward");
        bool same = true;
        for (size_t k = 0; k < c->c_in; k++) {
            double sum = 0, product = 0, size = 0;
            for (size_t i = k; i < inputs; i += c->c_in) {
                const float slope = e == BC_IDENTITY ? 1
                                    : e == BC_STE    ? (float)(fabsf(made[i]) <= 1)
                                                     : fmaxf(0, 2 - 2 * fabsf(made[i]));
                same &= dx[i] == dx0[i] * slope;
                sum += (double)dx[i];
                product += (double)dx[i] * ((double)x[i] - (double)center[k]);
                size += fabs((double)dx[i]) * (1 + fabs((double)x[i]));
            }
            same &= fabs(sums[k] - sum) <= 1e-5 * size &&
                    fabs(sums[c->c_in + k] - product) <= 1e-5 * size;
        }
        CHECK(same, "gradient through scale, shift and estimator %d", (int)e);
        bool known = false;
        for (size_t i = 0; i < 2 * c->c_in; i++)
            known |= first[i] != 0;
        if (!known)
            memcpy(first, sums, 2 * c->c_in * sizeof *sums);
        CHECK(!memcmp(first, sums, 2 * c->c_in * sizeof *sums), "other sums");
    }
    void *all[] = {input, center, x, dx, dw, made, y, want, bits, want_bits, sums};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
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
    double *first_sums = calloc(3 * 2 * c->c_in, sizeof *first_sums); /* zeros: none yet */
    for (size_t isa = 0; isa < bc_isa_count(); isa++)
        for (uint32_t threads = 1; threads <= 3 && bc_isa_available(isa); threads++) {
            bc_trainer *trainer;
            bc_error error;
            CHECK(bc_trainer_open(threads, bc_isa_name(isa), &trainer, &error) == BC_OK, "open");
            CHECK(bc_train_forward(trainer, c, x, NULL, w, alpha, y, bits, &error) == BC_OK,
                  "forward");
            bool exact = true;
            for (size_t i = 0; i < outputs; i++)
                exact &= y[i] == (float)p.y[i] * alpha[i % c->c_out];
            CHECK(exact, "%s: y of %ux%ux%u -> %u, kernel %u", bc_isa_name(isa), c->h, c->w,
                  c->c_in, c->c_out, c->kh);
            memset(dx, 1, inputs * 4);
            CHECK(bc_train_backward(trainer, c, bits, w, alpha, dy, NULL, NULL, NULL, BC_IDENTITY,
                                    dx, NULL, dw, &error) == BC_OK,
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
            CHECK(bc_train_backward(trainer, c, bits, w, alpha, dy, NULL, NULL, NULL, BC_IDENTITY,
                                    NULL, NULL, dw, &error) == BC_OK,
                  "without dx");
            CHECK(!memcmp(dw, dw0, weights * 4), "dw depends on dx");
            for (bc_estimator e = BC_STE; e <= BC_APPROXSIGN; e++) {
                CHECK(bc_train_backward(trainer, c, bits, w, alpha, dy, x, NULL, NULL, e, dx, NULL,
                                        dw, &error) == BC_OK,
                      "estimator");
                bool same = true;
                for (size_t k = 0; k < inputs; k++) {
                    float slope =
                        e == BC_STE ? (float)(fabsf(x[k]) <= 1) : fmaxf(0, 2 - 2 * fabsf(x[k]));
                    same &= dx[k] == dx0[k] * slope;
                }
                CHECK(same, "%s: estimator %d", bc_isa_name(isa), (int)e);
            }
            with_input(trainer, c, x, w, alpha, dy, dx0, first_sums);
            bc_trainer_close(trainer);
        }
    free(first_sums);
    void *all[] = {x,   signs, w,    alpha, dy,   y,    dx,        dw,
                   dx0, dw0,   bits, p.y,   p.dx, p.dw, p.dx_size, p.dw_size};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* y = prelu(x + before) + after; without shifts they are NULL. */
static void prelu(size_t pixels, uint32_t c, bool shifts) {
    size_t count = pixels * c;
    float *x = floats(count, false), *slope = floats(c, false), *dy = floats(count, false),
          *before = floats(c, false), *after = floats(c, false);
    float *y = malloc(count * 4), *dx = malloc(count * 4), *grads = malloc(3 * c * 4),
          *first = malloc(3 * c * 4);
    x[0] = shifts ? -before[0] : 0;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        bc_trainer *trainer;
        bc_error error;
        CHECK(bc_trainer_open(threads, NULL, &trainer, &error) == BC_OK, "open");
        const float *ahead = shifts ? before : NULL, *behind = shifts ? after : NULL;
        CHECK(bc_train_prelu_forward(trainer, pixels, c, x, slope, ahead, behind, y, &error) ==
                  BC_OK,
              "prelu");
        CHECK(bc_train_prelu_backward(trainer, pixels, c, x, slope, ahead, dy, dx, grads, &error) ==
                  BC_OK,
              "prelu");
        bool same = true;
        for (size_t i = 0; i < c; i++) {
            double sums[3] = {0}, size = 0;
            for (size_t k = i; k < count; k += c) {
                const float v = shifts ? x[k] + before[i] : x[k], by = v >= 0 ? v : v * slope[i];
                same &= y[k] == (shifts ? by + after[i] : by) &&
                        dx[k] == (v > 0 ? dy[k] : dy[k] * slope[i]);
                sums[0] += v < 0 ? (double)v * (double)dy[k] : 0;
                sums[1] += (double)dx[k];
                sums[2] += (double)dy[k];
                size += fabs((double)dy[k]) * (1 + fabs((double)v) + fabs((double)slope[i]));
            }
            for (size_t k = 0; k < 3; k++)
                same &= fabs((double)grads[k * c + i] - sums[k]) <= 1e-5 * size + 1e-7;
        }
        CHECK(same, "prelu of %zu x %u", pixels, c);
        if (threads == 1)
            memcpy(first, grads, 3 * c * 4);
        CHECK(!memcmp(first, grads, 3 * c * 4), "prelu: %u threads, other bits", threads);
        bc_trainer_close(trainer);
    }
    void *all[] = {x, slope, dy, before, after, y, dx, grads, first};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static bool close_to(float x, double want, double size) {
    return fabs((double)x - want) <= 1e-5 * size;
}

/* BatchNorm equals its definition in doubles; `away`: the mean in standard deviations. */
static void norm(size_t pixels, uint32_t c, float away) {
    const size_t count = pixels * c;
    float *x = floats(count, false), *weight = floats(c, false), *bias = floats(c, false),
          *addend = floats(count, false), *dy = floats(count, false);
    float *y = malloc(count * 4), *dx = malloc(count * 4), stats[4 * 200], grads[2 * 200],
          mean[200], var[200], first[4 * 200 + 2 * 200];
    const double eps = 1e-5;
    for (size_t i = 0; i < count; i++)
        x[i] += away;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        bc_trainer *trainer;
        bc_error error;
        CHECK(bc_trainer_open(threads, NULL, &trainer, &error) == BC_OK, "open");
        for (size_t i = 0; i < c; i++) {
            mean[i] = 0.5f;
            var[i] = 2;
        }
        const bc_norm of = {weight, bias, mean, var, (float)eps, 0.25f};
        CHECK(bc_train_norm_forward(trainer, pixels, c, &of, x, addend, y, stats, &error) == BC_OK,
              "norm");
        CHECK(bc_train_norm_backward(trainer, pixels, c, x, stats, dy, NULL, dx, grads, grads + c,
                                     &error) == BC_OK,
              "norm");
        bool same = true;
        for (size_t i = 0; i < c; i++) {
            double sum = 0, squares = 0, to_bias = 0, to_weight = 0, size = 0;
            for (size_t k = i; k < count; k += c)
                sum += (double)x[k];
            const double m = sum / (double)pixels;
            for (size_t k = i; k < count; k += c)
                squares += ((double)x[k] - m) * ((double)x[k] - m);
            const double v = squares / (double)pixels, inverse = 1 / sqrt(v + eps);
            for (size_t k = i; k < count; k += c) {
                to_bias += (double)dy[k];
                to_weight += (double)dy[k] * ((double)x[k] - m) * inverse;
                size += fabs((double)dy[k]);
            }
            const double g = inverse * (double)weight[i], wide = 1 + fabs(m) * fabs(g);
            for (size_t k = i; k < count; k += c) {
                const double hat = ((double)x[k] - m) * inverse,
                             to_x = g * ((double)dy[k] - to_bias / (double)pixels -
                                         hat * to_weight / (double)pixels);
                same &=
                    close_to(y[k], hat * (double)weight[i] + (double)bias[i] + (double)addend[k],
                             wide + fabs(hat));
                same &= close_to(dx[k], to_x, fabs(g) * (1 + fabs(hat)) * 4);
            }
            const double unbiased = pixels > 1 ? squares / (double)(pixels - 1) : 0;
            same &= close_to(mean[i], 0.375 + m / 4, 1 + fabs(m)) &&
                    close_to(var[i], 1.5 + unbiased / 4, 2 + v) &&
                    close_to(stats[i], m, 1 + fabs(m)) &&
                    close_to(grads[i], to_weight, 4 * size + 1) &&
                    close_to(grads[c + i], to_bias, size);
        }
        CHECK(same, "norm of %zu x %u, mean %g", pixels, c, (double)away);
        double *sums = malloc(2 * c * sizeof *sums);
        for (size_t i = 0; i < c; i++) {
            sums[i] = (double)grads[c + i];
            sums[c + i] = (double)grads[i] / (double)stats[c + i];
        }
        float *in_place = malloc(count * 4), again[2 * 200];
        memcpy(in_place, dy, count * 4);
        CHECK(bc_train_norm_backward(trainer, pixels, c, x, stats, in_place, sums, in_place, again,
                                     again + c, &error) == BC_OK,
              "norm");
        same = true;
        for (size_t i = 0; i < count; i++)
            same &= close_to(in_place[i], (double)dx[i], 1 + fabs((double)dx[i]));
        CHECK(same, "norm of %zu x %u: sums given, in place", pixels, c);
        free(sums);
        free(in_place);
        if (threads == 1) {
            memcpy(first, stats, 4 * c * 4);
            memcpy(first + 4 * c, grads, 2 * c * 4);
        }
        CHECK(!memcmp(first, stats, 4 * c * 4) && !memcmp(first + 4 * c, grads, 2 * c * 4),
              "norm: %u threads, other bits", threads);
        bc_trainer_close(trainer);
    }
    void *all[] = {x, weight, bias, addend, dy, y, dx};
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
        CHECK(bc_train_forward(trainer, &bad[i], x, NULL, x, x, x, x, &error) == BC_ERR_ARGUMENT,
              "shape %zu", i);
        CHECK(bc_train_backward(trainer, &bad[i], x, x, x, x, x, NULL, NULL, BC_STE, x, NULL, x,
                                &error) == BC_ERR_ARGUMENT,
              "shape %zu", i);
    }
    const bc_conv good = {
        .n = 1, .h = 1, .w = 1, .c_in = 16, .c_out = 16, .kh = 1, .kw = 1, .sh = 1, .sw = 1};
    float x[256] = {0}, y[256];
    uint64_t *bits = malloc(bc_train_bits(&good) + 8);
    CHECK(bc_train_forward(trainer, &good, x, NULL, x, x, y, (char *)bits + 4, &error) ==
              BC_ERR_ARGUMENT,
          "bits anywhere");
    CHECK(bc_train_forward(trainer, &good, x, NULL, x, x, y, bits, &error) == BC_OK, "bits");
    CHECK(bc_train_backward(trainer, &good, bits, x, x, x, x, NULL, NULL, (bc_estimator)3, NULL,
                            NULL, y, &error) == BC_ERR_ARGUMENT,
          "an unknown estimator");
    CHECK(bc_train_backward(trainer, &good, bits, x, x, x, x, x, x, BC_STE, y, NULL, y, &error) ==
              BC_ERR_ARGUMENT,
          "an input without sums");
    const bc_norm half = {.running_mean = y, .eps = 1};
    CHECK(bc_train_norm_forward(trainer, 1, 1, &half, x, NULL, NULL, y, &error) == BC_ERR_ARGUMENT,
          "a running mean alone");
    const float odd[4] = {NAN, INFINITY, -INFINITY, -2}, slope[4] = {0.5f, 0.5f, 0.5f, 0.5f};
    CHECK(bc_train_prelu_forward(trainer, 1, 4, odd, slope, NULL, NULL, y, &error) == BC_OK &&
              isnan(y[0]) && y[1] == INFINITY && y[2] == -INFINITY && y[3] == -1,
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
    for (int shifts = 0; shifts < 2; shifts++) {
        prelu(1, 1, shifts);
        prelu(31, 3, shifts);
        prelu(1000, 16, shifts);
        prelu(500, 150, shifts);
    }
    norm(2, 1, 0);
    norm(31, 3, 1);
    norm(5000, 16, 0);
    norm(5000, 16, 100);
    norm(700, 150, -3);
    refused();
    printf("%zu shapes, %d failures\n", sizeof shapes / sizeof *shapes, failures);
    return failures != 0;
}
