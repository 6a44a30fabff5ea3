/* binary_spread.c: binary weights in the form that a session's kernels read faster than panels,
 * where there is one: made when the session is opened, as another session may have other kernels.
 */
#include "binary.h"

enum { LEAST_PIXELS = 4 }; /* of a product that uses it */

/* Bytes of spread_panels panels. */
static size_t part_bytes(const bc_run *run, const bc_node *node) {
    return (node->taps * node->inner + 1) * run->kernels->spread_bytes;
}

static size_t group_bytes(const bc_run *run, const bc_node *node) {
    const size_t panels = run->kernels->spread_panels;
    return (node->panels + panels - 1) / panels * part_bytes(run, node);
}

size_t bc_spread_bytes(const bc_run *run, const bc_node *node, size_t batch) {
    if (bc_ops[node->op].op != &bc_op_binary_product || bc_planes_find(run, node) ||
        batch * node->h * node->w < LEAST_PIXELS ||
        !run->kernels->spread_serves(node->panels, node->taps, node->inner))
        return 0;
    return node->groups * group_bytes(run, node);
}

void bc_spread(const bc_run *run, const bc_node *node, char *to) {
    const char *w = node->weights;
    for (size_t g = 0; g < node->groups; g++, w += node->panels * node->panel_bytes)
        run->kernels->spread(node->panels, node->taps * node->inner,
                             (const uint64_t *)(const void *)w, to + g * group_bytes(run, node));
}

const char *bc_spread_find(const bc_task *task, size_t g) {
    const bc_run *run = task->run;
    const bc_node *node = task->node;
    const char *all = run->spread ? run->spread[node - run->model->nodes] : NULL;
    if (!all || task->panel0 % run->kernels->spread_panels)
        return NULL;
    return all + g * group_bytes(run, node) +
           task->panel0 / run->kernels->spread_panels * part_bytes(run, node);
}
