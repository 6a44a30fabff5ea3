/* avx2_bgemm_sums.c: binary products by table look-up, added up in 16 bits. */
#include "avx2_bgemm_pairs.h"

BC_TARGET_BEGIN("avx2")
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-ter", "no-tree-reassoc") /* as avx2_bgemm_tile.h asks for */
#endif
#include "avx2_bgemm_tile.h"

/* g(v, u) of avx2_bgemm_tile.h. */
#define BITS(x) (((x) & 1) + ((x) >> 1 & 1) + ((x) >> 2 & 1) + ((x) >> 3 & 1))
#define HALF(v, u) ((BITS((v) ^ (u)) - BITS(v) % 2 + BITS(u) % 2) / 2)
#define ENTRY(v, u) (HALF((v) % 16, u) + 16 * HALF((v) / 16, u))
#define ENTRY4(v, u) ENTRY(v, u), ENTRY(v, (u) + 1), ENTRY(v, (u) + 2), ENTRY(v, (u) + 3)
#define TABLE(v) {ENTRY4(v, 0), ENTRY4(v, 4), ENTRY4(v, 8), ENTRY4(v, 12)}
#define TABLE4(v) TABLE(v), TABLE((v) + 1), TABLE((v) + 2), TABLE((v) + 3)
#define TABLE16(v) TABLE4(v), TABLE4((v) + 4), TABLE4((v) + 8), TABLE4((v) + 12)
#define TABLE64(v) TABLE16(v), TABLE16((v) + 16), TABLE16((v) + 32), TABLE16((v) + 48)
_Alignas(64) const uint8_t bc_pair_table__avx2[256][16] = {TABLE64(0), TABLE64(64), TABLE64(128),
                                                           TABLE64(192)};

/* Bytes of both pixels to their sums. */
static BC_INLINE void add(bc_pair_sums sums, __m256i all, __m256i second, bool first) {
    __m256i bytes[2];
    tile_separate(bytes, all, second);
    BC_UNROLL
    for (int pixel = 0; pixel < 2; pixel++) {
        __m256i *to = (__m256i *)(void *)sums[pixel], both = bytes[pixel],
                odd = _mm256_srli_epi16(both, 8);
        if (!first) {
            both = _mm256_add_epi16(both, to[0]);
            odd = _mm256_add_epi16(odd, to[1]);
        }
        _mm256_store_si256(to, both);
        _mm256_store_si256(to + 1, odd);
    }
}

static BC_INLINE size_t tiles(const int np, const int nv, const bc_pair_rectangle *r, size_t pair,
                              bc_pair_sums *sums) {
    const __m256i zero = _mm256_setzero_si256();
    for (; pair + (size_t)np <= r->pairs; pair += (size_t)np) {
        __m256i all[NV], second[NV];
        tile_place place;
        tile_begin(&place, np, nv, r, pair);
        tile_slot(np, nv, &place, r->words, &zero, all, second);
        bc_pair_sums *to = sums + pair * (size_t)nv;
        if (r->k == 0) {
            BC_UNROLL
            for (int c = 0; c < np * nv; c++)
                add(to[c], all[c], second[c], true);
        } else {
            BC_UNROLL
            for (int c = 0; c < np * nv; c++)
                add(to[c], all[c], second[c], false);
        }
    }
    return pair;
}

void bc_pairs_add__avx2(const bc_pair_rectangle *part, bc_pair_sums *sums) {
    BC_TILES(tiles, part, sums);
}

BC_TARGET_END
