/* memory.c: memory that lives as long as its model: zeroed blocks on a list, with an upper bound on
 * their sum; and large pages for large blocks. */
#if defined(__linux__)
#define _DEFAULT_SOURCE /* madvise */
#endif
#include "model.h"

#include <stdlib.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

/* Weights that stream from memory once per sample lose a quarter of the bandwidth to page walks
 * with small pages. */
void *bc_align_block(void *memory, size_t bytes) {
    const uintptr_t start = (uintptr_t)memory;
    const size_t align = bc_block_align(bytes);
    char *aligned = (char *)memory + (bc_round_up(start, align) - start);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (align == BC_LARGE_PAGE) /* a wish: that it is not granted changes nothing else */
        (void)madvise(aligned, bc_round_up(bytes, BC_LARGE_PAGE), MADV_HUGEPAGE);
#endif
    return aligned;
}

struct bc_block {
    bc_block *next;
};

void *bc_model_alloc(bc_model *model, size_t count, size_t size, bc_error *error) {
    if (size && count > BC_MAX_MODEL_BYTES / size) {
        bc_fail(error, BC_ERR_LIMIT, -1, "the model needs a table of %zu times %zu bytes", count,
                size);
        return NULL;
    }
    const size_t wanted = count * size, bytes = sizeof(bc_block) + bc_block_room(wanted);
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
    return bc_align_block(block + 1, wanted);
}

void bc_model_free_all(bc_model *model) {
    while (model->blocks) {
        bc_block *next = model->blocks->next;
        free(model->blocks);
        model->blocks = next;
    }
}
