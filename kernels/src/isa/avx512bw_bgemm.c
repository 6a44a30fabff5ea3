/* avx512bw_bgemm.c: binary products on AVX-512 without its popcount (Skylake-X, Cascade Lake): by
 * table look-up, or for few pixels or filters and very large K by counting the bits of xor. */
#include "avx512bw_bgemm.h"

BC_TARGET_BEGIN("avx512f,avx512bw,avx512vl")

enum { COUNT_WORDS = 31 }; /* u8 lanes gain <= 8 per word, 31 * 8 = 248 <= 255 */

static BC_INLINE __m512i load(const void *from) {
    return _mm512_loadu_si512(from);
}

/* Counts the bits of one pixel against one panel; a vector is one word of its 8 filters. */
static __m512i count(const bc_bgemm_call *c, const uint64_t *const *a, const uint64_t *w) {
    const __m512i nibble = _mm512_set1_epi8(15), zero = _mm512_setzero_si512();
    const __m512i bits =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    __m512i acc = zero, sum = zero;
    unsigned left = COUNT_WORDS;
    for (size_t t = 0; t < c->taps; t++)
        for (size_t i = c->skip; i < c->skip + c->cw; i++, w += 8) {
            const __m512i x = _mm512_xor_si512(_mm512_set1_epi64((long long)a[t][i]), load(w));
            const __m512i low = _mm512_shuffle_epi8(bits, _mm512_and_si512(x, nibble));
            const __m512i high =
                _mm512_shuffle_epi8(bits, _mm512_and_si512(_mm512_srli_epi16(x, 4), nibble));
            acc = _mm512_add_epi8(acc, _mm512_add_epi8(low, high));
            if (--left == 0) {
                left = COUNT_WORDS;
                sum = _mm512_add_epi64(sum, _mm512_sad_epu8(acc, zero));
                acc = zero;
            }
        }
    return _mm512_add_epi64(sum, _mm512_sad_epu8(acc, zero));
}

static void multiply_few(const bc_bgemm_call *c) {
    for (size_t q = 0; q < c->panels; q++)
        for (size_t p = 0; p < c->m; p++) {
            const __m256i sum =
                _mm512_cvtepi64_epi32(count(c, c->a + p * c->taps, c->w + q * c->taps * c->cw * 8));
            if (c->pop) {
                _mm256_storeu_si256((__m256i *)(void *)(c->pop + p * c->ld + q * 8), sum);
                continue;
            }
            const __m256i limit =
                _mm256_loadu_si256((const __m256i *)(const void *)(c->limit[p] + q * 8));
            c->out[p * c->out_stride + q] =
                (uint8_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(sum, limit)));
        }
}

static void run(const bc_bgemm_call *call) {
    if (!bc_bgemm_pairs__avx512bw(call))
        multiply_few(call);
}

BC_BGEMM_RUN(avx512bw, run)

BC_TARGET_END
