/* avx2_bgemm_limits.c: binary products of at most 576 bits, compared with limits as bytes, so that
 * they never become 16 bits.
 *
 * A sum r0 + r1 + r2 of a tile is in three slots of at most 144, 192 and 240. With T = limit + 1 in
 * parts c0 + c1 + c2,
 *
 *     r0 + r1 + r2 > limit  <=>  (r0 - c0) + (r1 - c1) >= c2 - r2
 *
 * and bytes do for it: where a difference or the sum leaves -128..127 and saturates, the others
 * cannot change the answer any more, if the parts are chosen so that (c = c0 + c1)
 *
 *   - r0 - c0 and r1 - c1 fit: 17 <= c0 <= 128, 65 <= c1 <= 128
 *   - a sum that is too small, r0 + r1 <= c - 128, means no for every r2 <= 240: c <= 128 or
 *     c <= T - 113
 *   - one that is too large, r0 + r1 >= c + 127, means yes: c >= T - 127, unless 336 - c < 127
 *   - c2 - r2 is above 127 only where r0 + r1 - c is not 127: c2 <= 127, or 336 - c < 127
 *
 * Where T is too small or too large for all of that, a saturated difference alone decides. Slots of
 * 192 each would not do: at T = 192 no parts are right. All r0, r1, r2 and T were tried. */
#include "avx2_bgemm_pairs.h"

#include <immintrin.h>
#include <string.h>

BC_TARGET_BEGIN("avx2")

static BC_INLINE __m256i load(const void *from) {
    return _mm256_loadu_si256((const __m256i *)from);
}

static BC_INLINE __m256i most(__m256i x, short limit) {
    return _mm256_min_epi16(x, _mm256_set1_epi16(limit));
}

/* x > by ? x - by : 0 */
static BC_INLINE __m256i above(__m256i x, short by) {
    return _mm256_subs_epu16(x, _mm256_set1_epi16(by));
}

/* T of 16 filters to c0, c1, c2. */
static BC_INLINE void divide(__m256i c[SLOTS], __m256i t) {
    c[2] = _mm256_add_epi16(most(above(t, 128), 120), most(above(t, 376), 135));
    const __m256i both = _mm256_sub_epi16(t, c[2]);
    c[1] = _mm256_max_epi16(_mm256_srli_epi16(both, 1), _mm256_set1_epi16(65));
    c[1] = _mm256_min_epi16(c[1], both);
    c[0] = _mm256_sub_epi16(both, c[1]);
}

/* T of 16 filters, in the order of a pack of bytes; 0 and 577 stand for all that is beyond. */
static BC_INLINE __m256i switch_points(const int32_t *limit, size_t a, size_t b) {
    const __m256i la = load(limit + a * 8), lb = load(limit + b * 8);
    __m256i t = _mm256_packs_epi32(_mm256_permute2x128_si256(la, lb, 0x20),
                                   _mm256_permute2x128_si256(la, lb, 0x31));
    t = _mm256_adds_epi16(t, _mm256_set1_epi16(1));
    t = _mm256_max_epi16(t, _mm256_setzero_si256());
    return most(t, PART_WORDS * 64 + 1);
}

/* Limits of n panels. */
static void make(uint8_t slot[SLOTS][NR], const int32_t *limit, size_t n) {
    const size_t last = n - 1;
    __m256i x[SLOTS], y[SLOTS];
    divide(x, switch_points(limit, 0, bc_min(2, last)));
    divide(y, switch_points(limit, bc_min(1, last), bc_min(3, last)));
    for (size_t i = 0; i < SLOTS; i++)
        _mm256_store_si256((__m256i *)(void *)slot[i],
                           _mm256_xor_si256(_mm256_packus_epi16(x[i], y[i]),
                                            _mm256_set1_epi8((char)BC_PAIR_BEGIN)));
}

static BC_INLINE unsigned bits_of(const bc_pair_bytes bytes, size_t pixel,
                                  const uint8_t slot[SLOTS][NR]) {
    /* the slots of 60, 48 and 36 steps are r2, r1, r0 */
    const __m256i u = _mm256_adds_epi8(_mm256_subs_epi8(load(bytes[2][pixel]), load(slot[0])),
                                       _mm256_subs_epi8(load(bytes[1][pixel]), load(slot[1]))),
                  q = _mm256_subs_epi8(load(slot[2]), load(bytes[0][pixel]));
    return ~(unsigned)_mm256_movemask_epi8(_mm256_cmpgt_epi8(q, u));
}

/* A pixel; many share a row of limits. */
static BC_INLINE void emit(uint8_t *out, const int32_t *row, const bc_pair_bytes *bytes,
                           size_t pixel, bc_pair_limits *limits, const size_t nv,
                           const size_t last) {
    if (row != limits->row) {
        for (size_t v = 0; v < nv; v++)
            make(limits->slot[v], row + 4 * v * 8, v + 1 < nv ? 4 : last);
        limits->row = row;
    }
    BC_UNROLL
    for (size_t v = 0; v < nv; v++) {
        const unsigned bits = bits_of(bytes[v], pixel, limits->slot[v]);
        memcpy(out + 4 * v, &bits, v + 1 < nv ? 4 : last);
    }
}

static BC_INLINE void rows(const bc_pair_rectangle *to, const bc_pair_bytes *bytes,
                           bc_pair_limits *limits, const size_t nv, const size_t last) {
    const size_t stride = to->call->out_stride, first = to->q * 8;
    const int32_t *const *row = to->call->limit + to->p;
    uint8_t *out = to->call->out + to->p * stride + to->q;
    size_t m = to->m;
    for (; m >= 2; m -= 2, row += 2, bytes += nv, out += 2 * stride) {
        emit(out, row[0] + first, bytes, 0, limits, nv, last);
        emit(out + stride, row[1] + first, bytes, 1, limits, nv, last);
    }
    if (m)
        emit(out, row[0] + first, bytes, 0, limits, nv, last);
}

void bc_pairs_bytes_to_bits__avx2(const bc_pair_rectangle *to, const bc_pair_bytes *bytes,
                                  bc_pair_limits *limits) {
    const size_t nv = (to->panels + 3) / 4, last = (to->panels - 1) % 4 + 1;
    if (nv == NV && last == 4) /* instances of their own for usual sizes */
        rows(to, bytes, limits, NV, 4);
    else if (nv == 2 && last == 4)
        rows(to, bytes, limits, 2, 4);
    else
        rows(to, bytes, limits, nv, last);
}

BC_TARGET_END
