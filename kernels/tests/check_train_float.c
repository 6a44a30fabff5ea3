/* check_train_float.c: convolutions of which one operand or both are floats equal plain loops
 * within rounding, and no instruction set and no number of threads changes a bit. */
#include "check_train.h"

#include <stdlib.h>
#include <string.h>

typedef struct kinds {
    const char *name;
    bool bits, signs; /* of x, of w */
} kinds;

typedef struct results {
    float *y, *dx, *dw;
} results;

static results make(size_t outputs, size_t inputs, size_t weights) {
    return (results){malloc(outputs * 4), malloc(inputs * 4), malloc(weights * 4)};
}

static void drop(results *r) {
    free(r->y);
    free(r->dx);
    free(r->dw);
}

static void check_kinds(const bc_conv *c, const kinds *k) {
    const size_t oh = (c->h + 2 * c->ph - c->kh) / c->sh + 1,
                 ow = (c->w + 2 * c->pw - c->kw) / c->sw + 1,
                 inputs = (size_t)c->n * c->h * c->w * c->c_in, outputs = c->n * oh * ow * c->c_out,
                 weights = (size_t)c->c_out * c->kh * c->kw * c->c_in;
    float *x = floats(inputs, false), *w = floats(weights, k->signs), *dy = floats(outputs, false),
          *seen = malloc(inputs * 4), *alpha = k->signs ? floats(c->c_out, false) : NULL;
    for (size_t i = 0; i < inputs; i++)
        seen[i] = !k->bits ? x[i] : x[i] < 0 ? -1.0f : 1.0f;
    void *bits = k->bits ? malloc(bc_train_bits(c)) : NULL;
    plain p = by_loops(c, oh, ow, seen, w, alpha, dy);
    for (size_t i = 0; alpha && i < outputs; i++) {
        p.y[i] *= (double)alpha[i % c->c_out];
        p.y_size[i] *=
            (double)(alpha[i % c->c_out] < 0 ? -alpha[i % c->c_out] : alpha[i % c->c_out]);
    }
    results first = make(outputs, inputs, weights), got = make(outputs, inputs, weights);
    bool known = false;
    for (size_t isa = 0; isa < bc_isa_count(); isa++)
        for (uint32_t threads = 1; threads <= 3 && bc_isa_available(isa); threads++) {
            bc_trainer *trainer;
            bc_error error;
            CHECK(bc_trainer_open(threads, bc_isa_name(isa), &trainer, &error) == BC_OK, "open");
            memset(got.y, 1, outputs * 4);
            memset(got.dx, 1, inputs * 4);
            CHECK(bc_train_forward(trainer, c, x, NULL, w, alpha, got.y, bits, &error) == BC_OK,
                  "forward");
            CHECK(bc_train_backward(trainer, c, bits, w, alpha, dy, x, NULL, NULL, BC_IDENTITY,
                                    got.dx, NULL, got.dw, &error) == BC_OK,
                  "backward");
            if (!known) {
                CHECK(near(got.y, p.y, p.y_size, outputs), "%s: y of %ux%ux%u, kernel %u", k->name,
                      c->h, c->w, c->c_in, c->kh);
                CHECK(near(got.dx, p.dx, p.dx_size, inputs), "%s: dx of %ux%ux%u, kernel %u",
                      k->name, c->h, c->w, c->c_in, c->kh);
                CHECK(near(got.dw, p.dw, p.dw_size, weights), "%s: dw of %ux%ux%u, kernel %u",
                      k->name, c->h, c->w, c->c_in, c->kh);
                memcpy(first.y, got.y, outputs * 4);
                memcpy(first.dx, got.dx, inputs * 4);
                memcpy(first.dw, got.dw, weights * 4);
                known = true;
            }
            CHECK(!memcmp(got.y, first.y, outputs * 4) && !memcmp(got.dx, first.dx, inputs * 4) &&
                      !memcmp(got.dw, first.dw, weights * 4),
                  "%s, %s, %u threads: other bits", k->name, bc_isa_name(isa), threads);
            CHECK(bc_train_backward(trainer, c, bits, w, alpha, dy, x, NULL, NULL, BC_IDENTITY,
                                    NULL, NULL, got.dw, &error) == BC_OK &&
                      !memcmp(got.dw, first.dw, weights * 4),
                  "%s: without dx", k->name);
            bc_trainer_close(trainer);
        }
    drop(&first);
    drop(&got);
    free_plain(&p);
    void *all[] = {x, w, dy, seen, alpha, bits};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

void check_float_conv(const bc_conv *c) {
    const kinds all[] = {{"floats by signs", false, true},
                         {"signs by floats", true, false},
                         {"floats", false, false}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        check_kinds(c, &all[i]);
}
