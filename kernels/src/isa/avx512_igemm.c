/* avx512_igemm.c: 16-bit integer activations times 1-bit weights, for layers that read raw pixels.
 * Needs AVX512BW.
 *
 * The pixels of a tile are gathered first, so that first layers of 3 channels waste nothing: K runs
 * through all taps. vpmaddwd then takes two k at once; its pair sums are exact in int32. Tile: up
 * to 14 pixels x 1 panel = 14 accumulators. */
#include "avx512.h"
#include "gather.h"

BC_TARGET_BEGIN("avx512f,avx512bw,avx512vl")

enum { MR = 14, NR = BC_PANEL_FLOAT, BLOCK_K = 1024 };

typedef int16_t pixel_rows[MR]
                          [BLOCK_K]; /* K values of each pixel, an odd count followed by a zero */

static BC_INLINE void step(__m512i y[MR], const int mr, const pixel_rows x, size_t k,
                           uint32_t two) {
    /* Two u16 of 16 filters' bits as two int16 +-1 each: lane j tests bit j of both. */
    const __m512i filter =
        _mm512_setr_epi32(0x00010001, 0x00020002, 0x00040004, 0x00080008, 0x00100010, 0x00200020,
                          0x00400040, 0x00800080, 0x01000100, 0x02000200, 0x04000400, 0x08000800,
                          0x10001000, 0x20002000, 0x40004000, (int)0x80008000u);
    const __mmask32 minus = _mm512_test_epi16_mask(_mm512_set1_epi32((int)two), filter);
    const __m512i v = _mm512_mask_blend_epi16(minus, _mm512_set1_epi16(1), _mm512_set1_epi16(-1));
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        int32_t pair;
        memcpy(&pair, &x[r][k], sizeof pair);
        y[r] = _mm512_add_epi32(y[r], _mm512_madd_epi16(_mm512_set1_epi32(pair), v));
        BC_KEEP_V(y[r]);
    }
}

static BC_INLINE void tile(const int mr, const pixel_rows x, size_t n, const uint16_t *w,
                           int32_t *acc, size_t ld, bool add) {
    __m512i y[MR];
    BC_UNROLL
    for (int r = 0; r < mr; r++)
        y[r] = add ? _mm512_loadu_si512(acc + (size_t)r * ld) : _mm512_setzero_si512();
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
        _mm512_storeu_si512(acc + (size_t)r * ld, y[r]);
}

#define TILE(mr)                                                                                   \
    static void tile##mr(const pixel_rows x, size_t n, const uint16_t *w, int32_t *acc, size_t ld, \
                         bool add) {                                                               \
        tile(mr, x, n, w, acc, ld, add);                                                           \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
TILE(7)
TILE(8)
TILE(9)
TILE(10)
TILE(11)
TILE(12)
TILE(13)
TILE(14)

typedef void (*tile_fn)(const pixel_rows, size_t, const uint16_t *, int32_t *, size_t, bool);
static const tile_fn tiles[MR] = {tile1, tile2, tile3,  tile4,  tile5,  tile6,  tile7,
                                  tile8, tile9, tile10, tile11, tile12, tile13, tile14};

void bc_igemm__avx512(size_t m, size_t panels, size_t taps, size_t cin, const int16_t *const *a,
                      const uint16_t *w, int32_t *acc, size_t ld) {
    const size_t k_all = taps * cin, cuts = (m + MR - 1) / MR;
    _Alignas(64) pixel_rows x;
    for (size_t i = 0; i < cuts; i++) {
        const size_t p = m * i / cuts, mr = m * (i + 1) / cuts - p;
        for (size_t k0 = 0; k0 < k_all; k0 += BLOCK_K) {
            const size_t n = bc_min(BLOCK_K, k_all - k0);
            bc_gather16(&x[0][0], BLOCK_K, mr, taps, cin, a + p * taps, k0, n);
            for (size_t q = 0; q < panels; q++)
                tiles[mr - 1]((const int16_t (*)[BLOCK_K])x, n, w + q * k_all + k0,
                              acc + p * ld + q * NR, ld, k0 > 0);
        }
    }
}

BC_TARGET_END
