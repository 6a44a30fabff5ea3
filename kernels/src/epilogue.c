/* epilogue.c: the steps of a node, on the rows of one task while they are in the cache. */
#include "session.h"

#include <string.h>

void bc_node_direct(bc_node *node, bool allowed) {
    node->direct = -1;
    /* from the first store on after which nothing changes the rows again */
    for (size_t j = node->step_count; j-- > 0 && allowed && node->steps[j].op >= BC_STEP_STORE;)
        if (node->steps[j].op == BC_STEP_STORE)
            node->direct = node->steps[j].value;
    node->uses_rows = node->direct < 0;
}

uint8_t *bc_task_bits(const bc_task *task, int32_t value, size_t *stride) {
    *stride = task->run->model->values[value].pixel_bytes;
    return (uint8_t *)task->run->values[value] + task->p0 * *stride + task->c0 / 8;
}

void bc_zero_tail(const bc_task *task, uint8_t *bits, size_t stride, size_t bytes) {
    size_t tail = stride - task->c0 / 8 - bytes;
    if (!tail || task->c0 + task->c != task->node->c)
        return;
    for (size_t p = 0; p < task->m; p++)
        memset(bits + p * stride + bytes, 0, tail);
}

/* The task's rectangle of a float value. */
static float *value_rows(const bc_task *task, int32_t value) {
    return (float *)(void *)task->run->values[value] + task->p0 * task->node->c + task->c0;
}

static void store(const bc_task *task, float *to) {
    if (to == task->rows)
        return;
    if (task->ld == task->c && task->c == task->node->c) {
        memcpy(to, task->rows, task->m * task->c * sizeof *to);
        return;
    }
    for (size_t p = 0; p < task->m; p++)
        memcpy(to + p * task->node->c, task->rows + p * task->ld, task->c * sizeof *to);
}

void bc_epilogue(const bc_task *task) {
    const bc_kernels *k = task->run->kernels;
    const size_t m = task->m, c = task->c, c0 = task->c0, ld = task->ld;
    /* rows without gaps are one long row to whatever does the same to all channels */
    const bool gapless = ld == c && c == task->node->c;
    const size_t fm = gapless ? 1 : m, fc = gapless ? m * c : c, fld = bc_max(ld, fc);
    float *y = task->rows;
    for (const bc_step *step = task->node->steps, *end = step + task->node->step_count; step < end;
         step++) {
        switch (step->op) {
        case BC_STEP_AFFINE:
            k->affine(m, c, y, ld, step->scale + c0, step->bias + c0);
            break;
        case BC_STEP_RELU:
            k->relu(fm, fc, y, fld);
            break;
        case BC_STEP_HARDTANH:
            k->hardtanh(fm, fc, y, fld);
            break;
        case BC_STEP_PRELU:
            k->prelu(m, c, y, ld, step->scale + c0);
            break;
        case BC_STEP_ADD:
            k->add(fm, fc, y, fld, value_rows(task, step->value), bc_max(task->node->c, fc));
            break;
        case BC_STEP_MUL_MAP:
            k->mul_map(m, c, y, ld,
                       (const float *)(const void *)task->run->values[step->value] + task->p0);
            break;
        case BC_STEP_STORE:
            store(task, value_rows(task, step->value));
            break;
        case BC_STEP_SIGN: {
            size_t stride;
            uint8_t *bits = bc_task_bits(task, step->value, &stride);
            k->sign_bits(m, c, y, ld, bits, stride);
            bc_zero_tail(task, bits, stride, (c + 7) / 8);
            break;
        }
        case BC_STEP_THRESHOLD: /* on integers: the operation's own business */
        case BC_STEP_OPS:
            break;
        }
    }
}

void bc_integer_epilogue(const bc_task *task) {
    const bc_kernels *k = task->run->kernels;
    const bc_step *step = task->node->steps;
    if (step->op != BC_STEP_THRESHOLD) {
        k->i32_to_f32(task->m, task->c, task->acc, task->ld, task->rows);
        bc_epilogue(task);
        return;
    }
    size_t stride;
    uint8_t *bits = bc_task_bits(task, step->value, &stride);
    k->i32_to_bits(task->m, task->c, task->acc, task->ld, step->tau + task->c0, bits, stride);
    bc_zero_tail(task, bits, stride, (task->c + 7) / 8);
}
