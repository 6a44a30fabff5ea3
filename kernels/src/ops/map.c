/* map.c: operations that move or read values without arithmetic of their own: elementwise,
 * subsample_pad, flatten, constant. */
#include "../session.h"

#include <string.h>

static bc_status prepare(bc_model *model, bc_node *node, bc_error *error) {
    node->pixel_bytes = model->values[node->input].pixel_bytes;
    node->direct = -1;
    bc_dtype dtype = model->values[node->input].dtype;
    if (dtype == BC_U8 || (dtype == BC_F32 && node->op != BC_OP_elementwise))
        bc_node_direct(node, true);
    if (node->op == BC_OP_constant)
        node->weights = node->weight->data;
    else if (node->op != BC_OP_flatten)
        return bc_window_prepare(model, node, error);
    node->taps =
        1; /* a task of flatten is a sample, and it finds its pixels itself; constant has none */
    bc_node_chunk(node);
    return BC_OK;
}

static void elementwise_task(const bc_task *task) {
    const bc_node *node = task->node;
    const char *main = task->run->values[node->input] + task->p0 * node->pixel_bytes;
    if (task->run->model->values[node->input].dtype == BC_F32) {
        bc_epilogue_from(task, (bc_row_step){.op = BC_ROW_LOAD, .x = main, .ld = node->c});
        return;
    }
    for (size_t p = 0; p < task->m; p++, main += node->pixel_bytes)
        for (size_t c = 0; c < node->c; c++)
            task->rows[p * task->ld + c] = (float)((const uint8_t *)main)[c];
    bc_epilogue(task);
}

static void subsample_task(const bc_task *task) {
    const bc_node *node = task->node;
    size_t kept = node->c - node->before - node->after;
    bc_window_pointers(node, task->run->values[node->input], task->p0, task->m, task->pointers);
    for (size_t p = 0; p < task->m; p++) {
        float *y = task->rows + p * task->ld;
        memset(y, 0, node->before * sizeof *y);
        memcpy(y + node->before, task->pointers[p], kept * sizeof *y);
        memset(y + node->before + kept, 0, node->after * sizeof *y);
    }
    bc_epilogue(task);
}

/* (h, w, c) in memory to the order (c, h, w). */
static void flatten_task(const bc_task *task) {
    const bc_node *node = task->node;
    const bc_value *main = &task->run->model->values[node->input];
    for (size_t n = 0; n < task->m; n++) {
        const char *sample = task->run->values[node->input] + (task->p0 + n) * main->bytes;
        if (main->dtype == BC_F32) {
            float *y = task->rows + n * task->ld;
            for (size_t c = 0; c < main->c; c++)
                for (size_t p = 0; p < main->pixels; p++)
                    y[c * main->pixels + p] =
                        ((const float *)(const void *)sample)[p * main->c + c];
            continue;
        }
        uint64_t *y = (uint64_t *)(void *)(task->run->values[node->steps[0].value]) +
                      (task->p0 + n) * bc_words(node->c);
        memset(y, 0, bc_words(node->c) * sizeof *y);
        for (size_t c = 0; c < main->c; c++)
            for (size_t p = 0; p < main->pixels; p++) {
                const uint64_t *x =
                    (const uint64_t *)(const void *)(sample + p * main->pixel_bytes);
                size_t to = c * main->pixels + p;
                y[to / 64] |= (x[c / 64] >> c % 64 & 1) << to % 64;
            }
    }
    if (main->dtype == BC_F32)
        bc_epilogue(task);
}

/* The same image for every sample. */
static void constant_task(const bc_task *task) {
    const bc_node *node = task->node;
    const float *factors = node->weights;
    for (size_t p = 0; p < task->m; p++)
        task->rows[p * task->ld] = factors[(task->p0 + p) % ((size_t)node->h * node->w)];
    bc_epilogue(task);
}

static void run_elementwise(const bc_run *run, const bc_node *node) {
    bc_run_tasks(run, node, 1, elementwise_task);
}

static void run_subsample(const bc_run *run, const bc_node *node) {
    bc_run_tasks(run, node, 1, subsample_task);
}

static void run_flatten(const bc_run *run, const bc_node *node) {
    bc_run_tasks(run, node, 1, flatten_task);
}

static void run_constant(const bc_run *run, const bc_node *node) {
    bc_run_tasks(run, node, 1, constant_task);
}

const bc_op bc_op_elementwise = {prepare, run_elementwise};
const bc_op bc_op_subsample_pad = {prepare, run_subsample};
const bc_op bc_op_flatten = {prepare, run_flatten};
const bc_op bc_op_constant = {prepare, run_constant};
