/* planes_product.h: products of lanes of planes with all filters, tile by tile. */
#ifndef BC_ISA_PLANES_PRODUCT_H
#define BC_ISA_PLANES_PRODUCT_H

#include "planes_bits.h"
#include "planes_pop.h"
#include "planes_rows.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("no-tree-ter", "no-tree-reassoc") /* as pairs_tile.h asks for */
#endif

/* fn(nv, ..) for whole tiles of all lanes, the last vector alone where it is one. */
#define BC_PLANE_TILES(fn, call, ...)                                                              \
    do {                                                                                           \
        size_t lane = 0;                                                                           \
        for (; lane + LANES < (call)->lanes; lane += NV * LANES)                                   \
            fn(NV, __VA_ARGS__, lane);                                                             \
        if (lane < (call)->lanes)                                                                  \
            fn(1, __VA_ARGS__, lane);                                                              \
    } while (0)

static void plane_tau(const bc_plane_call *call) {
    if (call->steps <= BC_PLANE_BYTE)
        BC_PLANE_TILES(tau_tile, call, true, call);
    else
        BC_PLANE_TILES(tau_tile, call, false, call);
}

static void plane_pop(const bc_plane_call *call) {
    if (call->steps <= SLOT_STEPS)
        BC_PLANE_TILES(pop_tile, call, true, call);
    else
        BC_PLANE_TILES(pop_tile, call, false, call);
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

/* The kernels of a table. */
#define BC_PLANE_KERNELS(isa)                                                                      \
    void bc_plane_rows__##isa(const bc_plane_image *image, size_t rows, const uint64_t *from,      \
                              uint8_t *to) {                                                       \
        plane_rows(image, rows, from, to);                                                         \
    }                                                                                              \
    void bc_plane_tau__##isa(const bc_plane_call *call) {                                          \
        plane_tau(call);                                                                           \
    }                                                                                              \
    void bc_plane_pop__##isa(const bc_plane_call *call) {                                          \
        plane_pop(call);                                                                           \
    }

#endif
