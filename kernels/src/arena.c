/* arena.c: places all values in one block. Two values that are never needed at the same time may
 * share memory: greedily, the largest value first, each at the lowest offset that is free for as
 * long as it lives. */
#include "session.h"

#include <stdlib.h>
#include <string.h>

typedef struct life {
    size_t bytes, offset;
    size_t from, to; /* step of execution: 0 is the input, node n is n + 1; both ends count */
    uint32_t value;
} life;

static int larger_first(const void *left, const void *right) {
    const life *a = left, *b = right;
    if (a->bytes != b->bytes)
        return a->bytes < b->bytes ? 1 : -1;
    return (a->value > b->value) - (a->value < b->value);
}

static void find_lives(const bc_model *model, size_t batch, bool keep_all, life *lives) {
    for (uint32_t v = 0; v < model->value_count; v++)
        lives[v] = (life){
            .value = v, .from = SIZE_MAX, .bytes = bc_round_up(model->values[v].bytes * batch, 64)};
    lives[model->input].from = 0;
    for (size_t n = 0; n < model->node_count; n++) {
        const bc_node *node = &model->nodes[n];
        /* in bands, the next node begins before this one has read and written all; a copy it reads
         * at once */
        const bool pooled = bc_pooled(model, node);
        for (size_t i = 0; i < node->output_count; i++) {
            lives[node->outputs[i]].from = n + 1;
            lives[node->outputs[i]].to = n + 1 + pooled;
        }
        for (size_t i = 0; i < node->input_count; i++)
            lives[node->inputs[i]].to = n + 1 + (pooled && (i || !node->prep_bytes));
    }
    lives[model->output].to = model->node_count + 1;
    for (size_t v = 0; v < model->value_count; v++)
        if (keep_all) {
            lives[v].from = 0;
            lives[v].to = model->node_count + 1;
        } else if (lives[v].from == SIZE_MAX) { /* neither made nor used */
            lives[v].from = lives[v].to = lives[v].bytes = 0;
        }
}

/* `placed` is sorted by offset; so the first gap that is wide enough is the lowest. */
static size_t place(const life *const *placed, size_t count, const life *one) {
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        const life *other = placed[i];
        if (other->to < one->from || one->to < other->from)
            continue;
        if (other->offset >= at + one->bytes)
            return at;
        at = bc_max(at, other->offset + other->bytes);
    }
    return at;
}

bc_status bc_plan_arena(const bc_model *model, size_t batch, bool keep_all, size_t *offsets,
                        size_t *bytes, bc_error *error) {
    size_t count = model->value_count;
    life *lives = calloc(count, sizeof *lives);
    const life **placed = calloc(count, sizeof *placed);
    if (!lives || !placed) {
        free(lives);
        free(placed);
        return bc_fail(error, BC_ERR_MEMORY, -1, "no memory to plan %zu values", count);
    }
    find_lives(model, batch, keep_all, lives);
    qsort(lives, count, sizeof *lives, larger_first);
    *bytes = 0;
    for (size_t i = 0; i < count; i++) {
        life *one = &lives[i];
        one->offset = place(placed, i, one);
        size_t at = i;
        while (at > 0 && placed[at - 1]->offset > one->offset)
            at--;
        memmove(placed + at + 1, placed + at, (i - at) * sizeof *placed);
        placed[at] = one;
        offsets[one->value] = one->offset;
        *bytes = bc_max(*bytes, one->offset + one->bytes);
    }
    free(lives);
    free(placed);
    return BC_OK;
}
