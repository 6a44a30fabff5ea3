/* check_memory.c: whichever allocation fails, opening says so, leaves nothing behind, and works the
 * next time; running allocates nothing, whatever the number of threads, batch and samples. Linked
 * with --wrap, so that it stands between the library and the functions that give memory. */
#define _POSIX_C_SOURCE 200809L
#include "samples.h"

#include <bincompress.h>
#include <stdatomic.h>

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

int main(void) {
    int failures = 0;
    for (size_t i = 0; i < sizeof sample_names / sizeof *sample_names; i++)
        failures += check(sample_names[i]);
    printf("%s: %d failures\n", failures ? "FAIL" : "ok", failures);
    return failures != 0;
}
