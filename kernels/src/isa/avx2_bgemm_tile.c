/* avx2_bgemm_tile.c: the inner loop of binary products of many pixels: a shuffle as table look-up.
 *
 * Let v be 4 activation bits of one pixel, v' those of its neighbour, and u the same 4 bits of one
 * filter. Then popcount(v ^ u) + 16 popcount(v' ^ u) is entry u of a 16-byte table that depends on
 * v and v' alone, and vpshufb looks up 32 filters at once: 256 multiply-accumulates of two pixels.
 * Three steps of 4 bits give x = a + 16 b with a, b <= 12:
 *
 *   x       = 3 vpshufb, 2 vpaddb
 *   all    += x           vpaddb
 *   second += x >> 4      vpsrlw, vpaddb
 *
 * 8 instructions for 3 * 256 multiply-accumulates, where xor, two ands, shift, two vpshufb and two
 * adds do 256 in 8, and a table for one pixel alone 128 in 2. The shift is one of 16 bits, so the
 * low 4 bits of every odd byte come into the even one below it. That does no harm: with A and B the
 * sums of a and b, modulo 256,
 *
 *   odd byte:   all = A1 + 16 B1, second = B1
 *   even byte:  all = A0 + 16 B0, second = B0 + 16 A1 = B0 + 16 all1
 *
 * as 16 * 16 B1 is 0; so B0 = second0 - 16 all1, and A = all - 16 second in both.
 *
 * Tile: 2 pixels x 128 filters, 4 pixels x 64, or 8 x 32, all the same code: NV accumulators all,
 * second and x, a table, and weights: operands in memory where one pair of pixels uses them. Zen 4
 * loads two vectors a cycle, which 4 x 64 would miss if every pair loaded its weights anew.
 * Bottleneck there: the four vector pipes, two of which shuffle; additions take turns on these too.
 */
#include "avx2_bgemm_pairs.h"

#include <immintrin.h>

BC_TARGET_BEGIN("avx2")
#if defined(__GNUC__) && !defined(__clang__)
/* Or loads and shuffles move to where their results are added, and more of them are alive than
 * there are registers. */
#pragma GCC optimize("no-tree-ter", "no-tree-reassoc")
#endif

enum {
    ROUND = 12,      /* steps of a round: nothing is left of three words */
    FIRST_SLOT = 60, /* steps: u8 lanes gain <= 4 each, 240 <= 255 */
};

/* tables[v + 16 v']: popcount(v ^ u) + 16 popcount(v' ^ u), u = 0..15. */
#define BITS(x) (((x) & 1) + ((x) >> 1 & 1) + ((x) >> 2 & 1) + ((x) >> 3 & 1))
#define ENTRY(v, u) (BITS((v) % 16 ^ (u)) + 16 * BITS((v) / 16 ^ (u)))
#define ENTRY4(v, u) ENTRY(v, u), ENTRY(v, (u) + 1), ENTRY(v, (u) + 2), ENTRY(v, (u) + 3)
#define TABLE(v) {ENTRY4(v, 0), ENTRY4(v, 4), ENTRY4(v, 8), ENTRY4(v, 12)}
#define TABLE4(v) TABLE(v), TABLE((v) + 1), TABLE((v) + 2), TABLE((v) + 3)
#define TABLE16(v) TABLE4(v), TABLE4((v) + 4), TABLE4((v) + 8), TABLE4((v) + 12)
#define TABLE64(v) TABLE16(v), TABLE16((v) + 16), TABLE16((v) + 32), TABLE16((v) + 48)
static _Alignas(64) const uint8_t tables[256][16] = {TABLE64(0), TABLE64(64), TABLE64(128),
                                                     TABLE64(192)};

static BC_INLINE __m256i table(size_t at) {
    const char *from = (const char *)tables + at;
    return _mm256_broadcastsi128_si256(*(const __m128i *)(const void *)from);
}

/* Steps [step, step + n), n <= 3, of all vectors side by side. */
static BC_INLINE void group(const int np, const int nv, const int n, const uint8_t *const w[NV],
                            const uint16_t *const at[NV], const int step, __m256i all[NV],
                            __m256i second[NV]) {
    __m256i x[NV], wv[NV];
    BC_UNROLL
    for (int i = 0; i < n; i++) {
        BC_UNROLL
        for (int v = 0; v < nv; v++) {
            wv[v] = *(const __m256i *)(const void *)(w[v] + (step + i) * NR);
            if (np > 1)
                BC_KEEP_X(wv[v]); /* loaded once for all pairs */
        }
        BC_UNROLL
        for (int pair = 0; pair < np; pair++) {
            const __m256i t = table(at[pair][step + i]);
            __m256i *xp = x + pair * nv;
            BC_UNROLL
            for (int v = 0; v < nv; v++) {
                const __m256i y = _mm256_shuffle_epi8(t, wv[v]);
                xp[v] = i ? _mm256_add_epi8(xp[v], y) : y;
            }
        }
    }
    BC_UNROLL
    for (int c = 0; c < np * nv; c++)
        all[c] = _mm256_add_epi8(all[c], x[c]);
    BC_UNROLL
    for (int c = 0; c < np * nv; c++)
        x[c] = _mm256_srli_epi16(x[c], 4);
    BC_UNROLL
    for (int c = 0; c < np * nv; c++)
        second[c] = _mm256_add_epi8(second[c], x[c]);
}

/* The next `steps` of everything. What is kept would else become a register for every address. */
static BC_INLINE void advance(const int np, const int nv, const int steps, const uint8_t *w[NV],
                              const uint16_t *at[NV]) {
    BC_UNROLL
    for (int v = 0; v < nv; v++) {
        w[v] += steps * NR;
        BC_KEEP_R(w[v]);
    }
    BC_UNROLL
    for (int pair = 0; pair < np; pair++) {
        at[pair] += steps;
        BC_KEEP_R(at[pair]);
    }
}

static BC_INLINE void separate(const int n, const size_t slot, const __m256i all[NV],
                               const __m256i second[NV], bc_pair_bytes *bytes) {
    const __m256i high = _mm256_set1_epi8((char)0xf0), even = _mm256_set1_epi16(0xf0);
    BC_UNROLL
    for (int c = 0; c < n; c++) {
        const __m256i b = _mm256_and_si256(_mm256_slli_epi16(second[c], 4), high),
                      a = _mm256_and_si256(_mm256_srli_epi16(all[c], 4), even);
        __m256i *to = (__m256i *)(void *)bytes[c][slot];
        _mm256_store_si256(to, _mm256_sub_epi8(all[c], b));
        _mm256_store_si256(to + 1, _mm256_sub_epi8(second[c], a));
    }
}

/* `begin` is a multiple of 16: it stays what it is in both sums. */
static BC_INLINE void tile(const int np, const int nv, const uint8_t *w, size_t stride,
                           const uint16_t *chosen, size_t apart, size_t words, uint8_t begin,
                           bc_pair_bytes *bytes) {
    const __m256i begins = _mm256_set1_epi8((char)begin), *beginning = &begins;
    const uint8_t *from[NV];
    const uint16_t *at[NV];
    size_t left = words * STEPS;
    BC_UNROLL
    for (int pair = 0; pair < np; pair++)
        at[pair] = chosen + (size_t)pair * apart;
    BC_UNROLL
    for (int v = 0; v < nv; v++)
        from[v] = w + (size_t)v * stride;
    for (size_t slot = 0; slot < SLOTS; slot++) {
        __m256i all[NV], second[NV];
        size_t n = bc_min(left, FIRST_SLOT - ROUND * slot);
        left -= n;
        BC_KEEP_R(beginning); /* not in a register during the rounds */
        BC_UNROLL
        for (int c = 0; c < np * nv; c++)
            all[c] = second[c] = *beginning;
        for (; n >= ROUND; n -= ROUND) {
            BC_UNROLL
            for (int step = 0; step < ROUND; step += 3)
                group(np, nv, 3, from, at, step, all, second);
            advance(np, nv, ROUND, from, at);
        }
        for (; n; n -= 4) { /* 4 or 8 steps, as K is whole words */
            group(np, nv, 2, from, at, 0, all, second);
            group(np, nv, 2, from, at, 2, all, second);
            advance(np, nv, 4, from, at);
        }
        separate(np * nv, slot, all, second, bytes);
    }
}

#define TILE_OF(np, nv)                                                                            \
    static void tile##np##x##nv(const uint8_t *w, size_t stride, const uint16_t *chosen,           \
                                size_t apart, size_t words, uint8_t begin, bc_pair_bytes *bytes) { \
        tile(np, nv, w, stride, chosen, apart, words, begin, bytes);                               \
    }
TILE_OF(1, 1)
TILE_OF(1, 2)
TILE_OF(1, 3)
TILE_OF(1, 4)
TILE_OF(2, 2)
TILE_OF(4, 1)

typedef void (*tile_fn)(const uint8_t *, size_t, const uint16_t *, size_t, size_t, uint8_t,
                        bc_pair_bytes *);
static const tile_fn tiles[2][NV] = {{tile1x1, tile1x2, tile1x3, tile1x4}, /* of one pair */
                                     {tile4x1, tile2x2, tile1x3, tile1x4}};

size_t bc_pairs_tile__avx2(size_t np, size_t nv, const uint8_t *w, size_t stride,
                           const uint16_t *chosen, size_t apart, size_t words, uint8_t begin,
                           bc_pair_bytes *bytes) {
    const size_t n = NV / nv <= np ? NV / nv : 1;
    tiles[n > 1][nv - 1](w, stride, chosen, apart, words, begin, bytes);
    return n;
}

BC_TARGET_END
