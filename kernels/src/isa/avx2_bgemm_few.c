/* avx2_bgemm_few.c: binary products of few pixels: xor, then a count of the
 * bits.
 *
 * Counting by vpshufb takes 7 instructions for 256 bits. So the bits are first
 * added up in carry save adders (Harley and Seal): of 8 vectors of xor a ones,
 * a twos and a fours digit stay, and one vector of eights goes out to be
 * counted. That makes 8 xor, 7 adders of 5 instructions and one count of 7 for
 * 8 * 256 multiply-accumulates; 400 such instructions fill the four vector
 * pipes for the time in which a Zen 3 core loads 8 lines of weights from its
 * third cache. */
#include "avx2_bgemm.h"

#include <immintrin.h>
#include <string.h>

BC_TARGET_BEGIN("avx2")

enum {
    GROUP = 64,   /* panels whose sums are held */
    WORDS = 1024, /* words of one pixel that are gathered at once */
    STEP = 8,     /* words of a round of adders */
    FLUSH = 31    /* rounds until u8 lanes may be full: 31 * 8 = 248 <= 255 */
};

/* Bits set in each byte. */
static BC_INLINE __m256i count(__m256i y) {
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i bits =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    __m256i low = _mm256_shuffle_epi8(bits, _mm256_and_si256(y, nibble));
    __m256i high = _mm256_shuffle_epi8(bits, _mm256_and_si256(_mm256_srli_epi16(y, 4), nibble));
    return _mm256_add_epi8(low, high);
}

/* *sum + a + b, bit by bit: *sum keeps the low digit, the high one is returned.
 */
static BC_INLINE __m256i add3(__m256i *sum, __m256i a, __m256i b) {
    __m256i half = _mm256_xor_si256(a, b);
    __m256i carry = _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(half, *sum));
    *sum = _mm256_xor_si256(half, *sum);
    return carry;
}

/* x ^ 4 filters of a panel. */
static BC_INLINE __m256i differ(const uint64_t *x, const uint64_t *w) {
    return _mm256_xor_si256(_mm256_set1_epi64x((long long)*x),
                            _mm256_load_si256((const __m256i *)(const void *)w));
}

/* Digits of the sums of 4 filters so far. */
typedef struct digits {
    __m256i ones, twos, fours, eights; /* eights: u8 lanes, already counted */
} digits;

/* 8 words of 4 filters. */
static BC_INLINE void add8(digits *d, const uint64_t *x, const uint64_t *w) {
    __m256i four[2];
    BC_UNROLL
    for (size_t i = 0; i < 2; i++) {
        const uint64_t *xi = x + 4 * i, *wi = w + 4 * i * 8;
        __m256i two = add3(&d->ones, differ(xi, wi), differ(xi + 1, wi + 8));
        __m256i next = add3(&d->ones, differ(xi + 2, wi + 16), differ(xi + 3, wi + 24));
        four[i] = add3(&d->twos, two, next);
    }
    d->eights = _mm256_add_epi8(d->eights, count(add3(&d->fours, four[0], four[1])));
}

/* popcount(x ^ w) of one pixel and one panel. */
static BC_INLINE void panel_pop(uint32_t sums[8], const uint64_t *x, const uint64_t *w,
                                size_t words) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i pop[2] = {zero, zero};
    digits d[2] = {{zero, zero, zero, zero}, {zero, zero, zero, zero}};
    size_t k = 0;
    for (unsigned left = FLUSH; k + STEP <= words; k += STEP) {
        const uint64_t *xk = x + k;
        add8(&d[0], xk, w + k * 8);
        BC_KEEP_R(xk);
        add8(&d[1], xk, w + k * 8 + 4);
        if (--left == 0) {
            for (int h = 0; h < 2; h++) {
                pop[h] = _mm256_add_epi64(pop[h], _mm256_sad_epu8(d[h].eights, zero));
                d[h].eights = zero;
            }
            left = FLUSH;
        }
    }
    for (int h = 0; h < 2; h++) { /* u8 lanes: 8 * (1 + 2 + 4 + 7) <= 255 */
        __m256i rest = count(d[h].fours);
        rest = _mm256_add_epi8(_mm256_add_epi8(rest, rest), count(d[h].twos));
        rest = _mm256_add_epi8(_mm256_add_epi8(rest, rest), count(d[h].ones));
        for (size_t i = k; i < words; i++)
            rest = _mm256_add_epi8(rest, count(differ(x + i, w + i * 8 + 4 * h)));
        pop[h] = _mm256_add_epi64(pop[h], _mm256_sad_epu8(d[h].eights, zero));
        pop[h] = _mm256_add_epi64(_mm256_slli_epi64(pop[h], 3), _mm256_sad_epu8(rest, zero));
    }
    /* low halves of 4 + 4 u64 as 8 u32 */
    __m256i even = _mm256_castps_si256(
        _mm256_shuffle_ps(_mm256_castsi256_ps(pop[0]), _mm256_castsi256_ps(pop[1]), 0x88));
    _mm256_storeu_si256((__m256i *)(void *)sums, _mm256_permute4x64_epi64(even, 0xd8));
}

/* Words [k, k + n) of pixel p, one after the other. */
static const uint64_t *gather(uint64_t *to, const bc_bgemm_call *call, size_t p, size_t k,
                              size_t n) {
    const size_t taps = call->taps, cw = call->cw, skip = call->skip;
    const uint64_t *const *a = call->a + p * taps;
    if (taps == 1)
        return a[0] + skip + k;
    for (size_t i = 0; i < n;) {
        const size_t from = (k + i) % cw, run = bc_min(cw - from, n - i);
        memcpy(to + i, a[(k + i) / cw] + skip + from, run * sizeof *to);
        i += run;
    }
    return to;
}

static void emit(const bc_bgemm_call *call, size_t p, size_t q, size_t panels,
                 uint32_t sums[GROUP][8]) {
    if (call->pop) {
        memcpy(call->pop + p * call->ld + q * 8, sums, panels * sizeof *sums);
        return;
    }
    const int32_t *limit = call->limit[p] + q * 8;
    uint8_t *out = call->out + p * call->out_stride + q;
    for (size_t i = 0; i < panels; i++, limit += 8) {
        __m256i above =
            _mm256_cmpgt_epi32(_mm256_loadu_si256((const __m256i *)(const void *)sums[i]),
                               _mm256_loadu_si256((const __m256i *)(const void *)limit));
        out[i] = (uint8_t)_mm256_movemask_ps(_mm256_castsi256_ps(above));
    }
}

void bc_bgemm_few__avx2(const bc_bgemm_call *call) {
    const size_t k_words = call->taps * call->cw;
    uint64_t words[WORDS];
    uint32_t sums[GROUP][8], part[8];
    for (size_t q = 0, n; q < call->panels; q += n) {
        n = bc_min(GROUP, call->panels - q);
        for (size_t p = 0; p < call->m; p++) {
            for (size_t k = 0; k < k_words; k += WORDS) {
                const size_t some = bc_min(WORDS, k_words - k);
                const uint64_t *x = gather(words, call, p, k, some);
                for (size_t i = 0; i < n; i++) {
                    const uint64_t *w = call->w + ((q + i) * k_words + k) * 8;
                    panel_pop(k ? part : sums[i], x, w, some);
                    for (size_t f = 0; f < 8 && k; f++)
                        sums[i][f] += part[f];
                }
            }
            emit(call, p, q, n, sums);
        }
    }
}

BC_TARGET_END
