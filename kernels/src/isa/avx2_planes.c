/* avx2_planes.c: binary convolutions of planes (planes.h) on AVX2. Tile: 64 pixels x 4 filters. */
#include "avx2.h"

#include <immintrin.h>

BC_TARGET_BEGIN("avx2")

#define V __m256i
#define BC_MM(name) _mm256_##name
#define BC_SI(name) _mm256_##name##_si256
#define BC_KEEP BC_KEEP_X

static BC_INLINE V repeat(__m128i x) {
    return _mm256_broadcastsi128_si256(x);
}

static BC_INLINE V greater8(V x, V y) {
    return _mm256_cmpgt_epi8(x, y);
}

static BC_INLINE V greater16(V x, V y) {
    return _mm256_cmpgt_epi16(x, y);
}

static BC_INLINE void store_lanes(void *to, size_t stride, V x) {
    char *at = to;
    _mm_storeu_si128((__m128i *)(void *)at, _mm256_castsi256_si128(x));
    _mm_storeu_si128((__m128i *)(void *)(at + stride), _mm256_extracti128_si256(x, 1));
}

static BC_INLINE V join(const __m128i x[2]) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(x[0]), x[1], 1);
}

#include "planes_product.h"

BC_PLANE_KERNELS(avx2)

BC_TARGET_END
