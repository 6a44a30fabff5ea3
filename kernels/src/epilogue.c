/* epilogue.c: the steps of a node, on the rows of one task while they are in the cache: all of them
 * in one call of one kernel. */
#include "session.h"

#include <string.h>

void bc_node_direct(bc_node *node, bool allowed) {
    node->direct = -1;
    for (size_t j = node->step_count; j-- > 0 && allowed;)
        if (node->steps[j].op == BC_STEP_STORE)
            node->direct = node->steps[j].value; /* the first one, in the end */
    node->uses_rows = node->direct < 0;
}

uint8_t *bc_task_bits(const bc_task *task, int32_t value, size_t *stride) {
    *stride = task->run->model->values[value].pixel_bytes;
    return (uint8_t *)task->run->values[value] + task->p0 * *stride + task->c0 / 8;
}

void bc_zero_tail(const bc_task *task, uint8_t *bits, size_t stride) {
    const size_t bytes = (task->c + 7) / 8, tail = stride - task->c0 / 8 - bytes;
    if (!tail || task->c0 + task->c != task->node->c)
        return;
    if (!task->c0 && stride == 8) { /* pixels of one word, which nothing has been written to yet */
        memset(bits, 0, task->m * stride);
        return;
    }
    if (!task->c0) { /* the whole last word, as before */
        for (size_t p = 1; p <= task->m; p++)
            memset(bits + p * stride - 8, 0, 8);
        return;
    }
    for (size_t p = 0; p < task->m; p++)
        memset(bits + p * stride + bytes, 0, tail);
}

/* The task's rectangle of a float value. */
static float *value_rows(const bc_task *task, int32_t value) {
    return (float *)(void *)task->run->values[value] + task->p0 * task->node->c + task->c0;
}

/* A step of the file as a step of the kernel, on the memory of this task. Written where it belongs:
 * a copy of what has just been stored in parts waits for these stores. */
static void write_step(const bc_task *task, const bc_step *step, bc_row_step *row) {
    *row = (bc_row_step){.op = BC_ROW_AFFINE,
                         .scale = step->scale ? step->scale + task->c0 : NULL,
                         .bias = step->bias ? step->bias + task->c0 : NULL,
                         .ld = task->node->c};
    switch (step->op) {
    case BC_STEP_AFFINE:
        break;
    case BC_STEP_RELU:
        row->op = BC_ROW_RELU;
        break;
    case BC_STEP_HARDTANH:
        row->op = BC_ROW_HARDTANH;
        break;
    case BC_STEP_PRELU:
        row->op = BC_ROW_PRELU;
        break;
    case BC_STEP_ADD:
        row->op = BC_ROW_ADD;
        row->x = value_rows(task, step->value);
        break;
    case BC_STEP_MUL_MAP:
        row->op = BC_ROW_MUL_MAP;
        row->x = (const float *)(const void *)task->run->values[step->value] + task->p0;
        break;
    case BC_STEP_STORE:
        row->op = BC_ROW_STORE;
        row->to = value_rows(task, step->value);
        break;
    case BC_STEP_SIGN:
        row->op = BC_ROW_SIGN;
        row->to = bc_task_bits(task, step->value, &row->ld);
        bc_zero_tail(task, row->to, row->ld);
        break;
    case BC_STEP_THRESHOLD: /* on integers: the operation's own business */
    case BC_STEP_OPS:
        break;
    }
}

/* factors: one per pixel, or NULL. */
static size_t make_list(const bc_task *task, bc_row_step source, const float *factors,
                        bc_row_step list[BC_MOST_LINKS]) {
    const bc_node *node = task->node;
    size_t count = 1;
    list[0] = source;
    if (factors)
        list[count++] = (bc_row_step){.op = BC_ROW_MUL_MAP, .x = factors};
    for (const bc_step *step = node->steps; step < node->steps + node->step_count; step++) {
        write_step(task, step, &list[count]);
        /* rows that were made in the value's own memory are stored already, if nothing changed them
         */
        const bool stored =
            count == 1 && list[count].op == BC_ROW_STORE && list[count].to == source.x;
        count += !stored;
    }
    return count;
}

static void run_steps(const bc_task *task, bc_row_step source, const float *factors) {
    bc_row_step list[BC_MOST_LINKS];
    const size_t count = make_list(task, source, factors, list);
    if (count > 1)
        task->run->kernels->steps(task->m, task->c, list, count);
}

void bc_epilogue_from(const bc_task *task, bc_row_step source) {
    run_steps(task, source, NULL);
}

size_t bc_epilogue_list(const bc_task *task, bc_row_step source, bc_row_step list[BC_MOST_LINKS]) {
    return make_list(task, source, NULL, list);
}

void bc_scaled_epilogue(const bc_task *task, const float *factors) {
    run_steps(task, (bc_row_step){.op = BC_ROW_I32, .x = task->acc, .ld = task->ld}, factors);
}

void bc_epilogue(const bc_task *task) {
    bc_epilogue_from(task, (bc_row_step){.op = BC_ROW_LOAD, .x = task->rows, .ld = task->ld});
}

void bc_integer_epilogue(const bc_task *task) {
    const bc_kernels *k = task->run->kernels;
    const bc_step *step = task->node->steps;
    if (step->op != BC_STEP_THRESHOLD) {
        bc_epilogue_from(task, (bc_row_step){.op = BC_ROW_I32, .x = task->acc, .ld = task->ld});
        return;
    }
    size_t stride;
    uint8_t *bits = bc_task_bits(task, step->value, &stride);
    bc_zero_tail(task, bits, stride);
    k->i32_to_bits(task->m, task->c, task->acc, task->ld, step->tau + task->c0, bits, stride);
}
