/* float_product.c: conv2d, dense: floats times float weights. */
#include "../session.h"

#include <string.h>

static bc_status prepare(bc_model *model, bc_node *node, bc_error *error) {
    const bc_value *main = &model->values[node->input];
    node->pixel_bytes = main->pixel_bytes;
    node->inner = node->group_in;
    node->depthwise = node->group_in == 1 && node->group_out == 1;
    bc_status status = bc_weights_float(model, node, error);
    if (status)
        return status;
    node->pad = bc_model_alloc(model, node->pixel_bytes, 1, error);
    if (!node->pad)
        return error->code;
    if (bc_ops[node->op].kind == BC_KIND_DENSE)
        bc_window_flatten(node);
    else if (!node->depthwise)
        bc_row_taps(node, BC_FEW_CHANNELS);
    if (node->copy.top || node->copy.left || node->copy.h > main->h || node->copy.w > main->w)
        node->prep_bytes = node->copy.h * node->copy.w * node->copy.pixel_bytes;
    /* whole panels, or halves of them, are written: into the value itself only where they fill its
     * rows exactly */
    bc_node_direct(node, node->depthwise || node->group_out % 8 == 0);
    return bc_window_prepare(model, node, error);
}

static void product_task(const bc_task *task) {
    const bc_node *node = task->node;
    const bc_kernels *k = task->run->kernels;
    const float **a = (const float **)(void *)task->pointers;
    const void *source = node->prep_bytes ? task->run->prep : task->run->values[node->input];
    bc_window_pointers(node, source, task->p0, task->m, task->pointers);
    if (node->depthwise) {
        k->fdepthwise(task->m, task->c, node->taps, a, node->weights, task->rows, task->ld);
        bc_epilogue(task);
        return;
    }
    const char *weights = (const char *)node->weights + task->panel0 * node->panel_bytes;
    const bc_ahead ahead = bc_ahead_of(task);
    for (size_t g = 0; g < node->groups; g++, weights += node->panels * node->panel_bytes) {
        /* panels may reach beyond their group: ascending groups overwrite what the one before left
         * there */
        float *rows = task->rows + g * node->group_out;
        k->fgemm(task->m, node->groups > 1 ? node->group_out : task->c, node->taps, node->inner, a,
                 (const float *)(const void *)weights, rows, task->ld, ahead.bytes ? &ahead : NULL);
        bc_next_group(task, g, node->inner * sizeof(float));
    }
    bc_epilogue(task);
}

static void same_floats(const bc_node *node, const void *from, void *to, size_t count) {
    (void)node;
    memcpy(to, from, count * sizeof(float));
}

static void run(const bc_run *run, const bc_node *node) {
    if (node->prep_bytes && run->loaded != node)
        bc_copy_input(run, node, same_floats);
    if (!bc_run_pooled(run, node, run->kernels->mr_float, product_task))
        bc_run_tasks(run, node, run->kernels->mr_float, product_task);
}

const bc_op bc_op_float_product = {prepare, run};
