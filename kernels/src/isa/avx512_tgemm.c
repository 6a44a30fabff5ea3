/* avx512_tgemm.c: floats times 1-bit weights. Needs AVX512F.
 *
 * The table of a group of four channels holds its 16 sums, one vector. Sixteen filters look up
 * theirs by four bits of a lane: vpermps and vaddps, two instructions for 64 products, of which fma
 * takes four. Tile: 6 pixels x 4 panels of 16 filters (24 accumulators); K is cut into blocks whose
 * tables stay in L1 while all panels pass by. */
#include "avx512.h"

BC_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512vl")

enum {
    MR = 6,
    NR = BC_PANEL_FLOAT,
    MOST_PANELS = 4,
    OCTET = BC_TTABLE_OCTET__AVX512,
    BLOCK = 32, /* octets: 6 pixels * 32 * 128 bytes = 24 KiB */
};

/* Lane b of each four: x, with a minus where bit b of `set` is. */
static BC_INLINE __m512 signed_by(__m512 x, int set) {
    const __m512i minus = _mm512_maskz_set1_epi32((__mmask16)(set * 0x1111), INT32_MIN);
    return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x), minus));
}

/* In each four, of the pair x, y: +-x +-y, a minus for bits 0 and 1 of the lane's number. */
#define PAIR_SUMS(v, x, y)                                                                         \
    _mm512_add_ps(signed_by(_mm512_shuffle_ps(v, v, (x) * 0x55), 0xa),                             \
                  signed_by(_mm512_shuffle_ps(v, v, (y) * 0x55), 0xc))

/* Tables of the four groups of v. Lane b of one: (+-x0 + +-x1) + (+-x2 + +-x3), a minus where bit i
 * of b is set. */
static BC_INLINE void store_tables(float *to, __m512 v, size_t groups) {
    const __m512 first = PAIR_SUMS(v, 0, 1), second = PAIR_SUMS(v, 2, 3);
    const __m512i fours = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    for (size_t g = 0; g < groups; g++) {
        const __m512i low = _mm512_add_epi32(
                          _mm512_set1_epi32((int)(4 * g)),
                          _mm512_setr_epi32(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3)),
                      high = _mm512_add_epi32(_mm512_set1_epi32((int)(4 * g)), fours);
        _mm512_store_ps(to + 16 * g, _mm512_add_ps(_mm512_permutexvar_ps(low, first),
                                                   _mm512_permutexvar_ps(high, second)));
    }
}

void bc_ttable__avx512(size_t rows, size_t c, const float *x, void *table) {
    const size_t padded = bc_round_up(c, 8);
    float *to = table;
    for (size_t r = 0; r < rows; r++, x += c, to += 4 * padded) {
        size_t i = 0;
        for (; i + 16 <= c; i += 16)
            store_tables(to + 4 * i, _mm512_loadu_ps(x + i), 4);
        if (i < c)
            store_tables(to + 4 * i,
                         _mm512_castsi512_ps(
                             _mm512_maskz_loadu_epi32((__mmask16)((1u << (c - i)) - 1), x + i)),
                         (padded - i) / 4);
    }
}

/* A block of K: `octets` of each of `taps` taps from pointer t on; weights at w, `w_tap` bytes from
 * one tap to the next, `w_panel` from one panel to the next. */
typedef struct block {
    size_t taps, octets, first_octet, stride; /* stride: pointers per pixel */
    size_t w_tap, w_panel;
    bool begins; /* accumulators start at zero */
} block;

static BC_INLINE void tile(const int mr, const int nr, const block *b, const void *const *a,
                           const uint8_t *w, float *acc, size_t ld) {
    __m512 y[MR][MOST_PANELS];
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        BC_UNROLL
        for (int q = 0; q < nr; q++)
            y[r][q] =
                b->begins ? _mm512_setzero_ps() : _mm512_loadu_ps(acc + (size_t)r * ld + q * NR);
    }
    for (size_t t = 0; t < b->taps; t++) {
        const float *x[MR];
        BC_UNROLL
        for (int r = 0; r < mr; r++)
            x[r] = (const float *)a[(size_t)r * b->stride + t] + b->first_octet * OCTET / 4;
        const uint8_t *v = w + t * b->w_tap;
        for (size_t i = 0; i < b->octets; i++, v += NR) {
            __m512i bits[MOST_PANELS]; /* vpermps looks at the low four */
            BC_UNROLL
            for (int q = 0; q < nr; q++)
                bits[q] = _mm512_cvtepu8_epi32(
                    _mm_loadu_si128((const __m128i *)(const void *)(v + (size_t)q * b->w_panel)));
            BC_UNROLL
            for (int g = 0; g < 2; g++) {
                BC_UNROLL
                for (int r = 0; r < mr; r++) {
                    const __m512 sums = _mm512_load_ps(x[r] + i * (OCTET / 4) + 16 * g);
                    BC_UNROLL
                    for (int q = 0; q < nr; q++) {
                        y[r][q] = _mm512_add_ps(y[r][q], _mm512_permutexvar_ps(bits[q], sums));
                        BC_KEEP_V(y[r][q]);
                    }
                }
                BC_UNROLL
                for (int q = 0; q < nr; q++)
                    bits[q] = _mm512_srli_epi32(bits[q], 4);
            }
        }
    }
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        BC_UNROLL
        for (int q = 0; q < nr; q++)
            _mm512_storeu_ps(acc + (size_t)r * ld + q * NR, y[r][q]);
    }
}

#define TILE(mr, nr)                                                                               \
    static void t##mr##x##nr(const block *b, const void *const *a, const uint8_t *w, float *acc,   \
                             size_t ld) {                                                          \
        tile(mr, nr, b, a, w, acc, ld);                                                            \
    }
#define TILES(mr) TILE(mr, 1) TILE(mr, 2) TILE(mr, 4)
TILES(1)
TILES(2)
TILES(3)
TILES(4)
TILES(5)
TILES(6)

typedef void (*tile_fn)(const block *, const void *const *, const uint8_t *, float *, size_t);
#define ROW(mr) {t##mr##x1, t##mr##x2, t##mr##x4}
static const tile_fn tiles[MR][3] = {ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6)};

void bc_tgemm__avx512(size_t m, size_t panels, size_t taps, size_t octets, const void *const *a,
                      const uint8_t *w, float *acc, size_t ld) {
    const size_t cuts = (m + MR - 1) / MR; /* tiles of nearly equal height */
    const size_t most_taps = octets < BLOCK ? BLOCK / octets : 1, most = bc_min(octets, BLOCK);
    for (size_t cut = 0, p = 0, end; cut < cuts; cut++, p = end) {
        end = m * (cut + 1) / cuts;
        const tile_fn *row = tiles[end - p - 1];
        block b = {.stride = taps, .w_tap = octets * NR, .w_panel = taps * octets * NR};
        for (size_t t = 0; t < taps; t += b.taps)
            for (b.first_octet = 0; b.first_octet < octets; b.first_octet += b.octets) {
                b.taps = bc_min(most_taps, taps - t);
                b.octets = bc_min(most, octets - b.first_octet);
                b.begins = t == 0 && b.first_octet == 0;
                const uint8_t *v = w + (t * octets + b.first_octet) * NR;
                for (size_t q = 0, n; q < panels; q += n) {
                    const size_t left = panels - q;
                    n = left >= 4 ? 4 : left >= 2 ? 2 : 1;
                    row[n / 2](&b, a + p * taps + t, v + q * b.w_panel, acc + p * ld + q * NR, ld);
                }
            }
    }
}

BC_TARGET_END
