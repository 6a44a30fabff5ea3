/* check_memory.c: whichever allocation fails, opening says so, leaves nothing behind, and works the
 * next time; running allocates nothing. Linked with --wrap, so that it stands between the library
 * and calloc. */
#define _POSIX_C_SOURCE 200809L
#include "samples.h"

#include <bincompress.h>

static long allowed = -1; /* allocations until one fails, negative: none does */
static long calls;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size) {
    calls++;
    if (allowed == 0)
        return NULL;
    allowed -= allowed > 0;
    return __real_calloc(count, size);
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
        if (status == BC_OK) {
            bc_value_info in;
            bc_model_value(model, bc_model_input(model), &in);
            float out[64];
            const bc_input input = {x, in.dtype, BC_NCHW};
            const long before = calls;
            failures += bc_session_run(session, &input, 3, out, NULL) != BC_OK;
            if (calls != before) {
                printf("FAIL: %s: running allocates\n", name);
                failures++;
            }
        }
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
