/* check_memory.c: blocks are aligned and zeroed, weights are counted right; whichever allocation
 * fails, opening says so, leaves nothing behind, and works the next time; running allocates
 * nothing, whatever the number of threads, batch and samples. Linked with --wrap, so that it stands
 * between the library and the functions that give memory. */
#define _POSIX_C_SOURCE 200809L
#include "../src/ops.h"
#include "samples.h"

#include <stdatomic.h>
#include <string.h>

static long allowed = -1; /* allocations until one fails, negative: none does */
static atomic_long calls; /* of any function that gives memory, from any thread */

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size) {
    calls++;
    if (allowed == 0)
        return NULL;
    allowed -= allowed > 0;
    return __real_calloc(count, size);
}

/* The library uses calloc alone; that none of the others slips in is what these are for. */
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size) {
    calls++;
    return __real_malloc(size);
}

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size) {
    calls++;
    return __real_realloc(old, size);
}

void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size) {
    calls++;
    return __real_aligned_alloc(align, size);
}

int __real_posix_memalign(void **out, size_t align, size_t size);
int __wrap_posix_memalign(void **out, size_t align, size_t size);
int __wrap_posix_memalign(void **out, size_t align, size_t size) {
    calls++;
    return __real_posix_memalign(out, align, size);
}

/* Runs 1 to 3 samples in sessions of all kinds; counts the runs that fail or allocate. */
static int check_runs(const char *name, const bc_model *model, const uint8_t *x) {
    int failures = 0;
    bc_value_info in;
    bc_model_value(model, bc_model_input(model), &in);
    for (uint32_t threads = 1; threads <= 4; threads++)
        for (uint32_t batch = 1; batch <= 3; batch++)
            for (uint32_t flags = 0; flags <= (BC_SESSION_PROFILE | BC_SESSION_KEEP_ALL); flags++) {
                const bc_session_options options = {sizeof options, threads, batch, NULL, flags};
                const bc_input input = {x, in.dtype, BC_NCHW};
                bc_session *session;
                float out[64];
                failures += bc_session_open(model, &options, &session, NULL) != BC_OK;
                const long before = calls;
                for (size_t n = 1; n <= 3; n++)
                    failures += bc_session_run(session, &input, n, out, NULL) != BC_OK;
                if (calls != before) {
                    printf("FAIL: %s: running allocates: %u threads, batch %u, flags %u\n", name,
                           threads, batch, flags);
                    failures++;
                }
                bc_session_close(session);
            }
    return failures;
}

static bc_status open_both(const uint8_t *file, size_t size, bc_model **model,
                           bc_session **session) {
    const bc_session_options options = {.struct_size = sizeof options, .threads = 3, .batch = 2};
    bc_error error;
    *session = NULL;
    bc_status status = bc_model_open_memory(file, size, model, &error);
    return status ? status : bc_session_open(*model, &options, session, &error);
}

static int check(const char *name) {
    size_t size, x_size;
    uint8_t *file = read_sample(name, "gguf", &size), *x = read_sample(name, "in", &x_size);
    int failures = 0;
    long count = 0;
    for (bc_status status = BC_ERR_MEMORY; status == BC_ERR_MEMORY; count++) {
        bc_model *model;
        bc_session *session;
        allowed = count;
        status = open_both(file, size, &model, &session);
        allowed = -1;
        if (status != BC_OK && status != BC_ERR_MEMORY) {
            printf("FAIL: %s: allocation %ld fails: status %d\n", name, count, status);
            failures++;
        }
        if (status == BC_OK)
            failures += check_runs(name, model, x);
        bc_session_close(session);
        bc_model_close(model);
    }
    printf("checked %s with each of %ld allocations failing\n", name, count - 1);
    free(file);
    free(x);
    return failures;
}

/* Blocks of a model, small and of large pages: aligned, zeroed, whole (the sanitizer sees the
 * end). */
static int check_blocks(void) {
    static const size_t sizes[] = {1, 64, BC_LARGE_PAGE - 1, BC_LARGE_PAGE, 3 * BC_LARGE_PAGE + 5};
    bc_model model = {0};
    bc_error error;
    int failures = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size_t n = sizes[i], align = n < BC_LARGE_PAGE ? 64 : BC_LARGE_PAGE;
        char *block = bc_model_alloc(&model, 1, n, &error);
        if (!block || (uintptr_t)block % align || block[0] || block[n / 2] || block[n - 1]) {
            printf("FAIL: a block of %zu bytes is missing, not zero or not aligned\n", n);
            failures++;
            continue;
        }
        memset(block, 1, n);
    }
    bc_model_free_all(&model);
    return failures;
}

/* Weights counted by whole words equal those counted bit by bit: two taps of 128 channels, 16
 * filters, in panels and in rows. */
static int check_counts(void) {
    enum { CHANNELS = 128, K = 2 * CHANNELS, FILTERS = 16 };
    _Alignas(64) uint8_t bits[FILTERS * K / 8];
    const bc_tensor weight = {.data = bits, .bytes = sizeof bits};
    int failures = 0;
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof bits; i++) {
        state = state * 1664525u + 1013904223u;
        bits[i] = (uint8_t)(state >> 24);
    }
    for (int panels = 0; panels < 2; panels++) {
        const bc_node node = {
            .op = BC_OP_binary_conv2d, .k = K, .weight = &weight, .weight_in_panels = panels};
        for (size_t f = 0; f < FILTERS; f++)
            for (size_t k = 0; k < K; k += CHANNELS) {
                size_t minus = 0;
                for (size_t i = 0; i < CHANNELS; i++)
                    minus += bc_weight_bit(&node, f, k + i);
                if (bc_weight_minus(&node, f, k, CHANNELS) != minus) {
                    printf("FAIL: filter %zu, weights from %zu on: not %zu of -1\n", f, k, minus);
                    failures++;
                }
            }
    }
    return failures;
}

int main(void) {
    int failures = check_blocks() + check_counts();
    for (size_t i = 0; i < sizeof sample_names / sizeof *sample_names; i++)
        failures += check(sample_names[i]);
    printf("%s: %d failures\n", failures ? "FAIL" : "ok", failures);
    return failures != 0;
}
