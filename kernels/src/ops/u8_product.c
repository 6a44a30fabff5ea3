/* u8_product.c: u8_conv2d, u8_dense: raw pixels u, read as the integers 2 u - offset, times 1-bit
 * weights. Exact. */
#include "../session.h"

static bc_status prepare(bc_model *model, bc_node *node, bc_error *error) {
    const bc_value *main = &model->values[node->input];
    node->pixel_bytes = main->c * sizeof(int16_t);
    node->copy = (bc_copy){main->h, main->w, 0, 0, node->pixel_bytes};
    node->inner = node->group_in;
    bc_status status = bc_weights_16(model, node, error);
    if (status)
        return status;
    node->pad = bc_model_alloc(model, node->pixel_bytes, 1, error);
    if (!node->pad)
        return error->code;
    if (bc_ops[node->op].kind == BC_KIND_DENSE)
        bc_window_flatten(node);
    else
        bc_row_taps(node, BC_FEW_CHANNELS);
    node->prep_bytes = node->copy.h * node->copy.w * node->copy.pixel_bytes;
    node->uses_acc = true;
    node->direct = -1;
    return bc_window_prepare(model, node, error);
}

static void convert(const bc_node *node, const void *from, void *to, size_t count) {
    const uint8_t *pixels = from;
    int16_t *numbers = to;
    for (size_t i = 0; i < count; i++)
        numbers[i] = (int16_t)(2 * pixels[i] - node->multiply_offset);
}

static void product_task(const bc_task *task) {
    const bc_node *node = task->node;
    const bc_kernels *k = task->run->kernels;
    const int16_t **a = (const int16_t **)(void *)task->pointers;
    bc_window_pointers(node, task->run->prep, task->p0, task->m, task->pointers);
    const char *weights = (const char *)node->weights + task->panel0 * node->panel_bytes;
    for (size_t g = 0; g < node->groups; g++, weights += node->panels * node->panel_bytes) {
        k->igemm(task->m, task->panels, node->taps, node->inner, a,
                 (const uint16_t *)(const void *)weights, task->acc + g * node->group_out,
                 task->ld);
        bc_next_group(task, g, node->inner * sizeof(int16_t));
    }
    bc_integer_epilogue(task);
}

static void run(const bc_run *run, const bc_node *node) {
    bc_copy_input(run, node, convert);
    bc_run_tasks(run, node, run->kernels->mr_float, product_task);
}

const bc_op bc_op_u8_product = {prepare, run};
