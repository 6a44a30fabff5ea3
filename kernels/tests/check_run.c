/* check_run.c: the samples of tests/data give the emulator's numbers, bit for bit: on every
 * instruction set, with any number of threads, in batches, in both layouts, node by node, and in
 * several sessions of one model at once. */
#define _POSIX_C_SOURCE 200809L
#include "samples.h"

#include <bincompress.h>
#include <pthread.h>
#include <string.h>

typedef struct sample {
    const char *name;
    bc_model *model;
    bc_value_info in, out;
    uint8_t *x;
    float *want;
    size_t n, pixels, logits; /* samples; elements of one */
} sample;

static int failures;

static void fail(const sample *s, const char *isa, const char *what) {
    printf("FAIL: %s, %s: %s\n", s->name, isa ? isa : "-", what);
    failures++;
}

static sample load(const char *name) {
    sample s = {.name = name};
    char path[1024];
    size_t bytes, out_bytes;
    bc_error error;
    (void)snprintf(path, sizeof path, "%s/%s.gguf", BC_TEST_DATA, name);
    if (bc_model_open_file(path, &s.model, &error)) {
        printf("FAIL: %s: %s\n", path, error.message);
        exit(1);
    }
    bc_model_value(s.model, bc_model_input(s.model), &s.in);
    bc_model_value(s.model, bc_model_output(s.model), &s.out);
    s.pixels = (size_t)s.in.c * s.in.h * s.in.w;
    s.logits = (size_t)s.out.c * s.out.h * s.out.w;
    s.x = read_sample(name, "in", &bytes);
    s.want = (float *)(void *)read_sample(name, "out", &out_bytes);
    s.n = bytes / s.pixels / (s.in.dtype == BC_U8 ? 1 : 4);
    if (s.n < 2 || out_bytes != s.n * s.logits * 4)
        exit(2);
    return s;
}

static bc_session *open_session(const sample *s, const char *isa, uint32_t threads, uint32_t batch,
                                uint32_t flags) {
    bc_session_options options = {sizeof options, threads, batch, isa, flags};
    bc_session *session;
    bc_error error;
    if (bc_session_open(s->model, &options, &session, &error)) {
        printf("FAIL: %s: %s\n", s->name, error.message);
        exit(1);
    }
    return session;
}

static int runs_right(const sample *s, bc_session *session, bc_layout layout, const void *x) {
    float *got = aligned_bytes(s->n * s->logits * sizeof *got);
    const bc_input input = {x, s->in.dtype, layout};
    int right = bc_session_run(session, &input, s->n, got, NULL) == BC_OK &&
                !memcmp(got, s->want, s->n * s->logits * sizeof *got);
    free(got);
    return right;
}

/* Planar samples to interleaved ones. */
static void *interleave(const sample *s) {
    const size_t bytes = s->in.dtype == BC_U8 ? 1 : 4, image = (size_t)s->in.h * s->in.w;
    uint8_t *out = aligned_bytes(s->n * s->pixels * bytes);
    for (size_t i = 0; i < s->n; i++)
        for (size_t c = 0; c < s->in.c; c++)
            for (size_t p = 0; p < image; p++)
                memcpy(out + (i * s->pixels + p * s->in.c + c) * bytes,
                       s->x + (i * s->pixels + c * image + p) * bytes, bytes);
    return out;
}

/* Each node run alone on what the nodes before it left, from a copy of all values in a second
 * session. */
static void check_nodes(const sample *s, const char *isa) {
    const uint32_t n = (uint32_t)s->n;
    bc_session *all = open_session(s, isa, 1, n, BC_SESSION_KEEP_ALL | BC_SESSION_PROFILE);
    bc_session *one = open_session(s, isa, 2, n, BC_SESSION_KEEP_ALL);
    if (!runs_right(s, all, BC_NCHW, s->x))
        fail(s, isa, "KEEP_ALL");
    for (size_t i = 0; i < bc_model_node_count(s->model); i++) {
        bc_node_info node;
        bc_model_node(s->model, i, &node);
        for (size_t v = 0; v < bc_model_value_count(s->model); v++) {
            bc_value_info info;
            bc_model_value(s->model, v, &info);
            const size_t count = (size_t)info.c * info.h * info.w * n;
            float *values = aligned_bytes(count * sizeof *values),
                  *again = aligned_bytes(count * sizeof *again);
            if (bc_session_read_value(all, v, values, n) ||
                bc_session_write_value(one, v, values, n) ||
                bc_session_read_value(one, v, again, n) ||
                memcmp(values, again, count * sizeof *again))
                fail(s, isa, "a value does not survive reading and writing");
            if (v == node.output) { /* so that the node has something to do */
                memset(again, 0, count * sizeof *again);
                bc_session_write_value(one, v, again, n);
                if (bc_session_run_node(one, i, n) || bc_session_read_value(one, v, again, n) ||
                    memcmp(values, again, count * sizeof *again))
                    fail(s, isa, node.name);
            }
            free(values);
            free(again);
        }
        if (bc_session_node_ns(all, i) == 0 && node.macs > 100000)
            fail(s, isa, "no time measured");
        if (bc_session_node_ns(one, i))
            fail(s, isa, "time measured without being asked");
    }
    if (bc_session_run_node(one, 0, n + 1) != BC_ERR_ARGUMENT ||
        bc_session_run_node(one, 1000, 1) != BC_ERR_ARGUMENT)
        fail(s, isa, "run_node takes wrong arguments");
    bc_session_close(all);
    bc_session_close(one);
}

typedef struct visitor {
    const sample *s;
    int right;
} visitor;

static void *visit(void *argument) {
    visitor *v = argument;
    bc_session *session = open_session(v->s, NULL, 2, 2, 0);
    v->right = 1;
    for (int i = 0; i < 20; i++)
        v->right &= runs_right(v->s, session, BC_NCHW, v->s->x);
    bc_session_close(session);
    return NULL;
}

static void check_sharing(const sample *s) {
    pthread_t ids[4];
    visitor visitors[4];
    for (int i = 0; i < 4; i++) {
        visitors[i] = (visitor){s, 0};
        if (pthread_create(&ids[i], NULL, visit, &visitors[i]))
            exit(2);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(ids[i], NULL);
        if (!visitors[i].right)
            fail(s, NULL, "sessions of one model disturb each other");
    }
}

static void check_refusals(const sample *s) {
    bc_session *session = NULL;
    bc_session_options options = {.struct_size = sizeof options, .isa = "abacus"};
    float *out = aligned_bytes(s->logits * sizeof *out), *x = calloc(s->pixels, sizeof *x);
    bc_input input = {s->x, s->in.dtype, BC_NCHW};
    if (bc_session_open(s->model, &options, &session, NULL) != BC_ERR_ISA || session)
        fail(s, NULL, "unknown isa");
    options = (bc_session_options){.struct_size = sizeof options, .flags = 1u << 20};
    if (bc_session_open(s->model, &options, &session, NULL) != BC_ERR_ARGUMENT)
        fail(s, NULL, "unknown flag");
    session = open_session(s, NULL, 0, 0, 0);
    if (bc_session_run(session, &input, 0, out, NULL) != BC_ERR_ARGUMENT)
        fail(s, NULL, "no samples");
    if (bc_session_run(session, NULL, 1, out, NULL) != BC_ERR_ARGUMENT)
        fail(s, NULL, "no input");
    if (bc_session_run_node(session, 0, 1) != BC_ERR_STATE)
        fail(s, NULL, "run_node without KEEP_ALL");
    input = (bc_input){x, BC_F32, BC_NCHW};
    const uint32_t not_a_number = 0x7fc00000;
    memcpy(&x[s->pixels - 1], &not_a_number, 4);
    bc_error error;
    if (bc_session_run(session, &input, 1, out, &error) != BC_ERR_INPUT ||
        error.code != BC_ERR_INPUT)
        fail(s, NULL, "NaN");
    x[s->pixels - 1] = 0; /* the other element type is converted by the model's normalisation */
    if (bc_session_run(session, &input, 1, out, NULL) != BC_OK)
        fail(s, NULL, "float input");
    input = (bc_input){s->x, BC_U8, BC_NHWC};
    if (bc_session_run(session, &input, 1, out, NULL) != BC_OK)
        fail(s, NULL, "raw pixels");
    bc_session_close(session);
    bc_session_close(NULL);
    bc_model_close(NULL);
    free(out);
    free(x);
}

int main(void) {
    for (size_t i = 0; i < sizeof sample_names / sizeof *sample_names; i++) {
        sample s = load(sample_names[i]);
        void *interleaved = interleave(&s);
        for (size_t k = 0; k < bc_isa_count(); k++) {
            const char *isa = bc_isa_name(k);
            if (!bc_isa_available(k)) {
                printf("SKIP: %s: this CPU or operating system lacks it\n", isa);
                continue;
            }
            for (uint32_t threads = 1; threads <= 4; threads++)
                for (uint32_t batch = 1; batch <= s.n + 1; batch++) {
                    bc_session *session = open_session(&s, isa, threads, batch, 0);
                    if (strcmp(bc_session_isa(session), isa))
                        fail(&s, isa, "another instruction set");
                    if (!runs_right(&s, session, BC_NCHW, s.x))
                        fail(&s, isa, "planar");
                    if (!runs_right(&s, session, BC_NHWC, interleaved))
                        fail(&s, isa, "interleaved");
                    bc_session_close(session);
                }
            check_nodes(&s, isa);
            printf("checked %s on %s\n", s.name, isa);
        }
        check_sharing(&s);
        check_refusals(&s);
        if (bc_model_class_count(s.model) != 10 || strcmp(bc_model_class(s.model, 3), "class 3"))
            fail(&s, NULL, "classes");
        const char *recipe = bc_model_meta(s.model, "bincompress.recipe");
        if (!recipe || strcmp(recipe, "version: 1\n"))
            fail(&s, NULL, "meta");
        if (bc_model_meta(s.model, "bincompress.nothing"))
            fail(&s, NULL, "meta that is not there");
        bc_model_close(s.model);
        free(interleaved);
        free(s.x);
        free(s.want);
    }
    printf("%s: %d failures\n", failures ? "FAIL" : "ok", failures);
    return failures != 0;
}
