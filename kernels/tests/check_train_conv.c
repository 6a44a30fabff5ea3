/* check_train_conv.c: convolutions equal plain loops, sums of signs exactly, gradients within the
 * rounding of float sums; with a scale and a shift in front of the sign they equal what is made of
 * these first. */
#include "check_train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

plain by_loops(const bc_conv *c, size_t oh, size_t ow, const float *x, const float *w,
               const float *alpha, const float *dy) {
    size_t inputs = (size_t)c->n * c->h * c->w * c->c_in,
           weights = (size_t)c->c_out * c->kh * c->kw * c->c_in;
    const size_t outputs = c->n * oh * ow * c->c_out;
    plain p = {calloc(outputs, sizeof(double)), calloc(outputs, sizeof(double)),
               calloc(inputs, sizeof(double)),  calloc(inputs, sizeof(double)),
               calloc(weights, sizeof(double)), calloc(weights, sizeof(double))};
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
                            const double y = (double)x[in] * (double)w[at],
                                         d = (double)(alpha ? dy[out] * alpha[o] : dy[out]) *
                                             (double)w[at],
                                         dw = (double)dy[out] * (double)x[in];
                            p.y[out] += y;
                            p.dx[in] += d;
                            p.dw[at] += dw;
                            p.y_size[out] += fabs(y);
                            p.dx_size[in] += fabs(d);
                            p.dw_size[at] += fabs(dw);
                        }
                    }
    return p;
}

void free_plain(plain *p) {
    double *all[] = {p->y, p->y_size, p->dx, p->dx_size, p->dw, p->dw_size};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

bool near(const float *x, const double *want, const double *size, size_t count) {
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

void check_conv(const bc_conv *c) {
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
    free_plain(&p);
    void *all[] = {x, signs, w, alpha, dy, y, dx, dw, dx0, dw0, bits};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}
