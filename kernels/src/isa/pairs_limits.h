/* pairs_limits.h: limits of the binary product by table look-up, for a pixel and all filters
 * of a rectangle. With the sum of g, and how many groups of 4 bits of the pixel and of the filter
 * have an odd count (pairs_tile.h),
 *
 *     2 sum + odd - filter's > limit  <=>  sum + odd / 2 > (limit + filter's - odd % 2) / 2
 *
 * each division rounded down. So there are two limits per filter. Pixels of an image have a few
 * rows of limits in turns, which are kept. */
#ifndef BC_ISA_PAIRS_LIMITS_H
#define BC_ISA_PAIRS_LIMITS_H

#include "pairs.h"

/* The limits of a panel, for pixels of odd % 2: half of a vector. */
static BC_INLINE __m128i limit_halves(const int32_t *limit, const uint16_t *odd, int parity) {
    const __m256i most = _mm256_set1_epi32(1 << 20), least = _mm256_set1_epi32(-(1 << 20));
    __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)limit);
    x = _mm256_max_epi32(_mm256_min_epi32(x, most), least); /* all beyond are alike */
    x = _mm256_add_epi32(x,
                         _mm256_cvtepu16_epi32(_mm_load_si128((const __m128i *)(const void *)odd)));
    x = _mm256_srai_epi32(_mm256_add_epi32(x, _mm256_set1_epi32(-parity)), 1);
    return _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
}

/* Of vector v of a rectangle, as sums lie: panels 0, 2, .. in to[0], 1, 3, .. in to[1]; a missing
 * panel repeats the last. */
static BC_INLINE void limit_vector(int16_t to[2][NR / 2], const pair_rectangle *r, size_t v,
                                   const int32_t *row, int parity) {
    const uint16_t *odd = (const uint16_t *)(const void *)(r->odd + v * r->stride);
    const size_t q = r->q + v * PANELS, last = r->q + r->panels - 1;
    for (size_t j = 0; j < PANELS; j++)
        _mm_store_si128((__m128i *)(void *)(to[j % 2] + j / 2 * 8),
                        limit_halves(row + bc_min(q + j, last) * 8,
                                     odd + j % 2 * (NR / 2) + j / 2 * 8, parity));
}

/* Groups of 4 bits with an odd count, of pixel i of a rectangle. */
static BC_INLINE uint32_t limit_odd(const pair_rectangle *r, size_t i) {
    return r->tables->odd[r->pair + i / 2] >> i % 2 * 16 & 0xffff;
}

/* Makes limits of a row, for pixels of odd % 2. */
typedef void limit_make(uint8_t to[NV][2][NR], const pair_rectangle *r, const int32_t *row,
                        int parity);

/* From now on, limits->last is those of r's panels of `row`. */
static BC_NO_INLINE void limit_switch(pair_limits *limits, const pair_rectangle *r,
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
static BC_INLINE uint8_t (*limit_of(pair_limits *limits, const pair_rectangle *r,
                                    const int32_t *row, uint32_t odd, limit_make *make))[2][NR] {
    if (row + r->q * 8 != limits->last)
        limit_switch(limits, r, row, make);
    return limits->last_part[odd % 2];
}

#endif
