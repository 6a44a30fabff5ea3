/* pairs_numbers.h: sums of binary products by table look-up to where the call wants them. */
#ifndef BC_ISA_PAIRS_NUMBERS_H
#define BC_ISA_PAIRS_NUMBERS_H

#include "pairs_limits.h"

#include <string.h>

/* x: panels 0, 2, ..; y: panels 1, 3, .. */
static BC_INLINE void sums_of(V *x, V *y, const uint16_t sums[NR]) {
    const V odd = load(sums + NR / 2),
            even = BC_MM(sub_epi16)(load(sums), BC_MM(slli_epi16)(odd, 8));
    *x = BC_MM(unpacklo_epi16)(even, odd);
    *y = BC_MM(unpackhi_epi16)(even, odd);
}

static void make_halves(uint8_t to[NV][2][NR], const pair_rectangle *r, const int32_t *row,
                        int parity) {
    for (size_t v = 0; v < pair_vectors(r->panels); v++)
        limit_vector((int16_t (*)[NR / 2])(void *)to[v], r, v, row, parity);
}

static BC_INLINE void write_bits(const pair_rectangle *r, const pair_sums *sums,
                                 pair_limits *limits, const size_t nv, const size_t last) {
    const bc_bgemm_call *call = r->tables->call;
    const size_t p = r->tables->p + 2 * r->pair, stride = call->out_stride;
    uint8_t *out = call->out + p * stride + r->q;
    for (size_t i = 0; i < r->m; i++, out += stride) {
        const uint32_t odd = limit_odd(r, i);
        const V half = BC_MM(set1_epi16)((short)(odd / 2));
        uint8_t (*limit)[2][NR] = limit_of(limits, r, call->limit[p + i], odd, make_halves);
        BC_UNROLL
        for (size_t v = 0; v < nv; v++) {
            V x, y;
            sums_of(&x, &y, sums[i / 2 * nv + v][i % 2]);
            const pair_bits above = above16(BC_MM(add_epi16)(x, half), load(limit[v][0]),
                                            BC_MM(add_epi16)(y, half), load(limit[v][1]));
            memcpy(out + PANELS * v, &above, v + 1 < nv ? PANELS : last);
        }
    }
}

static void pairs_bits(const pair_rectangle *r, const pair_sums *sums, pair_limits *limits) {
    if (r->panels == PANELS * NV) /* an instance of its own for usual sizes */
        write_bits(r, sums, limits, NV, PANELS);
    else
        write_bits(r, sums, limits, pair_vectors(r->panels), (r->panels - 1) % PANELS + 1);
}

/* 2 sum + odd - filters' odd */
static BC_INLINE V whole(V sums, V odd, const uint8_t *filters) {
    return BC_MM(add_epi16)(BC_MM(add_epi16)(sums, sums), BC_MM(sub_epi16)(odd, load(filters)));
}

static void pairs_numbers(const pair_rectangle *r, const pair_sums *sums) {
    const bc_bgemm_call *call = r->tables->call;
    const size_t nv = pair_vectors(r->panels), p = r->tables->p + 2 * r->pair;
    for (size_t i = 0; i < r->m; i++) {
        int32_t *pop = call->pop + (p + i) * call->ld + r->q * 8;
        const V odd = BC_MM(set1_epi16)((short)limit_odd(r, i));
        for (size_t v = 0; v < nv; v++, pop += NR) {
            const size_t n = r->panels - PANELS * v;
            const uint8_t *filters = r->odd + v * r->stride;
            _Alignas(64) uint16_t words[2][NR / 2]; /* of panels 0, 2, .. and 1, 3, .. */
            V x, y;
            sums_of(&x, &y, sums[i / 2 * nv + v][i % 2]);
            BC_SI(store)((V *)(void *)words[0], whole(x, odd, filters));
            BC_SI(store)((V *)(void *)words[1], whole(y, odd, filters + NR));
            BC_UNROLL
            for (size_t j = 0; j < PANELS; j++)
                if (j < n)
                    _mm256_storeu_si256(
                        (__m256i *)(void *)(pop + j * 8),
                        _mm256_cvtepu16_epi32(_mm_load_si128(
                            (const __m128i *)(const void *)(words[j % 2] + j / 2 * 8))));
        }
    }
}

#endif
