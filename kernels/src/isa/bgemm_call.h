/* bgemm_call.h: the arguments of a binary product, for kernels of several functions. */
#ifndef BC_ISA_BGEMM_CALL_H
#define BC_ISA_BGEMM_CALL_H

#include "../internal.h"

/* One call of bgemm or bgemm_tau. */
typedef struct bc_bgemm_call {
    size_t m, panels, taps, cw;
    const uint64_t *const *a;
    size_t skip;
    const uint64_t *w;
    const uint8_t *spread; /* the same weights as the table's `spread` makes them, or NULL */
    /* Sums go to rows of int32, or (pop NULL) to bits. */
    int32_t *pop;
    size_t ld;
    const int32_t *const *limit;
    uint8_t *out;
    size_t out_stride;
} bc_bgemm_call;

/* The kernels of a table that are such calls, and their definitions by run(call). */
#define BC_BGEMM_KERNELS(isa)                                                                      \
    void bc_bgemm__##isa(size_t m, size_t panels, size_t taps, size_t cw,                          \
                         const uint64_t *const *a, size_t skip, const uint64_t *w, int32_t *pop,   \
                         size_t ld);                                                               \
    void bc_bgemm_spread__##isa(size_t m, size_t panels, size_t taps, size_t cw,                   \
                                const uint64_t *const *a, size_t skip, const uint64_t *w,          \
                                const void *spread, int32_t *pop, size_t ld);                      \
    void bc_bgemm_tau__##isa(size_t m, size_t panels, size_t taps, size_t cw,                      \
                             const uint64_t *const *a, size_t skip, const uint64_t *w,             \
                             const int32_t *const *limit, uint8_t *out, size_t out_stride);        \
    void bc_bgemm_tau_spread__##isa(size_t m, size_t panels, size_t taps, size_t cw,               \
                                    const uint64_t *const *a, size_t skip, const uint64_t *w,      \
                                    const void *spread, const int32_t *const *limit, uint8_t *out, \
                                    size_t out_stride)

#define BC_BGEMM_RUN(isa, run)                                                                     \
    void bc_bgemm_spread__##isa(size_t m, size_t panels, size_t taps, size_t cw,                   \
                                const uint64_t *const *a, size_t skip, const uint64_t *w,          \
                                const void *spread, int32_t *pop, size_t ld) {                     \
        run(&(bc_bgemm_call){m, panels, taps, cw, a, skip, w, spread, .pop = pop, .ld = ld});      \
    }                                                                                              \
    void bc_bgemm_tau_spread__##isa(size_t m, size_t panels, size_t taps, size_t cw,               \
                                    const uint64_t *const *a, size_t skip, const uint64_t *w,      \
                                    const void *spread, const int32_t *const *limit, uint8_t *out, \
                                    size_t out_stride) {                                           \
        run(&(bc_bgemm_call){m, panels, taps, cw, a, skip, w, spread, .limit = limit, .out = out,  \
                             .out_stride = out_stride});                                           \
    }                                                                                              \
    void bc_bgemm__##isa(size_t m, size_t panels, size_t taps, size_t cw,                          \
                         const uint64_t *const *a, size_t skip, const uint64_t *w, int32_t *pop,   \
                         size_t ld) {                                                              \
        bc_bgemm_spread__##isa(m, panels, taps, cw, a, skip, w, NULL, pop, ld);                    \
    }                                                                                              \
    void bc_bgemm_tau__##isa(size_t m, size_t panels, size_t taps, size_t cw,                      \
                             const uint64_t *const *a, size_t skip, const uint64_t *w,             \
                             const int32_t *const *limit, uint8_t *out, size_t out_stride) {       \
        bc_bgemm_tau_spread__##isa(m, panels, taps, cw, a, skip, w, NULL, limit, out, out_stride); \
    }

#endif
