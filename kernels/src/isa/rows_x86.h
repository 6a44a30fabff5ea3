/* rows_x86.h: rows.h with the comparison of 8 integers that x86 has since AVX2; include inside a
 * raised target. */
static BC_INLINE uint8_t less8(const int32_t *x, const int32_t *y) {
    __m256i less = _mm256_cmpgt_epi32(_mm256_loadu_si256((const __m256i *)(const void *)y),
                                      _mm256_loadu_si256((const __m256i *)(const void *)x));
    return (uint8_t)_mm256_movemask_ps(_mm256_castsi256_ps(less));
}

#define BC_LESS8 less8
#include "rows.h"
