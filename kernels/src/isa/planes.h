/* planes.h: binary products of an image whose pixels lie in the lanes of vectors.
 *
 * pairs.h looks up the sums of 32 filters in a table that a pair of pixels chooses. Here it is the
 * other way round: a pair of filters has the table, made when a session is opened, and 32 pixels
 * look up their sums. So few filters fill vectors too, no table is chosen while the product runs,
 * and 16 channels are 4 steps of 4 bits and not a word of 16. What it takes are tables of 16 bytes
 * for 8 weights, and pixels turned to bytes of 4 bits before, which many filters do not need.
 *
 * The image is laid out as planes: plane s has 4 bits of every pixel, channels 4 s to 4 s + 3, a
 * byte each. Rows follow each other with the padding between them, that on the right of one being
 * that on the left of the next:
 *
 *     | padding .. | row 0 | padding | row 1 | padding | .. | row H - 1 | padding .. |
 *
 * A lane is a place in a plane, and under a tap it sees another place a fixed distance further on,
 * whatever its row. Lanes that begin on padding compute what nobody reads: one in 33 of a row
 * of 32.
 *
 * The including file, a translation unit of its own, defines before:
 *   V, BC_MM, BC_SI, BC_KEEP   as pairs.h asks for
 * and behind them, before planes_product.h, which includes all parts:
 *   repeat(x)        a vector of lanes of 16 bytes x each
 *   greater8(x, y), greater16(x, y)   all bits of what is greater, signed
 *   store_lanes(to, stride, x)        its lanes of 16 bytes, `stride` bytes apart
 *   join(x)          the lanes x[0], x[1], .. of 16 bytes */
#ifndef BC_ISA_PLANES_H
#define BC_ISA_PLANES_H

#include "../internal.h"
#include "simd.h"

#include <immintrin.h>
#include <string.h>

enum {
    LANES = (int)sizeof(V),
    GROUP = 7, /* steps whose sums fit half a byte (pairs_tile.h) */
    PANEL_PAIRS = BC_PANEL_BINARY / 2,
    NV = 2,           /* vectors of a tile, times two pairs of filters */
    SLOT_GROUPS = 18, /* of steps whose sums fit a byte */
    SLOT_STEPS = SLOT_GROUPS * GROUP
};

static BC_INLINE V loadu(const void *from) {
    return BC_SI(loadu)((const V *)from);
}

static BC_INLINE void storeu(void *to, V x) {
    BC_SI(storeu)((V *)to, x);
}

static BC_INLINE V repeat_at(const void *from) {
    return repeat(_mm_loadu_si128((const __m128i *)from));
}

/* What all filters of a tile share, of each of its vectors. */
typedef struct plane_tile {
    V all[NV], second[NV]; /* what sums begin with (begin_halves) */
    V index[NV];           /* class and odd % 2: which limit */
    V odd[NV][2];          /* odd groups of 4 bits: 16 bits, as unpacklo and unpackhi order them */
    const bc_plane_limit *limit[NV];
} plane_tile;

#endif
