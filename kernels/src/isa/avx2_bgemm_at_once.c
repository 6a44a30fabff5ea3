/* avx2_bgemm_at_once.c: binary products of at most 576 bits, compared with limits as bytes, so that
 * they never become 16 bits.
 *
 * The sum of a pixel is r0 + z: r0 <= 192 of the first 6 words, z <= 96 + 72 of the other three and
 * of half its odd groups. With T, the least sum that is above the limit, in parts c0 + c1,
 *
 *     r0 + z >= T  <=>  r0 - c0 >= c1 - z
 *
 * and saturated bytes do for it: c0 = min(T, 128). For T >= 128, r0 - c0 is in -128..64 and c1 - z
 * saturates only where the answer is clear; below, c1 is 0, so c1 - z <= 0, and r0 - c0 >= -127. */
#include "avx2_bgemm_pairs.h"

#include <string.h>

BC_TARGET_BEGIN("avx2")
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-ter", "no-tree-reassoc") /* as avx2_bgemm_tile.h asks for */
#endif
#include "avx2_bgemm_limits.h"
#include "avx2_bgemm_tile.h"

enum { BEGIN = 128, NEVER = 192 + 96 + 72 + 1 };

/* T of 16 filters. */
static BC_INLINE __m256i switch_points(const int32_t *limit, const uint8_t *odd, size_t first,
                                       size_t n, int parity) {
    const __m256i t =
        _mm256_adds_epi16(limit_halves(limit, odd, first, n, parity), _mm256_set1_epi16(1));
    return _mm256_min_epi16(_mm256_max_epi16(t, _mm256_setzero_si256()), _mm256_set1_epi16(NEVER));
}

static void make(uint8_t to[NV][2][NR], const bc_pair_rectangle *r, const int32_t *row,
                 int parity) {
    const __m256i most = _mm256_set1_epi16(128), begin = _mm256_set1_epi8((char)BEGIN);
    for (size_t q = 0, v = 0; q < r->panels; q += 4, v++) {
        const size_t n = bc_min(4, r->panels - q);
        const int32_t *limit = row + (r->q + q) * 8;
        const uint8_t *odd = r->odd + v * r->stride;
        const __m256i x = switch_points(limit, odd, 0, n, parity),
                      y = switch_points(limit, odd, 1, n, parity), x0 = _mm256_min_epi16(x, most),
                      y0 = _mm256_min_epi16(y, most);
        _mm256_store_si256((__m256i *)(void *)to[v][0],
                           _mm256_xor_si256(_mm256_packus_epi16(x0, y0), begin));
        _mm256_store_si256(
            (__m256i *)(void *)to[v][1],
            _mm256_xor_si256(_mm256_packus_epi16(_mm256_sub_epi16(x, x0), _mm256_sub_epi16(y, y0)),
                             begin));
    }
}

static BC_INLINE __m256i load(const void *from) {
    return *(const __m256i *)from;
}

/* Sums of a pixel that began with BEGIN. */
static BC_INLINE unsigned bits_of(__m256i r0, __m256i r1, __m256i half, uint8_t limit[2][NR]) {
    const __m256i z = _mm256_add_epi8(r1, half), u = _mm256_subs_epi8(r0, load(limit[0])),
                  q = _mm256_subs_epi8(load(limit[1]), z);
    return ~(unsigned)_mm256_movemask_epi8(_mm256_cmpgt_epi8(q, u));
}

/* The bits of n panels. */
static BC_INLINE void store(uint8_t *out, uint32_t bits, size_t n) {
    if (n == 4) {
        memcpy(out, &bits, 4);
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(bits >> 8 * i);
}

typedef struct context {
    bc_pair_limits *limits;
    size_t last; /* panels of the last vector */
} context;

static BC_INLINE size_t tiles(const int np, const int nv, const bc_pair_rectangle *r, size_t pair,
                              const context *to) {
    const bc_bgemm_call *call = r->tables->call;
    const __m256i begin = _mm256_set1_epi8((char)BEGIN), *beginning = &begin;
    const size_t words = bc_min(r->words, SLOT);
    for (; pair + (size_t)np <= r->pairs; pair += (size_t)np) {
        __m256i all[NV], second[NV], first[NV][2];
        tile_place place;
        tile_begin(&place, np, nv, r, pair);
        BC_KEEP_R(beginning); /* not in a register during the rounds */
        tile_slot(np, nv, &place, words, beginning, all, second);
        BC_UNROLL
        for (int c = 0; c < np * nv; c++)
            tile_separate(first[c], all[c], second[c]);
        tile_slot(np, nv, &place, r->words - words, beginning, all, second);
        BC_UNROLL
        for (int c = 0; c < np * nv; c += nv) {
            __m256i rest[NV][2];
            BC_UNROLL
            for (int v = 0; v < nv; v++)
                tile_separate(rest[v], all[c + v], second[c + v]);
            const size_t i = pair + (size_t)(c / nv), at = r->pair + i;
            const int32_t *const *row = call->limit + r->tables->p + 2 * at;
            uint8_t *out = call->out + (r->tables->p + 2 * at) * call->out_stride + r->q;
            const uint8_t *halves = r->tables->half[at];
            const uint32_t odd = r->tables->odd[at];
            BC_UNROLL
            for (size_t j = 0; j < 2; j++, out += call->out_stride) {
                if (2 * i + j == r->m)
                    break;
                const __m256i half = _mm256_set1_epi8((char)halves[j]);
                uint8_t (*limit)[2][NR] = limit_of(to->limits, r, row[j], odd >> 16 * j, make);
                BC_UNROLL
                for (int v = 0; v < nv; v++)
                    store(out + 4 * v, bits_of(first[c + v][j], rest[v][j], half, limit[v]),
                          v + 1 < nv ? 4 : to->last);
            }
        }
    }
    return pair;
}

void bc_pairs_at_once__avx2(const bc_pair_rectangle *r, bc_pair_limits *limits) {
    const context to = {limits, (r->panels - 1) % 4 + 1};
    BC_TILES(tiles, r, &to);
}

BC_TARGET_END
