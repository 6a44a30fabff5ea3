/* avx2_bgemm.c: binary products without a vector popcount instruction: which of two ways. */
#include "avx2_bgemm.h"

static void run(const bc_bgemm_call *call) {
    if (bc_bgemm_pairs_fit__avx2(call->m, call->taps, call->cw))
        bc_bgemm_pairs__avx2(call);
    else
        bc_bgemm_few__avx2(call);
}

void bc_bgemm_spread__avx2(size_t m, size_t panels, size_t taps, size_t cw,
                           const uint64_t *const *a, size_t skip, const uint64_t *w,
                           const void *spread, int32_t *pop, size_t ld) {
    run(&(bc_bgemm_call){m, panels, taps, cw, a, skip, w, spread, .pop = pop, .ld = ld});
}

void bc_bgemm_tau_spread__avx2(size_t m, size_t panels, size_t taps, size_t cw,
                               const uint64_t *const *a, size_t skip, const uint64_t *w,
                               const void *spread, const int32_t *const *limit, uint8_t *out,
                               size_t out_stride) {
    run(&(bc_bgemm_call){m, panels, taps, cw, a, skip, w, spread, .limit = limit, .out = out,
                         .out_stride = out_stride});
}

void bc_bgemm__avx2(size_t m, size_t panels, size_t taps, size_t cw, const uint64_t *const *a,
                    size_t skip, const uint64_t *w, int32_t *pop, size_t ld) {
    bc_bgemm_spread__avx2(m, panels, taps, cw, a, skip, w, NULL, pop, ld);
}

void bc_bgemm_tau__avx2(size_t m, size_t panels, size_t taps, size_t cw, const uint64_t *const *a,
                        size_t skip, const uint64_t *w, const int32_t *const *limit, uint8_t *out,
                        size_t out_stride) {
    bc_bgemm_tau_spread__avx2(m, panels, taps, cw, a, skip, w, NULL, limit, out, out_stride);
}
