/* avx2_bgemm_limits.h: limits of the binary product by table look-up, for a pixel and all filters
 * of a rectangle. With the sum of g, and how many groups of 4 bits of the pixel and of the filter
 * have an odd count (avx2_bgemm_tile.h),
 *
 *     2 sum + odd - filter's > limit  <=>  sum + odd / 2 > (limit + filter's - odd % 2) / 2
 *
 * each division rounded down. So there are two limits per filter. Pixels of an image have a few
 * rows of limits in turns, which are kept. */
#ifndef BC_ISA_AVX2_BGEMM_LIMITS_H
#define BC_ISA_AVX2_BGEMM_LIMITS_H

#include "avx2_bgemm_pairs.h"

#include <immintrin.h>

static BC_INLINE __m256i limit_sum(const int32_t *limit, const uint16_t *odd) {
    const __m256i most = _mm256_set1_epi32(1 << 20), least = _mm256_set1_epi32(-(1 << 20));
    __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)limit);
    x = _mm256_max_epi32(_mm256_min_epi32(x, most), least); /* all beyond are alike */
    return _mm256_add_epi32(
        x, _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)odd)));
}

/* Of panels `first` (0 or 1) and first + 2 of a vector with n panels, for pixels of odd % 2, as the
 * sums lie; a missing panel repeats the last. */
static BC_INLINE __m256i limit_halves(const int32_t *limit, const uint8_t *odd, size_t first,
                                      size_t n, int parity) {
    const uint16_t *of = (const uint16_t *)(const void *)odd + 16 * first;
    const __m256i minus = _mm256_set1_epi32(-parity);
    __m256i a = limit_sum(limit + bc_min(first, n - 1) * 8, of),
            b = limit_sum(limit + bc_min(first + 2, n - 1) * 8, of + 8);
    a = _mm256_srai_epi32(_mm256_add_epi32(a, minus), 1);
    b = _mm256_srai_epi32(_mm256_add_epi32(b, minus), 1);
    return _mm256_packs_epi32(_mm256_permute2x128_si256(a, b, 0x20),
                              _mm256_permute2x128_si256(a, b, 0x31));
}

/* Groups of 4 bits with an odd count, of pixel i of a rectangle. */
static BC_INLINE uint32_t limit_odd(const bc_pair_rectangle *r, size_t i) {
    return r->tables->odd[r->pair + i / 2] >> i % 2 * 16 & 0xffff;
}

/* Makes limits of a row, for pixels of odd % 2. */
typedef void limit_make(uint8_t to[NV][2][NR], const bc_pair_rectangle *r, const int32_t *row,
                        int parity);

/* From now on, limits->last is those of r's panels of `row`. */
static BC_NO_INLINE void limit_switch(bc_pair_limits *limits, const bc_pair_rectangle *r,
                                      const int32_t *row, limit_make *make) {
    const int32_t *key = row + r->q * 8;
    size_t at = 0;
    while (at < LIMIT_ROWS && limits->row[at] != key)
        at++;
    if (at == LIMIT_ROWS) {
        at = limits->next++ % LIMIT_ROWS;
        limits->row[at] = key;
        for (int parity = 0; parity < 2; parity++)
            make(limits->part[at][parity], r, row, parity);
    }
    limits->last = key;
    limits->last_part = limits->part[at];
}

/* [vector][part] of a pixel that has `row` and `odd`. */
static BC_INLINE uint8_t (*limit_of(bc_pair_limits *limits, const bc_pair_rectangle *r,
                                    const int32_t *row, uint32_t odd, limit_make *make))[2][NR] {
    if (row + r->q * 8 != limits->last)
        limit_switch(limits, r, row, make);
    return limits->last_part[odd % 2];
}

#endif
