/* avx512bw_planes.c: binary convolutions of planes (planes.h) on AVX-512 without its popcount.
 * Tile: 128 pixels x 4 filters. */
#include "avx512bw_bgemm.h"

#include <immintrin.h>

BC_TARGET_BEGIN("avx512f,avx512bw,avx512vl")

#define V __m512i
#define BC_MM(name) _mm512_##name
#define BC_SI(name) _mm512_##name##_si512
#define BC_KEEP BC_KEEP_V

static BC_INLINE V repeat(__m128i x) {
    return _mm512_broadcast_i32x4(x);
}

static BC_INLINE V greater8(V x, V y) {
    return _mm512_movm_epi8(_mm512_cmpgt_epi8_mask(x, y));
}

static BC_INLINE V greater16(V x, V y) {
    return _mm512_movm_epi16(_mm512_cmpgt_epi16_mask(x, y));
}

static BC_INLINE void store_lanes(void *to, size_t stride, V x) {
    char *at = to;
    _mm_storeu_si128((__m128i *)(void *)at, _mm512_castsi512_si128(x));
    _mm_storeu_si128((__m128i *)(void *)(at + stride), _mm512_extracti32x4_epi32(x, 1));
    _mm_storeu_si128((__m128i *)(void *)(at + 2 * stride), _mm512_extracti32x4_epi32(x, 2));
    _mm_storeu_si128((__m128i *)(void *)(at + 3 * stride), _mm512_extracti32x4_epi32(x, 3));
}

static BC_INLINE V join(const __m128i x[4]) {
    const V low = _mm512_inserti32x4(_mm512_castsi128_si512(x[0]), x[1], 1);
    return _mm512_inserti32x4(_mm512_inserti32x4(low, x[2], 2), x[3], 3);
}

#include "planes_product.h"

BC_PLANE_KERNELS(avx512bw)

BC_TARGET_END
