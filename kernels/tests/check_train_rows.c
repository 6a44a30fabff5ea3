/* check_train_rows.c: PReLU and BatchNorm with what is joined to them equal their definitions in
 * doubles, within rounding; threads change no bit of a sum. */
#include "check_train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void check_prelu(size_t pixels, uint32_t c, bool shifts) {
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

void check_norm(size_t pixels, uint32_t c, float away) {
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
        bc_norm of = {weight, bias, mean, var, (float)eps, 0.25f, 0};
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
        float *above = malloc(count * 4);
        of.relu = 1;
        CHECK(bc_train_norm_forward(trainer, pixels, c, &of, x, addend, above, stats, &error) ==
                  BC_OK,
              "norm");
        of.relu = 0;
        same = true;
        for (size_t k = 0; k < count; k++)
            same &= above[k] == (y[k] > 0 ? y[k] : 0);
        CHECK(same, "ReLU behind a norm of %zu x %u", pixels, c);
        free(above);
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
