/* fetching.h: how a product spreads over its rounds what it is asked to fetch ahead. */
#ifndef BC_ISA_FETCHING_H
#define BC_ISA_FETCHING_H

#include "../internal.h"
#include "simd.h"

/* What is left of it, and the rounds that are left of the call. */
typedef struct fetching {
    const char *at;
    size_t lines, rounds;
} fetching;

static inline fetching fetching_of(const bc_ahead *ahead, size_t rounds) {
    return ahead ? (fetching){ahead->at, ahead->bytes / BC_LINE, rounds} : (fetching){NULL, 0, 0};
}

/* Lines for each of the next rounds, so that the last one fetches the last of them; a core has only
 * so many lines on their way at once, and `most` of them must not keep a round waiting. */
static inline size_t fetching_lines(const fetching *f, size_t most) {
    return f->lines && f->rounds ? bc_min((f->lines - 1) / f->rounds + 1, most) : 0;
}

/* After so many rounds. */
static inline void fetching_next(fetching *f, size_t rounds, size_t lines) {
    f->at += rounds * lines * BC_LINE;
    f->lines -= bc_min(f->lines, rounds * lines);
    f->rounds -= rounds;
}

/* One round's; returns where the next one's begin. */
static BC_INLINE const char *fetch_lines(const char *at, size_t lines) {
    for (; lines; lines--, at += BC_LINE)
        BC_PREFETCH_FAR(at);
    return at;
}

#endif
