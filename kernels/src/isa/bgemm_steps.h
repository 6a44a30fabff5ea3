/* bgemm_steps.h: the product with its epilogue as the two kernels that it is made of, for
 * instruction sets that have no better way. Include behind rows.h (or what defines `steps`). */
#define BC_BGEMM_STEPS(name, bgemm, steps)                                                         \
    static void name(size_t m, size_t c, size_t taps, size_t cw, const uint64_t *const *a,         \
                     size_t skip, const uint64_t *w, int32_t *pop, size_t ld,                      \
                     const bc_row_step *list, size_t count) {                                      \
        bgemm(m, (c + BC_PANEL_BINARY - 1) / BC_PANEL_BINARY, taps, cw, a, skip, w, pop, ld);      \
        steps(m, c, list, count);                                                                  \
    }
