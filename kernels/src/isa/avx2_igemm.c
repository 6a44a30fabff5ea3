/* avx2_igemm.c: 16-bit integer activations times 1-bit weights, for layers that read raw pixels.
 *
 * The pixels of a block are gathered first, so that first layers of 3 channels waste nothing: K
 * runs through all taps. vpmaddwd then takes two k at once; its pair sums are exact in int32. Tile:
 * 6 pixels x 16 filters = 12 accumulators. Weights become +-1 once per block of pixels if it has
 * several tiles. */
#include "avx2.h"
#include "gather.h"

#include <immintrin.h>
#include <string.h>

BC_TARGET_BEGIN("avx2")

enum {
    MR = 6,
    NR = BC_PANEL_FLOAT,
    BLOCK_PIXELS = 48,
    BLOCK_K = 256, /* k at once of a block */
    LONG_K = 8 *
        256 /* ... of one tile, which needs no expanded weights and reads each weight once */
};

typedef struct block {
    _Alignas(64) int16_t weights[BLOCK_K / 2][NR][2];    /* [pair of k][filter] */
    _Alignas(64) int16_t pixels[BLOCK_PIXELS * BLOCK_K]; /* rows of `stride` k; an odd count of k is
                                                            followed by a zero */
    size_t stride;
} block;

/* Two u16 of 16 filters' bits as two int16 +-1 each: filters 0-7 and 8-15. */
static BC_INLINE void signs(__m256i to[2], uint32_t two) {
    const __m256i bits = _mm256_set1_epi32((int)two), one = _mm256_set1_epi16(1);
    const __m256i low = _mm256_setr_epi32(0x00010001, 0x00020002, 0x00040004, 0x00080008,
                                          0x00100010, 0x00200020, 0x00400040, 0x00800080);
    const __m256i high = _mm256_slli_epi16(low, 8);
    to[0] = _mm256_or_si256(_mm256_cmpeq_epi16(_mm256_and_si256(bits, low), low), one);
    to[1] = _mm256_or_si256(_mm256_cmpeq_epi16(_mm256_and_si256(bits, high), high), one);
}

/* Bits of k and k + 1; beyond an odd n the pixels are zero, so any weight does. */
static BC_INLINE uint32_t two_bits(const uint16_t *w, size_t k, size_t n) {
    uint32_t two = w[k];
    if (k + 1 < n)
        memcpy(&two, w + k, sizeof two);
    return two;
}

static void expand(block *b, const uint16_t *w, size_t n) {
    for (size_t k = 0; k < n; k += 2) {
        __m256i v[2], *to = (__m256i *)(void *)b->weights[k / 2];
        signs(v, two_bits(w, k, n));
        _mm256_store_si256(to, v[0]);
        _mm256_store_si256(to + 1, v[1]);
    }
}

/* acc rows of `mr` pixels from pixel p on, one panel; w NULL: weights are expanded. */
static BC_INLINE void tile(const int mr, const block *b, size_t p, size_t n, const uint16_t *w,
                           int32_t *acc, size_t ld, bool add) {
    __m256i y[MR][2];
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        const __m256i *from = (const __m256i *)(const void *)(acc + (size_t)r * ld);
        y[r][0] = add ? _mm256_loadu_si256(from) : _mm256_setzero_si256();
        y[r][1] = add ? _mm256_loadu_si256(from + 1) : _mm256_setzero_si256();
    }
    for (size_t k = 0; k < n; k += 2) {
        __m256i v[2];
        if (w) {
            signs(v, two_bits(w, k, n));
        } else {
            const __m256i *from = (const __m256i *)(const void *)b->weights[k / 2];
            v[0] = _mm256_load_si256(from);
            v[1] = _mm256_load_si256(from + 1);
        }
        BC_UNROLL
        for (int r = 0; r < mr; r++) {
            int32_t pair;
            memcpy(&pair, &b->pixels[(p + (size_t)r) * b->stride + k], sizeof pair);
            const __m256i x = _mm256_set1_epi32(pair);
            y[r][0] = _mm256_add_epi32(y[r][0], _mm256_madd_epi16(x, v[0]));
            y[r][1] = _mm256_add_epi32(y[r][1], _mm256_madd_epi16(x, v[1]));
        }
    }
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        __m256i *to = (__m256i *)(void *)(acc + (size_t)r * ld);
        _mm256_storeu_si256(to, y[r][0]);
        _mm256_storeu_si256(to + 1, y[r][1]);
    }
}

#define TILE(mr)                                                                                   \
    static void tile##mr(const block *b, size_t p, size_t n, const uint16_t *w, int32_t *acc,      \
                         size_t ld, bool add) {                                                    \
        if (w)                                                                                     \
            tile(mr, b, p, n, w, acc, ld, add);                                                    \
        else                                                                                       \
            tile(mr, b, p, n, NULL, acc, ld, add);                                                 \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)

typedef void (*tile_fn)(const block *, size_t, size_t, const uint16_t *, int32_t *, size_t, bool);
static const tile_fn tiles[MR] = {tile1, tile2, tile3, tile4, tile5, tile6};

/* One block of pixels: m <= BLOCK_PIXELS. */
static void multiply(block *b, size_t m, size_t panels, size_t taps, size_t cin,
                     const int16_t *const *a, const uint16_t *w, int32_t *acc, size_t ld) {
    const size_t k_all = taps * cin, cuts = (m + MR - 1) / MR;
    b->stride = cuts > 1 ? BLOCK_K : LONG_K;
    for (size_t k0 = 0; k0 < k_all; k0 += b->stride) {
        const size_t n = bc_min(b->stride, k_all - k0);
        bc_gather16(b->pixels, b->stride, m, taps, cin, a, k0, n);
        for (size_t q = 0; q < panels; q++) {
            const uint16_t *wq = w + q * k_all + k0;
            if (cuts > 1)
                expand(b, wq, n);
            for (size_t i = 0; i < cuts; i++) {
                const size_t p = m * i / cuts, mr = m * (i + 1) / cuts - p;
                tiles[mr - 1](b, p, n, cuts > 1 ? NULL : wq, acc + p * ld + q * NR, ld, k0 > 0);
            }
        }
    }
}

void bc_igemm__avx2(size_t m, size_t panels, size_t taps, size_t cin, const int16_t *const *a,
                    const uint16_t *w, int32_t *acc, size_t ld) {
    block b;
    const size_t cuts = (m + BLOCK_PIXELS - 1) / BLOCK_PIXELS;
    for (size_t i = 0; i < cuts; i++) {
        const size_t p = m * i / cuts;
        multiply(&b, m * (i + 1) / cuts - p, panels, taps, cin, a + p * taps, w, acc + p * ld, ld);
    }
}

BC_TARGET_END
