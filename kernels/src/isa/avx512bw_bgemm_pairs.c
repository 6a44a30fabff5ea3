/* avx512bw_bgemm_pairs.c: binary products of many pixels on AVX-512 without its popcount, by table
 * look-up (pairs_tile.h): 16 instructions for 3584 multiply-accumulates, 7 of them shuffles. A core
 * with two vector ports, one of which has all shuffles, takes 8 cycles, 448 a cycle; counting the
 * bits of xor by vpshufb, 8 instructions for 512, ends at 128. Tile: 2 pixels x 128 filters, or
 * 4 x 64. */
#include "avx512bw_bgemm.h"

BC_TARGET_BEGIN("avx512f,avx512bw,avx512vl")

#define V __m512i
#define BC_MM(name) _mm512_##name
#define BC_SI(name) _mm512_##name##_si512
#define BC_KEEP BC_KEEP_V
enum { PANELS = 8, NV = 2, LEAST_PANELS = 3 };
typedef uint64_t pair_bits;
#include "pairs.h"

static BC_INLINE V repeat(__m128i x) {
    return _mm512_broadcast_i32x4(x);
}

static BC_INLINE V lanes(const uint64_t *const *p, size_t at) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(two_lanes(p, at)), two_lanes(p + 4, at), 1);
}

static BC_INLINE pair_bits above8(V x, V y) {
    return _mm512_cmpgt_epi8_mask(x, y);
}

static BC_INLINE pair_bits above16(V x0, V y0, V x1, V y1) {
    const V first = _mm512_movm_epi16(_mm512_cmpgt_epi16_mask(x0, y0)),
            second = _mm512_movm_epi16(_mm512_cmpgt_epi16_mask(x1, y1));
    return _mm512_movepi8_mask(_mm512_packs_epi16(first, second));
}

#include "pairs_product.h"

bool bc_bgemm_pairs__avx512bw(const bc_bgemm_call *call) {
    return pairs_product(call);
}

bool bc_spread_serves__avx512bw(size_t panels, size_t taps, size_t cw) {
    return pairs_serve(panels, taps, cw);
}

_Static_assert((int)SPREAD_WORD == (int)BC_SPREAD_WORD__AVX512BW, "what the table tells");
void bc_spread__avx512bw(size_t panels, size_t k_words, const uint64_t *w, void *to) {
    pairs_spread(panels, k_words, w, to);
}

BC_TARGET_END
