/* avx512_bgemm.h: the tile of binary products with the native 64-bit popcount. Needs AVX512F and
 * VPOPCNTDQ.
 *
 * A vector holds one word of the 8 filters of a panel; a pixel's word is broadcast against two of
 * them, by its load, which takes no port of the adders: xor, popcount, add for 512
 * multiply-accumulates. Tile: 7 pixels x 2 panels = 14 accumulators of 8 u64,
 * so rows of 56, 28, 14 and 7 pixels leave nothing over, and each load of weights serves 7 pixels,
 * each broadcast 2 panels. Any smaller tile is an instance of the same code. Bottleneck: vector ALU
 * ports, 3 instructions per 512 multiply-accumulates. u64 lanes cannot overflow. */
#ifndef BC_ISA_AVX512_BGEMM_H
#define BC_ISA_AVX512_BGEMM_H

#include "avx512.h"

BC_TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512vpopcntdq")

enum { MR = 7, NR = BC_PANEL_BINARY, L1_LINES = 384 };

/* What all tiles of some panels share. It stays in memory, and is read again wherever it is used
 * (BC_KEEP_R): the pixels' pointers need the registers, and GCC would keep what they push out in
 * vector registers, to be moved back by the ports that the product keeps busy. */
typedef struct operands {
    size_t taps, skip, end; /* words [skip, end) under every tap */
    size_t step;            /* words of a panel */
    const uint64_t *w;      /* the first panel */
} operands;

/* One word of a tile: xor, popcount, add. The first word's counts are where the sums start. */
static BC_INLINE void word(const int mr, const int nr, const bool first, const uint64_t *x[MR],
                           size_t i, const uint64_t *w, const operands *with, __m512i sum[MR][4]) {
    __m512i v[4];
    BC_KEEP_R(with);
    BC_UNROLL
    for (int q = 0; q < nr; q++)
        v[q] = _mm512_load_si512((const void *)(w + (size_t)q * with->step));
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        __m512i xr = _mm512_set1_epi64((long long)x[r][i]);
        BC_KEEP_V(xr);
        BC_UNROLL
        for (int q = 0; q < nr; q++) {
            const __m512i bits = _mm512_popcnt_epi64(_mm512_xor_epi64(xr, v[q]));
            sum[r][q] = first ? bits : _mm512_add_epi64(sum[r][q], bits);
            BC_KEEP_V(sum[r][q]);
        }
    }
}

static BC_INLINE void point(const int mr, size_t taps, const uint64_t *const *row,
                            const uint64_t *x[MR]) {
    BC_UNROLL
    for (int r = 0; r < mr; r++, row += taps) {
        BC_KEEP_R(row); /* or seven offsets are held, and push the pointers out */
        x[r] = *row;
    }
}

/* All products of a tile. */
static BC_INLINE void accumulate(const int mr, const int nr, const operands *with,
                                 const uint64_t *const *a, __m512i sum[MR][4]) {
    BC_KEEP_R(with);
    const uint64_t *w = with->w, *x[MR];
    size_t i = with->skip;
    point(mr, with->taps, a, x);
    word(mr, nr, true, x, i++, w, with, sum);
    for (size_t t = 0;; i = with->skip) {
        BC_KEEP_R(with);
        for (; i < with->end; i++) {
            w += NR;
            word(mr, nr, false, x, i, w, with, sum);
        }
        if (++t == with->taps)
            break;
        point(mr, with->taps, a + t, x);
    }
}

/* The weights of the panels after these: fetched a few lines per tile, as panels often begin at
 * pages, and no hardware looks beyond a page. */
typedef struct ahead {
    const uint64_t *next;
    size_t lines, per_tile; /* a line, 64 bytes, is a word of a panel */
} ahead;

/* Of `panels` panels in all, those from q on are the next. Nothing is fetched where all of them
 * stay in L1, or a single tile would have to fetch as much as it reads. */
static BC_INLINE ahead ahead_of(size_t q, size_t panels, size_t panel_words, const uint64_t *w,
                                size_t tiles) {
    const bool worth_it = tiles > 1 && panels * panel_words > L1_LINES;
    const size_t lines = worth_it ? bc_min(panels - q, 2) * panel_words : 0;
    return (ahead){w + q * panel_words * NR, lines, (lines + tiles - 1) / tiles};
}

static BC_INLINE void fetch(ahead *of) {
    if (!of->lines)
        return;
    size_t n = bc_min(of->lines, of->per_tile);
    BC_KEEP_R(n); /* or it is subtracted in vector registers */
    const uint64_t *next = of->next;
    of->lines -= n;
    for (; n; n--, next += NR)
        BC_PREFETCH(next);
    of->next = next;
}

/* The sums of two panels in one vector of 16 int32. */
static BC_INLINE __m512i join(__m512i low, __m512i high) {
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_epi32(low, even, high);
}

BC_TARGET_END

#endif
