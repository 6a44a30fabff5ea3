/* avx2_bgemm_numbers.c: sums of binary products by table look-up to where the call wants them. */
#include "avx2_bgemm_pairs.h"

#include <string.h>

BC_TARGET_BEGIN("avx2")
#include "avx2_bgemm_limits.h"

static BC_INLINE __m256i load(const void *from) {
    return _mm256_loadu_si256((const __m256i *)from);
}

/* x: panels 0, 2; y: panels 1, 3. */
static BC_INLINE void sums_of(__m256i *x, __m256i *y, const uint16_t sums[NR]) {
    const __m256i odd = load(sums + 16),
                  even = _mm256_sub_epi16(load(sums), _mm256_slli_epi16(odd, 8));
    *x = _mm256_unpacklo_epi16(even, odd);
    *y = _mm256_unpackhi_epi16(even, odd);
}

static void make(uint8_t to[NV][2][NR], const bc_pair_rectangle *r, const int32_t *row,
                 int parity) {
    for (size_t q = 0, v = 0; q < r->panels; q += 4, v++)
        for (size_t i = 0; i < 2; i++)
            _mm256_store_si256((__m256i *)(void *)to[v][i],
                               limit_halves(row + (r->q + q) * 8, r->odd + v * r->stride, i,
                                            bc_min(4, r->panels - q), parity));
}

static BC_INLINE void bits(const bc_pair_rectangle *r, const bc_pair_sums *sums,
                           bc_pair_limits *limits, const size_t nv, const size_t last) {
    const bc_bgemm_call *call = r->tables->call;
    const size_t p = r->tables->p + 2 * r->pair, stride = call->out_stride;
    uint8_t *out = call->out + p * stride + r->q;
    for (size_t i = 0; i < r->m; i++, out += stride) {
        const uint32_t odd = limit_odd(r, i);
        const __m256i half = _mm256_set1_epi16((short)(odd / 2));
        uint8_t (*limit)[2][NR] = limit_of(limits, r, call->limit[p + i], odd, make);
        BC_UNROLL
        for (size_t v = 0; v < nv; v++) {
            __m256i x, y;
            sums_of(&x, &y, sums[i / 2 * nv + v][i % 2]);
            x = _mm256_cmpgt_epi16(_mm256_add_epi16(x, half), load(limit[v][0]));
            y = _mm256_cmpgt_epi16(_mm256_add_epi16(y, half), load(limit[v][1]));
            const int word = _mm256_movemask_epi8(_mm256_packs_epi16(x, y));
            memcpy(out + 4 * v, &word, v + 1 < nv ? 4 : last);
        }
    }
}

void bc_pairs_bits__avx2(const bc_pair_rectangle *r, const bc_pair_sums *sums,
                         bc_pair_limits *limits) {
    if (r->panels == 4 * NV) /* an instance of its own for usual sizes */
        bits(r, sums, limits, NV, 4);
    else
        bits(r, sums, limits, (r->panels + 3) / 4, (r->panels - 1) % 4 + 1);
}

static BC_INLINE void store_panel(int32_t *to, __m128i sums) {
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_cvtepu16_epi32(sums));
}

/* 2 sum + odd - filters' odd */
static BC_INLINE __m256i whole(__m256i sums, __m256i odd, const uint8_t *filters) {
    return _mm256_add_epi16(_mm256_add_epi16(sums, sums), _mm256_sub_epi16(odd, load(filters)));
}

void bc_pairs_numbers__avx2(const bc_pair_rectangle *r, const bc_pair_sums *sums) {
    const bc_bgemm_call *call = r->tables->call;
    const size_t nv = (r->panels + 3) / 4, p = r->tables->p + 2 * r->pair;
    for (size_t i = 0; i < r->m; i++) {
        int32_t *pop = call->pop + (p + i) * call->ld + r->q * 8;
        const __m256i odd = _mm256_set1_epi16((short)limit_odd(r, i));
        for (size_t v = 0; v < nv; v++, pop += NR) {
            const size_t n = r->panels - 4 * v;
            const uint8_t *filters = r->odd + v * r->stride;
            __m256i x, y;
            sums_of(&x, &y, sums[i / 2 * nv + v][i % 2]);
            x = whole(x, odd, filters);
            y = whole(y, odd, filters + NR);
            store_panel(pop, _mm256_castsi256_si128(x));
            if (n > 1)
                store_panel(pop + 8, _mm256_castsi256_si128(y));
            if (n > 2)
                store_panel(pop + 16, _mm256_extracti128_si256(x, 1));
            if (n > 3)
                store_panel(pop + 24, _mm256_extracti128_si256(y, 1));
        }
    }
}

BC_TARGET_END
