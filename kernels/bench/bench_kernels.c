/* bench_kernels.c: speed of the products of one kernel table on layers of well-known networks, one
 * thread.
 *
 * bench_kernels [ISA] [SUBSTRING]: ISA "" or none: the best of this CPU; SUBSTRING: only lines that
 * contain it.
 *
 * Each sample of a layer is taken right after one of the roofline (the same instructions on
 * registers only), so that a clock that changes, or a neighbour, touches both: `of peak` is the
 * median of the ratios, the rest medians of their own. */
#if !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200809L /* clock_gettime under -std=c11 */
#endif
#include "../src/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SAMPLES = 41, SAMPLE_NS = 200000, CHUNK = 64 };

typedef enum kind { BITS, SUMS, FLOAT, WEIGHT, PIXELS } kind;
static const char *const kind_names[] = {"binary, bits out", "binary, float out", "float",
                                         "1-bit weights", "1-bit, u8 input"};
static const bc_peak kind_peaks[] = {BC_PEAK_BINARY, BC_PEAK_BINARY, BC_PEAK_F32, BC_PEAK_WEIGHT,
                                     BC_PEAK_U8};

/* A square image, a k x k window padded by k / 2, stride 1; size 1 is a dense layer and `batch` its
 * samples. */
typedef struct layer {
    kind kind;
    size_t batch, size, k, in, out;
} layer;

static const layer layers[] = {
    {BITS, 1, 56, 3, 64, 64},      {BITS, 1, 28, 3, 128, 128},   {BITS, 1, 14, 3, 256, 256},
    {BITS, 1, 7, 3, 512, 512},     {SUMS, 1, 56, 3, 64, 64},     {SUMS, 1, 28, 3, 128, 128},
    {SUMS, 1, 14, 3, 256, 256},    {SUMS, 1, 7, 3, 512, 512},    {BITS, 1, 16, 3, 256, 256},
    {BITS, 1, 8, 3, 512, 512},     {BITS, 1, 28, 1, 128, 256},   {BITS, 1, 1, 1, 4096, 4096},
    {BITS, 64, 1, 1, 4096, 4096},  {FLOAT, 1, 28, 3, 128, 128},  {FLOAT, 1, 14, 1, 128, 256},
    {FLOAT, 1, 1, 1, 512, 1008},   {WEIGHT, 1, 28, 3, 128, 128}, {WEIGHT, 1, 8, 3, 64, 64},
    {WEIGHT, 1, 1, 1, 4096, 4096}, {PIXELS, 1, 32, 3, 3, 128},   {PIXELS, 1, 1, 1, 784, 4096},
};

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *need(void *p) {
    if (!p) {
        fputs("bench_kernels: out of memory\n", stderr);
        exit(1);
    }
    return p;
}

/* 64-byte aligned, filled with numbers that all element types can bear. */
static void *operand(size_t bytes, kind of, bool activations) {
    static uint64_t state = 1;
    uint8_t *p = need(aligned_alloc(64, bc_round_up(bytes + 64, 64)));
    for (size_t i = 0; i < bytes; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        p[i] = (uint8_t)(state >> 56);
    }
    if (of == FLOAT || (of == WEIGHT && activations))
        for (size_t i = 0; i < bytes / 4; i++)
            ((float *)(void *)p)[i] = (float)p[4 * i] / 128 - 1;
    if (of == PIXELS && activations)
        for (size_t i = 0; i < bytes / 2; i++)
            ((int16_t *)(void *)p)[i] = (int16_t)(2 * p[2 * i] - 255);
    return p;
}

typedef struct task {
    layer l;
    size_t m, taps, cin, panels; /* cin: words, elements or octets */
    const void **a;
    const int32_t **rows; /* of limit, of base */
    void *input, *tables, *weights, *acc, *floats;
    int32_t *constants;
    uint8_t *bits;
    float *scale;
} task;

static void prepare(const bc_kernels *k, task *t, const layer *l) {
    const size_t panel = l->kind <= SUMS ? BC_PANEL_BINARY : BC_PANEL_FLOAT,
                 pixels = l->batch * l->size * l->size;
    /* of the input's elements, of what a pointer points to, of weights */
    const size_t input[] = {8, 8, 4, 4, 2}, pointed[] = {8, 8, 4, k->ttable_octet, 2},
                 weight[] = {8, 8, 4, 1, 2};
    const size_t bytes = pointed[l->kind];
    *t = (task){.l = *l, .m = pixels, .taps = l->k * l->k, .panels = l->out / panel};
    t->cin = l->kind <= SUMS ? bc_words(l->in) : l->kind == WEIGHT ? l->in / 8 : l->in;
    /* the last pixel is the padding */
    t->input =
        operand((pixels + 1) * (l->kind <= SUMS ? t->cin : l->in) * input[l->kind], l->kind, true);
    t->tables = l->kind == WEIGHT ? operand((pixels + 1) * t->cin * bytes, BITS, false) : NULL;
    if (t->tables)
        k->ttable(pixels + 1, l->in, t->input, t->tables);
    const char *source = t->tables ? t->tables : t->input;
    t->weights = operand(l->out * t->taps * t->cin * weight[l->kind], l->kind, false);
    t->a = need(malloc(pixels * t->taps * sizeof *t->a));
    t->rows = need(malloc(pixels * sizeof *t->rows));
    t->acc = operand(bc_min(pixels, CHUNK) * l->out * 4, BITS, false);
    t->floats = operand(pixels * l->out * 4, FLOAT, false);
    t->bits = operand(pixels * t->panels, BITS, false);
    t->scale = operand(l->out * 4, FLOAT, false);
    t->constants = need(malloc(l->out * sizeof *t->constants));
    for (size_t f = 0; f < l->out; f++)
        t->constants[f] = (int32_t)(t->taps * l->in / 2);
    for (size_t p = 0; p < pixels; p++) {
        t->rows[p] = t->constants;
        for (size_t tap = 0; tap < t->taps; tap++) {
            const size_t sample = p / (l->size * l->size);
            const size_t y = p / l->size % l->size + tap / l->k - l->k / 2,
                         x = p % l->size + tap % l->k - l->k / 2;
            const size_t from =
                y < l->size && x < l->size ? (sample * l->size + y) * l->size + x : pixels;
            t->a[p * t->taps + tap] = source + from * t->cin * bytes;
        }
    }
}

static void release(task *t) {
    void *all[] = {(void *)t->a, (void *)t->rows, t->input, t->tables, t->weights,
                   t->acc,       t->floats,       t->bits,  t->scale,  t->constants};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

/* The layer, in calls of about 64 pixels, as a session makes them; of sums that are looked up, the
 * tables too. */
static void run(const bc_kernels *k, const task *t) {
    const size_t mr = t->l.kind <= SUMS     ? k->mr_binary
                      : t->l.kind == WEIGHT ? k->mr_table
                                            : k->mr_float,
                 chunk = CHUNK / mr * mr;
    if (t->tables)
        k->ttable(t->m, t->l.in, t->input, t->tables);
    for (size_t p = 0; p < t->m; p += chunk) {
        const size_t m = bc_min(chunk, t->m - p), out = t->l.out;
        const void *a = t->a + p * t->taps;
        int32_t *acc = t->acc; /* stays in the cache: an epilogue reads it at once */
        float *y = (float *)t->floats + p * out;
        switch (t->l.kind) {
        case BITS:
            k->bgemm_tau(m, t->panels, t->taps, t->cin, a, 0, t->weights, t->rows + p,
                         t->bits + p * t->panels, t->panels);
            break;
        case SUMS:
            k->bgemm_steps(
                m, out, t->taps, t->cin, a, 0, t->weights, acc, out,
                (const bc_row_step[]){{.op = BC_ROW_HALF, .x = acc, .base = t->rows + p, .ld = out},
                                      {.op = BC_ROW_AFFINE, .scale = t->scale, .bias = t->scale},
                                      {.op = BC_ROW_RELU},
                                      {.op = BC_ROW_STORE, .to = y, .ld = out}},
                4);
            break;
        case FLOAT:
            k->fgemm(m, out, t->taps, t->cin, a, t->weights, y, out, NULL);
            break;
        case WEIGHT:
            k->tgemm(m, t->panels, t->taps, t->cin, a, t->weights, y, out);
            break;
        case PIXELS:
            k->igemm(m, t->panels, t->taps, t->cin, a, t->weights, acc, out);
            break;
        }
    }
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double values[SAMPLES]) {
    qsort(values, SAMPLES, sizeof *values, ascending);
    return values[SAMPLES / 2];
}

static void report(const bc_kernels *k, const layer *l, const char *name) {
    static uint64_t sink = 1;
    double us[SAMPLES], of_peak[SAMPLES];
    uint64_t rounds = 1, repeats = 1;
    task t;
    prepare(k, &t, l);
    const double macs = (double)t.m * (double)l->out * (double)(t.taps * l->in);
    for (uint64_t start = now_ns();
         k->peak(kind_peaks[l->kind], rounds, &sink) > 0 && now_ns() - start < SAMPLE_NS / 2;
         start = now_ns())
        rounds *= 2;
    for (uint64_t start = now_ns(), i = 0;; i = 0, repeats *= 2, start = now_ns()) {
        for (; i < repeats; i++)
            run(k, &t);
        if (now_ns() - start >= SAMPLE_NS)
            break;
    }
    for (int s = 0; s < SAMPLES; s++) {
        const uint64_t start = now_ns();
        const double peak_macs = (double)k->peak(kind_peaks[l->kind], rounds, &sink);
        const uint64_t middle = now_ns();
        for (uint64_t i = 0; i < repeats; i++)
            run(k, &t);
        us[s] = 1e-3 * (double)(now_ns() - middle) / (double)repeats;
        of_peak[s] = macs / (1e3 * us[s]) / (peak_macs / (double)(middle - start));
    }
    const double time_us = median(us);
    printf("%-34s %-18s %10.1f us %9.1f G MAC/s %6.2f of peak\n", name, kind_names[l->kind],
           time_us, macs / time_us * 1e-3, median(of_peak));
    fflush(stdout);
    release(&t);
}

int main(int argc, char **argv) {
    const bc_kernels *k = bc_dispatch(argc > 1 ? argv[1] : NULL);
    if (!k) {
        fprintf(stderr, "bench_kernels: %s: unknown instruction set, or not available here\n",
                argc > 1 ? argv[1] : "BC_ISA");
        return 2;
    }
    static const char *const peak_names[] = {"binary", "float", "1-bit weights", "u8 input"};
    printf("%s, one thread; roofline", k->name);
    for (int i = 0; i < 4; i++) {
        double gmacs = 0;
        bc_measure_peak(k->name, (bc_peak)i, &gmacs);
        printf("%s %s %.0f G MAC/s", i ? "," : "", peak_names[i], gmacs);
    }
    printf("\n");
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
        const layer *l = &layers[i];
        char name[64];
        if (l->size == 1)
            snprintf(name, sizeof name, "dense %zu -> %zu, batch %zu", l->in, l->out, l->batch);
        else
            snprintf(name, sizeof name, "%zux%zu conv %zux%zux%zu -> %zu", l->k, l->k, l->size,
                     l->size, l->in, l->out);
        if (argc < 3 || strstr(name, argv[2]) || strstr(kind_names[l->kind], argv[2]))
            report(k, l, name);
    }
    return 0;
}
