/* dispatch.c: which row of isa.def serves. Rows run from slow to fast; the last that this CPU has
 * wins, unless one is named. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static const bc_kernels *const rows[] = {
#define X(isa) &bc_kernels_##isa,
#include "isa.def"
#undef X
};

enum { ROWS = sizeof rows / sizeof rows[0] };

static bool available(const bc_kernels *row, uint32_t cpu) {
    return (cpu & row->cpu_needs) == row->cpu_needs;
}

const bc_kernels *bc_dispatch(const char *name) {
    const uint32_t cpu = bc_cpu_features();
    const bc_kernels *best = NULL;
    if (!name || !*name)
        name = getenv("BC_ISA");
    for (size_t i = 0; i < ROWS; i++)
        if (available(rows[i], cpu) && (!name || !*name || strcmp(rows[i]->name, name) == 0))
            best = rows[i];
    return best;
}

size_t bc_isa_count(void) {
    return ROWS;
}

const char *bc_isa_name(size_t i) {
    return i < ROWS ? rows[i]->name : NULL;
}

int bc_isa_available(size_t i) {
    return i < ROWS && available(rows[i], bc_cpu_features());
}
