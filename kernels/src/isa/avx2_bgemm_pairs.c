/* avx2_bgemm_pairs.c: binary products of many pixels on AVX2, by table look-up (pairs_tile.h).
 * Tile: 2 pixels x 128 filters, 4 x 64 or 8 x 32. */
#include "avx2_bgemm.h"

#include <immintrin.h>

BC_TARGET_BEGIN("avx2")

#define V __m256i
#define BC_MM(name) _mm256_##name
#define BC_SI(name) _mm256_##name##_si256
#define BC_KEEP BC_KEEP_X
enum { PANELS = 4, NV = 4, LEAST_PANELS = 1 };
typedef uint32_t pair_bits;
#include "pairs.h"

static BC_INLINE V repeat(__m128i x) {
    return _mm256_broadcastsi128_si256(x);
}

static BC_INLINE V lanes(const uint64_t *const *p, size_t at) {
    return two_lanes(p, at);
}

static BC_INLINE pair_bits above8(V x, V y) {
    return (pair_bits)_mm256_movemask_epi8(_mm256_cmpgt_epi8(x, y));
}

static BC_INLINE pair_bits above16(V x0, V y0, V x1, V y1) {
    return (pair_bits)_mm256_movemask_epi8(
        _mm256_packs_epi16(_mm256_cmpgt_epi16(x0, y0), _mm256_cmpgt_epi16(x1, y1)));
}

#include "pairs_product.h"

bool bc_bgemm_pairs__avx2(const bc_bgemm_call *call) {
    return pairs_product(call);
}

bool bc_spread_serves__avx2(size_t panels, size_t taps, size_t cw) {
    return pairs_serve(panels, taps, cw);
}

_Static_assert((int)SPREAD_WORD == (int)BC_SPREAD_WORD__AVX2, "what the table tells");
void bc_spread__avx2(size_t panels, size_t k_words, const uint64_t *w, void *to) {
    pairs_spread(panels, k_words, w, to);
}

BC_TARGET_END
