/* planes_sums.h: sums of all steps of planes_tile.h, and the odd counts that go with them. */
#ifndef BC_ISA_PLANES_SUMS_H
#define BC_ISA_PLANES_SUMS_H

#include "planes_tile.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("no-tree-ter", "no-tree-reassoc") /* as pairs_tile.h asks for */
#endif

/* Odd groups of 4 bits under all taps; up to 255 steps they are counted in bytes. */
static BC_INLINE void count_odd(V odd[2], const bc_plane_call *call, size_t lane) {
    const V zero = BC_SI(setzero)();
    V bytes = zero;
    odd[0] = odd[1] = zero;
    for (size_t t = 0; t < call->taps; t++) {
        const V x = loadu(call->odd + call->tap_offset[t] + lane);
        bytes = BC_MM(add_epi8)(bytes, x);
        if (t + 1 < call->taps && call->steps <= UINT8_MAX)
            continue;
        odd[0] = BC_MM(add_epi16)(odd[0], BC_MM(unpacklo_epi8)(bytes, zero));
        odd[1] = BC_MM(add_epi16)(odd[1], BC_MM(unpackhi_epi8)(bytes, zero));
        bytes = zero;
    }
}

static BC_INLINE plane_place place_of(const bc_plane_call *call, size_t lane, size_t pair) {
    return (plane_place){call->planes + lane, call->offset, call->tables + pair * call->steps,
                         call->steps};
}

/* Sums of a filter, modulo 2^16: even lanes + 256 odd lanes; odd lanes. */
typedef struct plane_sum {
    V both, odd;
} plane_sum;

static BC_INLINE void widen(plane_sum *to, V bytes, bool first) {
    const V odd = BC_MM(srli_epi16)(bytes, 8);
    to->both = first ? bytes : BC_MM(add_epi16)(to->both, bytes);
    to->odd = first ? odd : BC_MM(add_epi16)(to->odd, odd);
}

/* Lanes in order, as unpacklo and unpackhi of bytes would give them. */
static BC_INLINE void in_order(V *low, V *high, plane_sum sum) {
    const V even = BC_MM(sub_epi16)(sum.both, BC_MM(slli_epi16)(sum.odd, 8));
    *low = BC_MM(unpacklo_epi16)(even, sum.odd);
    *high = BC_MM(unpackhi_epi16)(even, sum.odd);
}

/* Sums of up to SLOT_STEPS, as bytes: [pair * nv + v][filter]. */
static BC_INLINE void slot_sums(const int np, const int nv, plane_place place, size_t steps,
                                V sums[4][2]) {
    V all[4], second[4];
    BC_UNROLL
    for (int c = 0; c < np * nv; c++)
        all[c] = second[c] = BC_SI(setzero)();
    plane_slot(np, nv, &place, steps, all, second);
    BC_UNROLL
    for (int c = 0; c < np * nv; c++)
        separate_halves(sums[c], all[c], second[c]);
}

/* Sums of all steps of np pairs and nv vectors: [pair * nv + v][filter]. */
static BC_INLINE void plane_sums(const int np, const int nv, plane_place place, size_t steps,
                                 plane_sum sums[4][2]) {
    const size_t groups = (steps + GROUP - 1) / GROUP,
                 slots = (groups + SLOT_GROUPS - 1) / SLOT_GROUPS;
    size_t slot = 0, at = 0;
    do {
        const size_t end = bc_min(steps, groups * (slot + 1) / slots * GROUP);
        V all[4], second[4];
        BC_UNROLL
        for (int c = 0; c < np * nv; c++)
            all[c] = second[c] = BC_SI(setzero)();
        plane_slot(np, nv, &place, end - at, all, second);
        at = end;
        BC_UNROLL
        for (int c = 0; c < np * nv; c++) {
            V bytes[2];
            separate_halves(bytes, all[c], second[c]);
            widen(&sums[c][0], bytes[0], slot == 0);
            widen(&sums[c][1], bytes[1], slot == 0);
        }
    } while (++slot < slots);
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

#endif
