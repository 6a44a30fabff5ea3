/* avx2_igemm.c: 16-bit integer activations times 1-bit weights, for layers that read raw pixels.
 *
 * The pixels of a tile are gathered first, so that first layers of 3 channels waste nothing: K runs through all taps. vpmaddwd
 * then takes two k at once; its pair sums are exact in int32. Tile: 6 pixels x 16 filters = 12 accumulators. */
#include "avx2.h"
#include "gather.h"

#include <immintrin.h>
#include <string.h>

BC_TARGET_BEGIN("avx2")

enum { MR = 6, NR = BC_PANEL_FLOAT, BLOCK_K = 1024 };

typedef int16_t pixel_rows[MR][BLOCK_K]; /* K values of each pixel, an odd count followed by a zero */

/* Two u16 of 16 filters' bits as two int16 +-1 each: filters 0-7 and 8-15. */
static BC_INLINE void signs(__m256i to[2], uint32_t two)
{
    const __m256i bits = _mm256_set1_epi32((int)two), one = _mm256_set1_epi16(1);
    const __m256i low = _mm256_setr_epi32(0x00010001, 0x00020002, 0x00040004, 0x00080008, 0x00100010, 0x00200020, 0x00400040,
                                          0x00800080);
    const __m256i high = _mm256_slli_epi16(low, 8);
    to[0] = _mm256_or_si256(_mm256_cmpeq_epi16(_mm256_and_si256(bits, low), low), one);
    to[1] = _mm256_or_si256(_mm256_cmpeq_epi16(_mm256_and_si256(bits, high), high), one);
}

static BC_INLINE void step(__m256i y[MR][2], const int mr, const pixel_rows x, size_t k, uint32_t two)
{
    __m256i v[2];
    signs(v, two);
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        int32_t pair;
        memcpy(&pair, &x[r][k], sizeof pair);
        const __m256i xr = _mm256_set1_epi32(pair);
        y[r][0] = _mm256_add_epi32(y[r][0], _mm256_madd_epi16(xr, v[0]));
        y[r][1] = _mm256_add_epi32(y[r][1], _mm256_madd_epi16(xr, v[1]));
    }
}

static BC_INLINE void tile(const int mr, const pixel_rows x, size_t n, const uint16_t *w, int32_t *acc, size_t ld, bool add)
{
    __m256i y[MR][2];
    BC_UNROLL
    for (int r = 0; r < mr; r++)
        for (int h = 0; h < 2; h++)
            y[r][h] = add ? _mm256_loadu_si256((const __m256i *)(const void *)(acc + (size_t)r * ld + 8 * h))
                          : _mm256_setzero_si256();
    size_t k = 0;
    for (; k + 2 <= n; k += 2) {
        uint32_t two;
        memcpy(&two, w + k, sizeof two);
        step(y, mr, x, k, two);
    }
    if (k < n)
        step(y, mr, x, k, w[k]);
    BC_UNROLL
    for (int r = 0; r < mr; r++)
        for (int h = 0; h < 2; h++)
            _mm256_storeu_si256((__m256i *)(void *)(acc + (size_t)r * ld + 8 * h), y[r][h]);
}

#define TILE(mr)                                                                                                               \
    static void tile##mr(const pixel_rows x, size_t n, const uint16_t *w, int32_t *acc, size_t ld, bool add)                   \
    {                                                                                                                          \
        tile(mr, x, n, w, acc, ld, add);                                                                                       \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)

typedef void (*tile_fn)(const pixel_rows, size_t, const uint16_t *, int32_t *, size_t, bool);
static const tile_fn tiles[MR] = {tile1, tile2, tile3, tile4, tile5, tile6};

void bc_igemm__avx2(size_t m, size_t panels, size_t taps, size_t cin, const int16_t *const *a, const uint16_t *w,
                    int32_t *acc, size_t ld)
{
    const size_t k_all = taps * cin, cuts = (m + MR - 1) / MR;
    pixel_rows x;
    for (size_t i = 0; i < cuts; i++) {
        const size_t p = m * i / cuts, mr = m * (i + 1) / cuts - p;
        for (size_t k0 = 0; k0 < k_all; k0 += BLOCK_K) {
            const size_t n = bc_min(BLOCK_K, k_all - k0);
            bc_gather16(&x[0][0], BLOCK_K, mr, taps, cin, a + p * taps, k0, n);
            for (size_t q = 0; q < panels; q++)
                tiles[mr - 1]((const int16_t(*)[BLOCK_K])x, n, w + q * k_all + k0, acc + p * ld + q * NR, ld, k0 > 0);
        }
    }
}

BC_TARGET_END
