/* avx512_tgemm.c: floats times 1-bit weights. Needs AVX512F.
 *
 * The table of a group of four channels holds its 16 sums, one vector. Sixteen filters look up
 * theirs by four bits of a lane: vpermps and vaddps, two instructions for 64 products, of which fma
 * takes four. Tile: 6 pixels x 4 panels of 16 filters (24 accumulators); K is cut into blocks whose
 * tables stay in L1 while all panels pass by. */
#include "avx512.h"

#include <string.h>

BC_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512vl")

enum {
    MR = 6,
    NR = BC_PANEL_FLOAT,
    MOST_PANELS = 4,
    OCTET = BC_TTABLE_OCTET__AVX512,
    BLOCK = 32, /* octets: 6 pixels * 32 * 128 bytes = 24 KiB */
};

/* x with a minus in the lanes whose number has the bit: times +-1 is exact, and leaves the shuffle
 * port alone. */
static BC_INLINE __m512 signs_of(const int bit) {
    const __mmask16 set = bit == 0 ? 0xaaaa : bit == 1 ? 0xcccc : bit == 2 ? 0xf0f0 : 0xff00;
    return _mm512_mask_blend_ps(set, _mm512_set1_ps(1.0f), _mm512_set1_ps(-1.0f));
}

/* Lane b: (+-x0 + +-x1) + (+-x2 + +-x3), a minus where bit i of b is set. */
static BC_INLINE __m512 group_sums(const float x[4]) {
    const __m512 first = _mm512_fmadd_ps(_mm512_set1_ps(x[1]), signs_of(1),
                                         _mm512_mul_ps(_mm512_set1_ps(x[0]), signs_of(0))),
                 second = _mm512_fmadd_ps(_mm512_set1_ps(x[3]), signs_of(3),
                                          _mm512_mul_ps(_mm512_set1_ps(x[2]), signs_of(2)));
    return _mm512_add_ps(first, second);
}

void bc_ttable__avx512(size_t rows, size_t c, const float *x, void *table) {
    const size_t padded = bc_round_up(c, 8);
    float *to = table;
    for (size_t r = 0; r < rows; r++, x += c)
        for (size_t i = 0; i < padded; i += 4, to += 16) {
            float last[4] = {0};
            if (i + 4 > c && i < c)
                memcpy(last, x + i, (c - i) * sizeof *last);
            _mm512_store_ps(to, group_sums(i + 4 > c ? last : x + i));
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
