/* check_train: the layers of training equal plain loops, exactly or within rounding, and no
 * instruction set and no number of threads changes a bit; what they refuse. */
#include "check_train.h"

#include <math.h>
#include <stdlib.h>

int failures;

static uint32_t draw(void) {
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

float *floats(size_t count, bool signs) {
    float *x = malloc(count * sizeof *x);
    for (size_t i = 0; x && i < count; i++)
        x[i] = signs ? (draw() & 1 ? 1.0f : -1.0f) : (float)((int)(draw() % 2001) - 1000) / 1000.0f;
    return x;
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
    const bc_dense odd_layer = {1, 24, 16}, layer = {1, 16, 16};
    CHECK(bc_train_dense_forward(trainer, &odd_layer, x, x, x, y, NULL, bits, &error) ==
                  BC_ERR_ARGUMENT &&
              bc_train_dense_forward(trainer, &layer, x, x, x, y, NULL, (char *)bits + 4, &error) ==
                  BC_ERR_ARGUMENT &&
              bc_train_dense_backward(trainer, &layer, NULL, bits, x, x, NULL, y, &error) ==
                  BC_ERR_ARGUMENT,
          "dense layers that are not supported");
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
        check_conv(&shapes[i]);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_float_conv(&shapes[i]);
    const bc_dense layers[] = {{1, 16, 16},  {7, 48, 32},    {8, 64, 144}, {13, 80, 16},
                               {70, 16, 96}, {129, 128, 48}, {24, 784, 64}};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        check_dense(&layers[i]);
    for (int shifts = 0; shifts < 2; shifts++) {
        check_prelu(1, 1, shifts);
        check_prelu(31, 3, shifts);
        check_prelu(1000, 16, shifts);
        check_prelu(500, 150, shifts);
    }
    check_norm(2, 1, 0);
    check_norm(31, 3, 1);
    check_norm(5000, 16, 0);
    check_norm(5000, 16, 100);
    check_norm(700, 150, -3);
    refused();
    printf("%zu shapes, %d failures\n", sizeof shapes / sizeof *shapes, failures);
    return failures != 0;
}
