/* memory.c: memory that lives as long as its model: zeroed blocks on a list, with an upper bound on
 * their sum. */
#include "model.h"

#include <stdlib.h>

struct bc_block {
    bc_block *next;
};

void *bc_model_alloc(bc_model *model, size_t count, size_t size, bc_error *error) {
    const size_t extra = sizeof(bc_block) + 64;
    if (size && count > BC_MAX_MODEL_BYTES / size) {
        bc_fail(error, BC_ERR_LIMIT, -1, "the model needs a table of %zu times %zu bytes", count,
                size);
        return NULL;
    }
    size_t bytes = count * size + extra;
    if (bytes > BC_MAX_MODEL_BYTES - model->owned_bytes) {
        bc_fail(error, BC_ERR_LIMIT, -1, "the model needs more than %zu MiB of tables",
                BC_MAX_MODEL_BYTES >> 20);
        return NULL;
    }
    bc_block *block = calloc(1, bytes);
    if (!block) {
        bc_fail(error, BC_ERR_MEMORY, -1, "no memory for %zu bytes", bytes);
        return NULL;
    }
    block->next = model->blocks;
    model->blocks = block;
    model->owned_bytes += bytes;
    uintptr_t start = (uintptr_t)(block + 1);
    return (char *)(block + 1) + (bc_round_up(start, 64) - start);
}

void bc_model_free_all(bc_model *model) {
    while (model->blocks) {
        bc_block *next = model->blocks->next;
        free(model->blocks);
        model->blocks = next;
    }
}
