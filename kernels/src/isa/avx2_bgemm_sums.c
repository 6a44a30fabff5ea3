/* avx2_bgemm_sums.c: the sums of binary products by table look-up: from bytes to 16 bits, and to
 * where the call wants them. */
#include "avx2_bgemm_pairs.h"

#include <immintrin.h>
#include <string.h>

BC_TARGET_BEGIN("avx2")

static BC_INLINE __m256i load(const void *from) {
    return _mm256_loadu_si256((const __m256i *)from);
}

void bc_pairs_add__avx2(size_t n, const bc_pair_bytes *bytes, bc_pair_sums *sums, bool first) {
    for (size_t c = 0; c < n; c++) {
        BC_UNROLL
        for (size_t pixel = 0; pixel < 2; pixel++) {
            const __m256i a = load(bytes[c][0][pixel]), b = load(bytes[c][1][pixel]),
                          d = load(bytes[c][2][pixel]);
            __m256i both = _mm256_add_epi16(_mm256_add_epi16(a, b), d),
                    odd = _mm256_add_epi16(
                        _mm256_add_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8)),
                        _mm256_srli_epi16(d, 8));
            __m256i *to = (__m256i *)(void *)sums[c][pixel];
            if (!first) {
                both = _mm256_add_epi16(both, to[0]);
                odd = _mm256_add_epi16(odd, to[1]);
            }
            _mm256_store_si256(to, both);
            _mm256_store_si256(to + 1, odd);
        }
    }
}

/* x: panels 0, 2; y: panels 1, 3. */
static BC_INLINE void sums_of(__m256i *x, __m256i *y, const uint16_t sums[NR]) {
    const __m256i odd = load(sums + 16),
                  even = _mm256_sub_epi16(load(sums), _mm256_slli_epi16(odd, 8));
    *x = _mm256_unpacklo_epi16(even, odd);
    *y = _mm256_unpackhi_epi16(even, odd);
}

/* The limits of 4 panels as int16, in the order of the sums; what is too large
 * or small for int16 is no less so for the sums. */
static void narrow(__m256i to[2], const int32_t *limit, size_t panels) {
    const size_t last = panels - 1;
    __m256i l0 = load(limit), l1 = load(limit + bc_min(1, last) * 8),
            l2 = load(limit + bc_min(2, last) * 8), l3 = load(limit + bc_min(3, last) * 8);
    to[0] = _mm256_packs_epi32(_mm256_permute2x128_si256(l0, l2, 0x20),
                               _mm256_permute2x128_si256(l0, l2, 0x31));
    to[1] = _mm256_packs_epi32(_mm256_permute2x128_si256(l1, l3, 0x20),
                               _mm256_permute2x128_si256(l1, l3, 0x31));
}

static BC_INLINE int bits_of(const uint16_t sums[NR], const __m256i limit[2]) {
    __m256i x, y;
    sums_of(&x, &y, sums);
    x = _mm256_cmpgt_epi16(x, limit[0]);
    y = _mm256_cmpgt_epi16(y, limit[1]);
    return _mm256_movemask_epi8(_mm256_packs_epi16(x, y));
}

static BC_INLINE void bits(const bc_pair_rectangle *to, const bc_pair_sums *sums, const size_t nv,
                           const size_t last) {
    const size_t stride = to->call->out_stride;
    const int32_t *const *row = to->call->limit + to->p;
    uint8_t *out = to->call->out + to->p * stride + to->q;
    __m256i limit[NV][2];
    for (size_t i = 0; i < to->m; i++, out += stride) {
        if (i == 0 || row[i] != row[i - 1]) /* many pixels share a row */
            for (size_t v = 0; v < nv; v++)
                narrow(limit[v], row[i] + (to->q + 4 * v) * 8, v + 1 < nv ? 4 : last);
        BC_UNROLL
        for (size_t v = 0; v < nv; v++) {
            const int word = bits_of(sums[i / 2 * nv + v][i % 2], limit[v]);
            memcpy(out + 4 * v, &word, v + 1 < nv ? 4 : last);
        }
    }
}

void bc_pairs_bits__avx2(const bc_pair_rectangle *to, const bc_pair_sums *sums) {
    if (to->panels == 4 * NV) /* an instance of its own for usual sizes */
        bits(to, sums, NV, 4);
    else
        bits(to, sums, (to->panels + 3) / 4, (to->panels - 1) % 4 + 1);
}

static BC_INLINE void store_panel(int32_t *to, __m128i sums) {
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_cvtepu16_epi32(sums));
}

void bc_pairs_numbers__avx2(const bc_pair_rectangle *to, const bc_pair_sums *sums) {
    const bc_bgemm_call *call = to->call;
    const size_t nv = (to->panels + 3) / 4;
    for (size_t i = 0; i < to->m; i++) {
        int32_t *pop = call->pop + (to->p + i) * call->ld + to->q * 8;
        for (size_t v = 0; v < nv; v++, pop += NR) {
            const size_t n = to->panels - 4 * v;
            __m256i x, y;
            sums_of(&x, &y, sums[i / 2 * nv + v][i % 2]);
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
