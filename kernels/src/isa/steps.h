/* steps.h: epilogues of whole rows, by tiles. */
#include "steps_tile.h"

static BC_INLINE void steps_rows(const int mr, size_t p, size_t c, const bc_row_step *first,
                                 const bc_row_step *end) {
    size_t i = 0;
    for (; i + STEP_NR <= c; i += STEP_NR)
        steps_tile(mr, STEP_NR, p, i, first, end);
    if (i < c)
        steps_tile(mr, c - i, p, i, first, end);
}

static void steps(size_t m, size_t c, const bc_row_step *list, size_t count) {
    size_t p = 0;
    for (; p + STEP_MR <= m; p += STEP_MR)
        steps_rows(STEP_MR, p, c, list, list + count);
    for (; p < m; p++)
        steps_rows(1, p, c, list, list + count);
}
