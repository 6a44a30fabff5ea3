/* ahead.c: weights that a session would wait for are fetched while it computes.
 *
 * A dense layer of few samples takes as long as its weights need from memory, and a run finds them
 * there again if other work has used the caches since the last one. A convolution of floats leaves
 * memory idle meanwhile. So the last tasks of a network's largest one fetch the first weights of
 * the dense layers behind it, a line with every few multiplications: no sooner than they must, and
 * no more than a part of the last cache, which other cores use too. */
#include "session.h"

#include <stdlib.h>

enum {
    MOST_PIXELS = 8,       /* of a layer whose weights come slower than it multiplies them */
    LEAST_BYTES = 2 << 20, /* of its weights: fewer are not worth the room in the second cache */
    LEAST_COMPUTING = 128, /* pixels of the layer that fetches */
    CACHE_SHARE = 4,       /* a quarter of the last cache */
    LINE_MACS = 256        /* multiplications that hide a line: 15 GB/s where a core does 59 G/s */
};

static size_t pixels(const bc_node *node, size_t batch) {
    return batch * node->h * node->w;
}

static size_t weight_bytes(const bc_node *node) {
    return node->groups * node->panels * node->panel_bytes;
}

static bool waits(const bc_node *node, size_t batch) {
    return node->k && !node->depthwise && pixels(node, batch) <= MOST_PIXELS &&
           weight_bytes(node) >= LEAST_BYTES;
}

static bool fetches(const bc_node *node, size_t batch) {
    return bc_ops[node->op].op == &bc_op_float_product && !node->depthwise && node->groups == 1 &&
           pixels(node, batch) >= LEAST_COMPUTING;
}

static const bc_node *largest_fetching(const bc_model *model, size_t batch) {
    const bc_node *found = NULL;
    double most = 0;
    for (const bc_node *node = model->nodes; node < model->nodes + model->node_count; node++) {
        const double macs = (double)node->filters * node->k * (double)pixels(node, batch);
        if (!fetches(node, batch) || macs <= most)
            continue;
        most = macs;
        found = node;
    }
    return found;
}

bc_status bc_ahead_plan(bc_run *run, size_t batch, size_t cache_bytes, bc_error *error) {
    const bc_model *model = run->model;
    bc_plan_ahead *plan = &run->ahead;
    const bc_node *during = largest_fetching(model, batch);
    size_t room = cache_bytes / CACHE_SHARE;
    if (!during || !room)
        return BC_OK;
    plan->parts = calloc(model->node_count, sizeof *plan->parts);
    if (!plan->parts)
        return bc_fail(error, BC_ERR_MEMORY, -1, "no memory for a session");
    for (const bc_node *node = during + 1; node < model->nodes + model->node_count; node++) {
        if (!waits(node, batch) || !room)
            continue;
        const size_t bytes = bc_min(weight_bytes(node), room);
        plan->parts[plan->count++] = (bc_ahead){node->weights, bytes};
        plan->bytes += bytes;
        room -= bytes;
    }
    plan->during = plan->count ? during : NULL;
    return BC_OK;
}

/* A part gets as many whole tasks as it has of the bytes, so that no task fetches from two. */
bc_ahead bc_ahead_of(const bc_task *task) {
    const bc_node *node = task->node;
    const bc_plan_ahead *plan = &task->run->ahead;
    if (plan->during != node)
        return (bc_ahead){NULL, 0};
    const size_t macs =
                     bc_max(1, pixels(node, task->run->n) * node->filters * node->k / task->items),
                 needed = plan->bytes / BC_LINE * LINE_MACS / macs + 1,
                 tasks = bc_min(needed, task->items), skipped = task->items - tasks;
    size_t before = 0;
    for (size_t i = 0; i < plan->count && task->item >= skipped; i++) {
        const bc_ahead *part = &plan->parts[i];
        const size_t item = task->item - skipped, first = before * tasks / plan->bytes;
        before += part->bytes;
        const size_t end = before * tasks / plan->bytes;
        if (item >= end)
            continue;
        const size_t share = bc_round_up(part->bytes / (end - first) + 1, BC_LINE),
                     at = bc_min((item - first) * share, part->bytes);
        return (bc_ahead){part->at + at, bc_min(share, part->bytes - at)};
    }
    return (bc_ahead){NULL, 0};
}
