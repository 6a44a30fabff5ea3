/* session.c: a model with memory and threads of its own. All memory of values is one block, planned
 * when the session is opened; what else it keeps has blocks of its own. */
#define _POSIX_C_SOURCE 200809L
#include "session.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_THREADS = 256, MAX_BATCH = 1 << 16 };
#define MAX_ARENA_BYTES ((uint64_t)1 << 38)

uint64_t bc_now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* x = (u / 255 - mean) / std in float32, each operation rounded, as the training side does it. */
static void fill_pixel_table(bc_session *session) {
    const bc_model *model = session->model;
    for (size_t c = 0; c < model->norm_count; c++)
        for (int u = 0; u < 256; u++) {
            float x = (float)u / 255.0f;
            x = x - model->mean[c];
            session->pixel_table[c * 256 + (size_t)u] = x / model->std[c];
        }
}

/* Lays out the block: values, converted input, scratch, tables. */
static bc_status allocate(bc_session *session, bool keep_all, bc_error *error) {
    const bc_model *model = session->model;
    bc_run *run = &session->run;
    const size_t table_bytes = bc_round_up(model->norm_count * 256 * sizeof(float), 64);
    uint64_t bound = table_bytes + 64, prep = 0;
    for (size_t n = 0; n < model->node_count; n++) {
        run->scratch_bytes = bc_max(run->scratch_bytes, bc_task_bytes(&model->nodes[n]));
        const bc_node *node = &model->nodes[n];
        const size_t table = bc_max(run->kernels->ttable_octet, run->kernels->qtable_octet);
        const uint64_t bytes = node->prep_bytes + (uint64_t)node->table_octets * table,
                       all = bytes * session->batch;
        prep = all > prep ? all : prep;
    }
    for (size_t v = 0; v < model->value_count; v++)
        bound += ((uint64_t)model->values[v].bytes + 64) * session->batch;
    prep = (prep + 63) / 64 * 64;
    bound += prep + model->list_bytes + (uint64_t)run->scratch_bytes * run->thread_count;
    /* what no sharing of memory could make too large may not be too large: so nothing below
     * overflows */
    if (bound > MAX_ARENA_BYTES || bound > SIZE_MAX / 2)
        return bc_fail(error, BC_ERR_LIMIT, -1, "batch %u and %zu threads need up to %llu MiB",
                       session->batch, run->thread_count, (unsigned long long)(bound >> 20));
    session->values = calloc(model->value_count, sizeof *session->values);
    session->node_ns = calloc(model->node_count, sizeof *session->node_ns);
    size_t *offsets = calloc(model->value_count, sizeof *offsets), values_bytes = 0;
    bc_status status = BC_ERR_MEMORY;
    if (session->values && session->node_ns && offsets)
        status = bc_plan_arena(model, session->batch, keep_all, offsets, &values_bytes, error);
    else
        bc_fail(error, status, -1, "no memory for a session");
    if (!status) {
        session->arena_bytes =
            values_bytes + (size_t)prep + run->scratch_bytes * run->thread_count + table_bytes;
        session->memory = calloc(1, bc_block_room(session->arena_bytes));
        if (!session->memory)
            status =
                bc_fail(error, BC_ERR_MEMORY, -1, "no memory for %zu bytes", session->arena_bytes);
    }
    if (!status) {
        session->arena = bc_align_block(session->memory, session->arena_bytes);
        for (size_t v = 0; v < model->value_count; v++)
            session->values[v] = session->arena + offsets[v];
        run->values = session->values;
        run->prep = session->arena + values_bytes;
        run->scratch = run->prep + prep;
        session->pixel_table =
            (float *)(void *)(run->scratch + run->scratch_bytes * run->thread_count);
        fill_pixel_table(session);
    }
    free(offsets);
    return status;
}

/* Lists of pointers into what is allocated, in a block of their own. */
static bc_status make_lists(bc_session *session, bc_error *error) {
    const bc_model *model = session->model;
    const size_t bytes = (size_t)model->list_bytes;
    if (!bytes)
        return BC_OK;
    session->list_memory = calloc(1, bc_block_room(bytes));
    if (!session->list_memory)
        return bc_fail(error, BC_ERR_MEMORY, -1, "no memory for %zu bytes of pointers", bytes);
    session->run.lists = bc_align_block(session->list_memory, bytes);
    for (size_t n = 0; n < model->node_count; n++)
        bc_lists_make(&session->run, &model->nodes[n]);
    return BC_OK;
}

/* What kernels that read planes ask for, and room for the planes of one node's input. Where that
 * would be larger than any model may be, as of a huge batch, no node has any. */
static bc_status make_planes(bc_session *session, bc_error *error) {
    const bc_model *model = session->model;
    bc_run *run = &session->run;
    size_t bytes = 0, most = 0;
    for (size_t n = 0; n < model->node_count; n++) {
        size_t sample = 0;
        bytes += bc_planes_bytes(run, &model->nodes[n], &sample);
        most = bc_max(most, sample);
    }
    most *= session->batch;
    if (!bytes || bytes > BC_MAX_MODEL_BYTES || most > BC_MAX_MODEL_BYTES)
        return BC_OK;
    run->planes = calloc(model->node_count, sizeof *run->planes);
    session->plane_memory = calloc(1, bc_block_room(bytes + most));
    if (!run->planes || !session->plane_memory)
        return bc_fail(error, BC_ERR_MEMORY, -1, "no memory for %zu bytes of planes", bytes + most);
    char *to = bc_align_block(session->plane_memory, bytes + most);
    for (size_t n = 0; n < model->node_count; n++) {
        size_t sample;
        const size_t some = bc_planes_bytes(run, &model->nodes[n], &sample);
        if (some) {
            bc_planes_make(run, &model->nodes[n], to);
            run->planes[n] = (const struct bc_planes *)(const void *)to;
        }
        to += some;
    }
    run->plane_memory = (uint8_t *)to;
    return BC_OK;
}

/* Weights in the form of the session's kernels, in a block of their own. A file whose copy would be
 * larger than any model may be keeps to its panels. */
static bc_status spread_weights(bc_session *session, bc_error *error) {
    const bc_model *model = session->model;
    bc_run *run = &session->run;
    size_t bytes = 0;
    for (size_t n = 0; n < model->node_count && run->kernels->spread; n++)
        bytes += bc_spread_bytes(run, &model->nodes[n], session->batch);
    if (!bytes || bytes > BC_MAX_MODEL_BYTES)
        return BC_OK;
    run->spread = calloc(model->node_count, sizeof *run->spread);
    session->spread_memory = calloc(1, bc_block_room(bytes));
    if (!run->spread || !session->spread_memory)
        return bc_fail(error, BC_ERR_MEMORY, -1, "no memory for %zu bytes of weights", bytes);
    char *to = bc_align_block(session->spread_memory, bytes);
    for (size_t n = 0; n < model->node_count; n++) {
        const size_t some = bc_spread_bytes(run, &model->nodes[n], session->batch);
        if (some) {
            bc_spread(run, &model->nodes[n], to);
            run->spread[n] = to;
        }
        to += some;
    }
    return BC_OK;
}

bc_status bc_session_open(const bc_model *model, const bc_session_options *options,
                          bc_session **out, bc_error *error) {
    bc_error ignored;
    bc_session_options given = {0};
    if (!error)
        error = &ignored;
    if (!out)
        return bc_fail(error, BC_ERR_ARGUMENT, -1, "bc_session_open: session is NULL");
    *out = NULL;
    if (!model)
        return bc_fail(error, BC_ERR_ARGUMENT, -1, "bc_session_open: model is NULL");
    if (options) {
        if (options->struct_size < sizeof options->struct_size)
            return bc_fail(error, BC_ERR_ARGUMENT, -1,
                           "bc_session_open: options.struct_size is not set");
        memcpy(&given, options, bc_min(options->struct_size, sizeof given));
    }
    if (given.threads > MAX_THREADS || given.batch > MAX_BATCH)
        return bc_fail(error, BC_ERR_ARGUMENT, -1, "%u threads and batch %u; at most %d and %d",
                       given.threads, given.batch, MAX_THREADS, MAX_BATCH);
    if (given.flags & ~(BC_SESSION_PROFILE | BC_SESSION_KEEP_ALL))
        return bc_fail(error, BC_ERR_ARGUMENT, -1, "unknown session flags %#x", given.flags);
    const bc_kernels *kernels = bc_dispatch(given.isa);
    if (!kernels)
        return bc_fail(error, BC_ERR_ISA, -1,
                       "instruction set %.40s is unknown, or this CPU does not have it",
                       given.isa && *given.isa ? given.isa : "in BC_ISA");
    bc_session *session = calloc(1, sizeof *session);
    if (!session)
        return bc_fail(error, BC_ERR_MEMORY, -1, "no memory for a session");
    session->model = model;
    session->batch = given.batch ? given.batch : 1;
    session->flags = given.flags;
    session->run = (bc_run){
        .model = model, .kernels = kernels, .thread_count = given.threads ? given.threads : 1};
    session->run.bands = !given.flags; /* both look at single nodes */
    if (!(given.flags & BC_SESSION_KEEP_ALL))
        session->run.loaded = bc_input_copied(model);
    bc_status status = allocate(session, given.flags & BC_SESSION_KEEP_ALL, error);
    if (!status)
        status = make_lists(session, error);
    if (!status)
        status = bc_ahead_plan(&session->run, session->batch, bc_cache_bytes(), error);
    if (!status)
        status = make_planes(session, error);
    if (!status)
        status = spread_weights(session, error);
    if (!status && session->run.thread_count > 1) {
        session->run.threads = bc_threads_open(session->run.thread_count);
        if (!session->run.threads)
            status =
                bc_fail(error, BC_ERR_MEMORY, -1, "%u threads cannot be started", given.threads);
    }
    if (status) {
        bc_session_close(session);
        return status;
    }
    *out = session;
    return BC_OK;
}

void bc_session_close(bc_session *session) {
    if (!session)
        return;
    bc_threads_close(session->run.threads);
    free(session->memory);
    free(session->list_memory);
    free(session->spread_memory);
    free(session->run.spread);
    free(session->plane_memory);
    free(session->run.planes);
    free(session->values);
    free(session->node_ns);
    free(session->run.ahead.parts);
    free(session);
}

const char *bc_session_isa(const bc_session *session) {
    return session ? session->run.kernels->name : NULL;
}

size_t bc_session_arena_bytes(const bc_session *session) {
    return session ? session->arena_bytes : 0;
}

uint64_t bc_session_node_ns(const bc_session *session, size_t i) {
    return session && i < session->model->node_count ? session->node_ns[i] : 0;
}

static void run_node(bc_session *session, size_t i) {
    const bc_node *node = &session->model->nodes[i];
    bool timed = session->flags & BC_SESSION_PROFILE;
    uint64_t start = timed ? bc_now_ns() : 0;
    bc_ops[node->op].op->run(&session->run, node);
    if (timed)
        session->node_ns[i] += bc_now_ns() - start;
}

bc_status bc_session_run(bc_session *session, const bc_input *input, size_t n, float *out,
                         bc_error *error) {
    bc_error ignored;
    if (!error)
        error = &ignored;
    if (!session || !input || !out || n < 1)
        return bc_fail(error, BC_ERR_ARGUMENT, -1,
                       "bc_session_run: a NULL argument, or no samples");
    const bc_model *model = session->model;
    const bc_value *last = &model->values[model->output];
    bc_status status = bc_input_prepare(session, input, error);
    if (status)
        return status;
    memset(session->node_ns, 0, model->node_count * sizeof *session->node_ns);
    for (size_t first = 0; first < n; first += session->batch) {
        session->run.n = bc_min(session->batch, n - first);
        if ((status = bc_input_load(session, input, first, session->run.n, error)))
            return status;
        for (size_t i = 0; i < model->node_count; i++)
            run_node(session, i);
        bc_value_read(last, session->values[model->output], session->run.n, false,
                      out + first * last->c * last->pixels);
    }
    return BC_OK;
}

/* The calls that look inside share their conditions. */
static bc_status inside(const bc_session *session, size_t index, size_t count, size_t n) {
    if (!(session->flags & BC_SESSION_KEEP_ALL))
        return BC_ERR_STATE;
    return index < count && n >= 1 && n <= session->batch ? BC_OK : BC_ERR_ARGUMENT;
}

bc_status bc_session_run_node(bc_session *session, size_t node, size_t n) {
    bc_status status =
        session ? inside(session, node, session->model->node_count, n) : BC_ERR_ARGUMENT;
    if (status)
        return status;
    session->run.n = n;
    session->node_ns[node] = 0;
    run_node(session, node);
    return BC_OK;
}

bc_status bc_session_read_value(const bc_session *session, size_t value, float *nhwc, size_t n) {
    bc_status status =
        session && nhwc ? inside(session, value, session->model->value_count, n) : BC_ERR_ARGUMENT;
    if (!status)
        bc_value_read(&session->model->values[value], session->values[value], n, true, nhwc);
    return status;
}

bc_status bc_session_write_value(bc_session *session, size_t value, const float *nhwc, size_t n) {
    bc_status status =
        session && nhwc ? inside(session, value, session->model->value_count, n) : BC_ERR_ARGUMENT;
    if (!status)
        bc_value_write(&session->model->values[value], session->values[value], n, nhwc);
    return status;
}
