/* binary_product.c: binary_conv2d, binary_dense: bits times bits by xor and popcount. What the
 * parts do: bit_rows.c packs inputs of few channels, bit_margins.c joins taps of the others,
 * binary_border.c makes zero padding exact. Where bit_planes.c says so, plane_product.c does the
 * products of an input turned to planes instead. */
#include "binary.h"

/* Of a task, where pointers per pixel are few. Images of many pixels have larger ones, as what a
 * kernel prepares for every call then serves more tiles. */
enum { FEW_TAPS = 16, CHUNK_PIXELS = 256, CHUNK_OF_MANY = 512, CHUNK_SUMS = 1 << 18 };

/* More pixels than other operations take, as many bits stay in L1; sums may not fill more memory
 * than theirs. */
static size_t larger_chunk(const bc_node *node) {
    const size_t image = node->window.oh * node->window.ow,
                 pixels = image >= 4 * CHUNK_OF_MANY ? CHUNK_OF_MANY : CHUNK_PIXELS;
    return node->uses_acc ? bc_min(pixels, CHUNK_SUMS / node->ld) : pixels;
}

/* Padding under one tap, in the words of the kernels. */
static bc_status make_pad(bc_model *model, bc_node *node, bc_error *error) {
    const size_t words = node->groups * node->inner;
    uint64_t *pad = bc_model_alloc(model, words, sizeof *pad, error);
    if (!pad)
        return error->code;
    node->pad = pad;
    /* groups follow each other without a gap where the input itself is read */
    const size_t bits = node->rows.columns ? node->tap_bits : node->tap_bits * node->groups;
    for (size_t at = 0; at < words && node->pad_value < 0; at += bc_words(bits))
        for (size_t i = 0; i < bits; i++)
            pad[at + i / 64] |= (uint64_t)1 << i % 64;
    return BC_OK;
}

static bc_status prepare(bc_model *model, bc_node *node, bc_error *error) {
    const bool threshold = node->steps[0].op == BC_STEP_THRESHOLD;
    size_t class_count = 1;
    node->image = node->window;
    node->tap_bits = node->group_in;
    node->inner = bc_words(node->group_in);
    node->pixel_bytes = model->values[node->input].pixel_bytes;
    bc_status status = bc_border_base(model, node, &class_count, error);
    if (status)
        return status;
    bc_bit_rows_choose(model, node);
    if (bc_ops[node->op].kind == BC_KIND_DENSE)
        bc_window_flatten(node);
    bc_bit_margins_choose(node);
    status = bc_weights_binary(model, node, error);
    if (!status)
        status = make_pad(model, node, error);
    if (!status && threshold && (node->groups == 1 || node->group_out % 8 == 0))
        status = bc_border_limit(model, node, class_count, error);
    if (!status)
        status = bc_border_halve(model, node, class_count, error);
    if (status)
        return status;
    node->uses_acc = !node->limit;
    node->direct = -1;
    status = bc_window_prepare(model, node, error);
    if (!status && node->taps <= FEW_TAPS)
        node->chunk = bc_max(node->chunk, larger_chunk(node));
    if (!status)
        bc_lists_choose(model, node);
    return status;
}

/* Kernels take weights as panels, and spread where the session has them so. */
static void threshold_task(const bc_task *task, size_t skip, const char *weights) {
    const bc_node *node = task->node;
    const bc_kernels *kernels = task->run->kernels;
    const uint64_t **a = (const uint64_t **)(void *)task->pointers;
    size_t stride;
    uint8_t *bits = bc_task_bits(task, node->steps[0].value, &stride);
    bc_zero_tail(task, bits, stride);
    for (size_t g = 0; g < node->groups; g++, weights += node->panels * node->panel_bytes) {
        const uint64_t *w = (const uint64_t *)(const void *)weights;
        const void *spread = bc_spread_find(task, g);
        const size_t from = skip + g * node->inner;
        uint8_t *out = bits + g * node->group_out / 8;
        if (spread)
            kernels->bgemm_tau_spread(task->m, task->panels, node->taps, node->inner, a, from, w,
                                      spread, task->pixel, out, stride);
        else
            kernels->bgemm_tau(task->m, task->panels, node->taps, node->inner, a, from, w,
                               task->pixel, out, stride);
        for (size_t p = 0; p < task->m && g + 1 < node->groups; p++)
            task->pixel[p] += node->panels * BC_PANEL_BINARY;
    }
}

static void sums_of_group(const bc_task *task, size_t g, size_t skip, const char *weights) {
    const bc_node *node = task->node;
    const bc_kernels *kernels = task->run->kernels;
    const uint64_t **a = (const uint64_t **)(void *)task->pointers;
    const uint64_t *w = (const uint64_t *)(const void *)weights;
    const void *spread = bc_spread_find(task, g);
    const size_t from = skip + g * node->inner;
    int32_t *acc = task->acc + g * node->group_out;
    if (spread)
        kernels->bgemm_spread(task->m, task->panels, node->taps, node->inner, a, from, w, spread,
                              acc, task->ld);
    else
        kernels->bgemm(task->m, task->panels, node->taps, node->inner, a, from, w, acc, task->ld);
}

static bc_row_step source_of(const bc_task *task) {
    return (bc_row_step){.op = task->node->halved ? BC_ROW_HALF : BC_ROW_POP,
                         .x = task->acc,
                         .base = task->pixel,
                         .ld = task->ld};
}

static void epilogue_of_sums(const bc_task *task) {
    const bc_node *node = task->node;
    if (node->steps[0].op != BC_STEP_THRESHOLD) {
        bc_epilogue_from(task, source_of(task));
        return;
    }
    for (size_t p = 0; p < task->m; p++) /* groups that do not end at a byte */
        for (size_t i = 0; i < task->c; i++)
            task->acc[p * task->ld + i] = task->pixel[p][i] - 2 * task->acc[p * task->ld + i];
    bc_integer_epilogue(task);
}

/* skip: words under every pointer before those of the first group. */
static void sums_task(const bc_task *task, size_t skip, const char *weights) {
    const bc_node *node = task->node;
    if (node->groups == 1 && node->steps[0].op != BC_STEP_THRESHOLD && !bc_spread_find(task, 0)) {
        bc_row_step list[BC_MOST_LINKS];
        const size_t count = bc_epilogue_list(task, source_of(task), list);
        task->run->kernels->bgemm_steps(
            task->m, task->c, node->taps, node->inner, (const uint64_t **)(void *)task->pointers,
            skip, (const uint64_t *)(const void *)weights, task->acc, task->ld, list, count);
        return;
    }
    for (size_t g = 0; g < node->groups; g++, weights += node->panels * node->panel_bytes)
        sums_of_group(task, g, skip, weights); /* columns beyond it: the next one's */
    epilogue_of_sums(task);
}

/* A task of a node whose input lies there as planes. */
static void plane_task(const bc_task *task) {
    const bc_node *node = task->node;
    if (node->limit) {
        bc_planes_product(task);
        return;
    }
    const size_t end = task->p0 + task->m;
    bc_task some = *task;
    for (; some.p0 < end;
         some.p0 += some.m) { /* sums of a few tiles, which the first cache holds */
        some.m = bc_planes_whole(task, some.p0, end - some.p0);
        bc_border_rows(&some, node->base + task->c0, node->filters);
        bc_planes_product(&some);
        epilogue_of_sums(&some);
    }
}

static void product_task(const bc_task *given) {
    bc_task task = *given;
    const bc_node *node = task.node;
    const char *weights = (const char *)node->weights + task.panel0 * node->panel_bytes;
    const size_t skip = bc_lists_find(&task);
    (node->limit ? threshold_task : sums_task)(&task, skip, weights);
}

static void run(const bc_run *run, const bc_node *node) {
    if (bc_planes_find(run, node)) {
        bc_planes_run(run, node);
        bc_run_tasks(run, node, bc_min(node->w, 2 * run->kernels->plane_lanes), plane_task);
        return;
    }
    if (node->prep_bytes)
        (node->rows.columns ? bc_bit_rows_run : bc_bit_margins_run)(run, node);
    bc_run_tasks(run, node, run->kernels->mr_binary, product_task);
}

const bc_op bc_op_binary_product = {prepare, run};
