/* avx512_bgemm.c: binary products with the native 64-bit popcount. Needs AVX512F and VPOPCNTDQ.
 *
 * A vector holds one word of the 8 filters of a panel; a pixel's word is broadcast against it, by
 * the xor itself (an operand in memory, {1to8}), so that no port of the adders broadcasts: xor,
 * popcount, add for 512 multiply-accumulates. Tile: 7 pixels x 2 panels = 14 accumulators of 8 u64,
 * so rows of 56, 28, 14 and 7 pixels leave nothing over, and each load of weights serves 7 pixels,
 * each broadcast 2 panels. Any smaller tile is an instance of the same code. Bottleneck: vector ALU
 * ports, 3 instructions per 512 multiply-accumulates. u64 lanes cannot overflow.
 *
 * Thresholds cost nothing in the loop: accumulators start at `limit` and count down, so the bit
 * `pop > limit` is their sign. */
#include "avx512.h"

BC_TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512vpopcntdq")

enum { MR = 7, NR = BC_PANEL_BINARY };

/* Where sums go: rows of int32 (limit NULL), or bits. Both start at the tile's first pixel and
 * panel. */
typedef struct sink {
    int32_t *pop;
    size_t ld;
    const int32_t *const *limit;
    size_t first; /* column of the tile in the rows of limit */
    uint8_t *out;
    size_t out_stride;
} sink;

static BC_INLINE __m512i start_at(const sink *to, int r, int q) {
    const int32_t *limit = to->limit[r] + to->first + (size_t)q * NR;
    return _mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i *)(const void *)limit));
}

static BC_INLINE void tile(const int mr, const int nr, const bool bits, size_t taps, size_t cw,
                           const uint64_t *const *a, const uint64_t *w, const sink *to) {
    const size_t step = taps * cw * NR;
    __m512i left[MR][4];
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        BC_UNROLL
        for (int q = 0; q < nr; q++)
            left[r][q] = bits ? start_at(to, r, q) : _mm512_setzero_si512();
    }
    for (size_t t = 0; t < taps; t++) {
        const uint64_t *x[MR], *const *row = a + t;
        BC_UNROLL
        for (int r = 0; r < mr; r++, row += taps) {
            BC_KEEP_R(row); /* or seven offsets are held, and push the pointers out */
            x[r] = *row;
        }
        for (size_t i = 0; i < cw; i++, w += NR) {
            __m512i v[4];
            BC_UNROLL
            for (int q = 0; q < nr; q++)
                v[q] = _mm512_load_si512((const void *)(w + (size_t)q * step));
            BC_UNROLL
            for (int r = 0; r < mr; r++) {
                BC_UNROLL
                for (int q = 0; q < nr; q++) {
                    const __m512i xr = _mm512_set1_epi64((long long)x[r][i]);
                    left[r][q] = _mm512_sub_epi64(left[r][q],
                                                  _mm512_popcnt_epi64(_mm512_xor_epi64(xr, v[q])));
                    BC_KEEP_V(left[r][q]);
                    if (mr > 2) /* few pixels are short of loads: they share it */
                        BC_KEEP_R(x[r]);
                }
            }
        }
    }
    uint8_t *out = to->out;
    int32_t *pop = to->pop;
    const size_t out_stride = to->out_stride, ld = to->ld;
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        BC_UNROLL
        for (int q = 0; q < nr; q++)
            if (bits) {
                __mmask8 negative = _mm512_cmpgt_epi64_mask(_mm512_setzero_si512(), left[r][q]);
                out[q] = (uint8_t)negative;
            } else {
                __m256i sum =
                    _mm512_cvtepi64_epi32(_mm512_sub_epi64(_mm512_setzero_si512(), left[r][q]));
                _mm256_storeu_si256((__m256i *)(void *)(pop + q * NR), sum);
            }
        if (bits)
            out += out_stride;
        else
            pop += ld;
    }
}

#define TILE(mr, nr)                                                                               \
    static void pop##mr##x##nr(size_t taps, size_t cw, const uint64_t *const *a,                   \
                               const uint64_t *w, const sink *to) {                                \
        if (cw == 1)                                                                               \
            tile(mr, nr, false, taps, 1, a, w, to);                                                \
        else                                                                                       \
            tile(mr, nr, false, taps, cw, a, w, to);                                               \
    }                                                                                              \
    static void tau##mr##x##nr(size_t taps, size_t cw, const uint64_t *const *a,                   \
                               const uint64_t *w, const sink *to) {                                \
        if (cw == 1) /* no inner loop: its cost shows at 64 channels */                            \
            tile(mr, nr, true, taps, 1, a, w, to);                                                 \
        else                                                                                       \
            tile(mr, nr, true, taps, cw, a, w, to);                                                \
    }
TILE(1, 4)
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

typedef void (*tile_fn)(size_t, size_t, const uint64_t *const *, const uint64_t *, const sink *);
typedef struct tile_row {
    size_t panels; /* of `wide` */
    tile_fn wide, one;
} tile_row;
static const tile_row pop_tiles[MR] = {
    {4, pop1x4, pop1x1}, {2, pop2x2, pop2x1}, {2, pop3x2, pop3x1}, {2, pop4x2, pop4x1},
    {2, pop5x2, pop5x1}, {2, pop6x2, pop6x1}, {2, pop7x2, pop7x1}};
static const tile_row tau_tiles[MR] = {
    {4, tau1x4, tau1x1}, {2, tau2x2, tau2x1}, {2, tau3x2, tau3x1}, {2, tau4x2, tau4x1},
    {2, tau5x2, tau5x1}, {2, tau6x2, tau6x1}, {2, tau7x2, tau7x1}};

/* Panels outside, pixels inside: the weights of a tile stay in L1 for all pixels, and pixels are
 * few bytes. */
static void run(const tile_row *tiles, size_t m, size_t panels, size_t taps, size_t cw,
                const uint64_t *const *a, const uint64_t *w, const sink *all) {
    const size_t cuts =
        (m + MR - 1) / MR; /* tiles of nearly equal height: 8 pixels are 4 + 4, not 7 + 1 */
    const size_t most = m == 1 ? tiles[0].panels : 2;
    for (size_t q = 0, n; q < panels; q += n) {
        n = panels - q < most ? 1 : most;
        for (size_t i = 0; i < cuts; i++) {
            const size_t p = m * i / cuts;
            const tile_row *row = &tiles[m * (i + 1) / cuts - p - 1];
            sink to = *all;
            if (all->limit) {
                to.limit += p;
                to.first = q * NR;
                to.out += p * to.out_stride + q;
            } else {
                to.pop += p * to.ld + q * NR;
            }
            (n > 1 ? row->wide : row->one)(taps, cw, a + p * taps, w + q * taps * cw * NR, &to);
        }
    }
}

void bc_bgemm__avx512vpopcntdq(size_t m, size_t panels, size_t taps, size_t cw,
                               const uint64_t *const *a, const uint64_t *w, int32_t *pop,
                               size_t ld) {
    const sink to = {.pop = pop, .ld = ld};
    run(pop_tiles, m, panels, taps, cw, a, w, &to);
}

void bc_bgemm_tau__avx512vpopcntdq(size_t m, size_t panels, size_t taps, size_t cw,
                                   const uint64_t *const *a, const uint64_t *w,
                                   const int32_t *const *limit, uint8_t *out, size_t out_stride) {
    const sink to = {.limit = limit, .out = out, .out_stride = out_stride};
    run(tau_tiles, m, panels, taps, cw, a, w, &to);
}

BC_TARGET_END
