/* avx512_bgemm.c: binary products with the native 64-bit popcount, to rows of sums or to bits.
 * Their tile is in avx512_bgemm.h.
 *
 * What is left per tile must be short, as all vector instructions take turns on the same ports: the
 * counts of the first word are where the sums start, so nothing is set to 0 nor added to it, and
 * the sums of two panels become one vector of int32 (`vpermt2d`), which one instruction compares
 * with 16 limits in memory, or stores.
 */
#include "avx512_bgemm_turned.h"

#include <string.h>

BC_TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512vpopcntdq")

/* Where sums go: rows of int32 (limit NULL), or bits. Both start at the tile's first pixel and
 * panel. */
typedef struct sink {
    int32_t *pop;
    size_t ld;
    const int32_t *const *limit;
    size_t first; /* column of the tile in the rows of limit */
    uint8_t *out;
    size_t out_stride;
    ahead after;
} sink;

/* The pixels of a tile to rows of sums, or to bits. */
static BC_INLINE void write_tile(const int mr, const int nr, const bool bits, __m512i sum[MR][4],
                                 const sink *to) {
    const int32_t *const *limits = to->limit;
    const size_t first = to->first, out_stride = to->out_stride, ld = to->ld;
    uint8_t *out = to->out;
    int32_t *pop = to->pop;
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        const int32_t *limit = bits ? limits[r] + first : NULL;
        BC_UNROLL
        for (int q = 0; q + 2 <= nr; q += 2) {
            const __m512i both = join(sum[r][q], sum[r][q + 1]);
            if (bits) {
                const __mmask16 above = _mm512_cmpgt_epi32_mask(
                    both, _mm512_loadu_si512((const void *)(limit + q * NR)));
                memcpy(out + q, &above, sizeof above);
            } else {
                _mm512_storeu_si512((void *)(pop + q * NR), both);
            }
        }
        if (nr == 1) {
            const __m256i one = _mm512_cvtepi64_epi32(sum[r][0]);
            if (bits)
                *out = (uint8_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(
                    one, _mm256_loadu_si256((const __m256i *)(const void *)limit))));
            else
                _mm256_storeu_si256((__m256i *)(void *)pop, one);
        }
        if (bits)
            out += out_stride;
        else
            pop += ld;
    }
}

/* Tiles below each other. The loop is here and not around the function, because a call, with all
 * that is saved and the upper halves set to 0, leaves the ports idle for a dozen cycles. */
static BC_INLINE void tiles(const int mr, const int nr, const bool bits, size_t count,
                            const operands *with, const uint64_t *const *a, const sink *first) {
    sink next = *first, *to = &next;
    for (; count; count--, a += (size_t)mr * with->taps) {
        __m512i sum[MR][4];
        BC_KEEP_R(to);
        fetch(&to->after);
        accumulate(mr, nr, with, a, sum);
        write_tile(mr, nr, bits, sum, to);
        if (bits) {
            to->limit += mr;
            to->out += (size_t)mr * to->out_stride;
        } else {
            to->pop += (size_t)mr * to->ld;
        }
    }
}

#define TILE(mr, nr)                                                                               \
    static void pop##mr##x##nr(size_t count, const operands *with, const uint64_t *const *a,       \
                               const sink *to) {                                                   \
        tiles(mr, nr, false, count, with, a, to);                                                  \
    }                                                                                              \
    static void tau##mr##x##nr(size_t count, const operands *with, const uint64_t *const *a,       \
                               const sink *to) {                                                   \
        tiles(mr, nr, true, count, with, a, to);                                                   \
    }
TILE(1, 1)
TILE(2, 2)
TILE(2, 1)
TILE(3, 2)
TILE(3, 1)
TILE(4, 2)
TILE(4, 1)
TILE(5, 2)
TILE(5, 1)
TILE(6, 2)
TILE(6, 1)
TILE(7, 2)
TILE(7, 1)

typedef void (*tile_fn)(size_t, const operands *, const uint64_t *const *, const sink *);
typedef struct tile_row {
    size_t panels; /* of `wide` */
    tile_fn wide, one;
} tile_row;
static const tile_row pop_tiles[MR] = {
    {1, pop1x1, pop1x1}, {2, pop2x2, pop2x1}, {2, pop3x2, pop3x1}, {2, pop4x2, pop4x1},
    {2, pop5x2, pop5x1}, {2, pop6x2, pop6x1}, {2, pop7x2, pop7x1}};
static const tile_row tau_tiles[MR] = {
    {1, tau1x1, tau1x1}, {2, tau2x2, tau2x1}, {2, tau3x2, tau3x1}, {2, tau4x2, tau4x1},
    {2, tau5x2, tau5x1}, {2, tau6x2, tau6x1}, {2, tau7x2, tau7x1}};

/* Panels outside, pixels inside: the weights of a tile stay in L1 for all pixels, and pixels are
 * few bytes. */
static void run(const tile_row *rows, size_t m, size_t from, size_t panels, size_t taps, size_t cw,
                const uint64_t *const *a, size_t skip, const uint64_t *w, const sink *all) {
    /* tiles of nearly equal height: 8 pixels are 4 + 4, not 7 + 1 */
    const size_t cuts = (m + MR - 1) / MR, height = m / cuts, higher = m % cuts;
    const size_t most = m == 1 ? rows[0].panels : 2;
    operands with = {taps, skip, skip + cw, taps * cw * NR, w};
    for (size_t q = from, n; q < panels; q += n) {
        n = panels - q < most ? 1 : most;
        sink to = *all;
        if (all->limit) {
            to.first = q * NR;
            to.out += q;
        } else {
            to.pop += q * NR;
        }
        with.w = w + q * with.step;
        to.after = ahead_of(q + n, panels, taps * cw, w, cuts);
        if (higher) {
            const tile_row *row = &rows[height];
            const size_t pixels = higher * (height + 1),
                         fetched = bc_min(to.after.lines, higher * to.after.per_tile);
            (n > 1 ? row->wide : row->one)(higher, &with, a, &to);
            if (all->limit) {
                to.limit += pixels;
                to.out += pixels * to.out_stride;
            } else {
                to.pop += pixels * to.ld;
            }
            to.after.next += fetched * NR;
            to.after.lines -= fetched;
        }
        const tile_row *row = &rows[height - 1];
        (n > 1 ? row->wide : row->one)(cuts - higher, &with, a + higher * (height + 1) * taps, &to);
    }
}

void bc_bgemm__avx512vpopcntdq(size_t m, size_t panels, size_t taps, size_t cw,
                               const uint64_t *const *a, size_t skip, const uint64_t *w,
                               int32_t *pop, size_t ld) {
    const sink to = {.pop = pop, .ld = ld};
    run(pop_tiles, m, 0, panels, taps, cw, a, skip, w, &to);
}

void bc_bgemm_tau__avx512vpopcntdq(size_t m, size_t panels, size_t taps, size_t cw,
                                   const uint64_t *const *a, size_t skip, const uint64_t *w,
                                   const int32_t *const *limit, uint8_t *out, size_t out_stride) {
    const sink to = {.limit = limit, .out = out, .out_stride = out_stride};
    const size_t done =
        turning_pays(m, panels, taps * cw)
            ? bc_bgemm_tau_turned(m, panels, taps, cw, a, skip, w, limit, out, out_stride)
            : 0;
    run(tau_tiles, m, done, panels, taps, cw, a, skip, w, &to);
}

BC_TARGET_END
