/* planes_tile.h: the inner loop of planes.h; the arithmetic is that of pairs_tile.h, with pixels
 * for filters and filters for pixels: sums of g(u, v) + 16 g(u', v), where u and u' are 4 bits of
 * two filters. */
#ifndef BC_ISA_PLANES_TILE_H
#define BC_ISA_PLANES_TILE_H

#include "half_bytes.h"
#include "planes.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("no-tree-ter", "no-tree-reassoc") /* as pairs_tile.h asks for */
#endif

typedef struct plane_place {
    const uint8_t *lanes;
    const uint32_t *offset;     /* of the next step */
    const uint8_t (*table)[16]; /* of the next step, of the first pair */
    size_t steps;               /* tables from one pair to the next */
} plane_place;

/* A step of np pairs and nv vectors, added to x, or `first` of all. */
static BC_INLINE void plane_step(const int np, const int nv, const bool first, const int i,
                                 const plane_place *place, const uint8_t (*const tables[4])[16],
                                 V x[4]) {
    const uint8_t *at = place->lanes + place->offset[i];
    V lanes[NV];
    BC_UNROLL
    for (int v = 0; v < nv; v++) {
        lanes[v] = loadu(at + v * LANES);
        BC_KEEP(lanes[v]);
    }
    BC_UNROLL
    for (int p = 0; p < np; p++) {
        const V table = repeat_at(tables[p][i]);
        BC_UNROLL
        for (int v = 0; v < nv; v++) {
            V *to = x + p * nv + v;
            const V y = BC_MM(shuffle_epi8)(table, lanes[v]);
            *to = first ? y : BC_MM(add_epi8)(*to, y);
            BC_KEEP(*to);
        }
    }
}

/* x to the sums of bytes: both halves, and the upper one. */
static BC_INLINE void plane_add(const int n, const V x[4], V all[4], V second[4]) {
    BC_UNROLL
    for (int c = 0; c < n; c++) {
        all[c] = BC_MM(add_epi8)(all[c], x[c]);
        BC_KEEP(all[c]);
        second[c] = BC_MM(add_epi8)(second[c], BC_MM(srli_epi16)(x[c], 4));
        BC_KEEP(second[c]);
    }
}

/* `count` groups of n steps. */
static BC_INLINE void plane_groups(const int np, const int nv, const int n, size_t count,
                                   plane_place *place, const uint8_t (*tables[4])[16], V all[4],
                                   V second[4]) {
    V x[4];
    for (; count; count--) {
        BC_UNROLL
        for (int i = 0; i < n; i++)
            plane_step(np, nv, i == 0, i, place, tables, x);
        plane_add(np * nv, x, all, second);
        place->offset += n;
        BC_KEEP_R(place->offset);
        BC_UNROLL
        for (int p = 0; p < np; p++) {
            tables[p] += n;
            BC_KEEP_R(tables[p]);
        }
    }
}

/* The next `steps` <= GROUP * SLOT_GROUPS of all pairs, a few groups of one step less where there
 * would be some left over. */
static BC_INLINE void plane_slot(const int np, const int nv, plane_place *place, size_t steps,
                                 V all[4], V second[4]) {
    const uint8_t (*tables[4])[16];
    const size_t sixes = (GROUP - steps % GROUP) % GROUP,
                 sevens = steps < 6 * sixes ? 0 : (steps - 6 * sixes) / GROUP;
    BC_UNROLL
    for (int p = 0; p < np; p++)
        tables[p] = place->table + (size_t)p * place->steps;
    plane_groups(np, nv, GROUP, sevens, place, tables, all, second);
    plane_groups(np, nv, GROUP - 1, steps < 6 * sixes ? steps / 6 : sixes, place, tables, all,
                 second);
    if (steps < 6 * sixes)
        for (size_t i = steps % 6; i; i--)
            plane_groups(np, nv, 1, 1, place, tables, all, second);
    place->table = tables[0];
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

#endif
