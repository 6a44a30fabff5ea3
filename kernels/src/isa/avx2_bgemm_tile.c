/* avx2_bgemm_tile.c: the inner loop of binary products of many pixels: a shuffle as table look-up.
 *
 * Let v be 4 activation bits of one pixel, v' those of its neighbour, and u the same 4 bits of one
 * filter. Then popcount(v ^ u) + 16 popcount(v' ^ u) is entry u of a 16-byte table that depends on
 * v and v' alone, and vpshufb looks up 32 filters at once: 256 multiply-accumulates of two pixels.
 * Three steps of 4 bits give x = a + 16 b with a, b <= 12:
 *
 *   x     = 3 vpshufb, 2 vpaddb
 *   all  += x             modulo 256
 *   mean  = of 16 b       vpand, vpavgb
 *
 * The b of 16 such x, 48 steps, are summed as a mean of means: each vpavgb of a binary tree halves
 * the sum of two even numbers, so nothing is rounded, and the root is sum 16 b / 16. So it is the
 * sum of the second pixel, and all - 16 root that of the first: 8 instructions for 3 * 256
 * multiply-accumulates, where xor, two ands, shift, two vpshufb and two adds do 256 in 8, and a
 * table for one pixel alone 128 in 2. What is left of K, less than 48 steps, takes 9: x / 16 is
 * added up by vpsrlw, vpand, vpaddb.
 *
 * Tile: 2 pixels x 128 filters, 4 pixels x 64, or 8 x 32, all the same code: TILE accumulators, as
 * many x and one half of those before them, a table, a mask; weights are operands in memory, and so
 * are the inner nodes of the tree. Bottleneck on Zen 4: the four vector pipes, two of which
 * shuffle; additions take turns on these too.
 */
#include "avx2_bgemm_pairs.h"

#include <immintrin.h>
#include <string.h>

BC_TARGET_BEGIN("avx2")

enum {
    FLUSH_WORDS = 3, /* u8 lanes: a lane adds <= 4 per step; 3 words * 16 steps * 4 = 192 <= 255 */
    TILE = NV,       /* vectors: of filters, times pairs of pixels */
    WIDE = 2         /* that do the same instruction one behind the other, if registers allow */
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

static BC_INLINE __m256i table(size_t number) {
    return _mm256_broadcastsi128_si256(*(const __m128i *)(const void *)tables[number]);
}

/* Three steps of all vectors side by side: x = a + 16 b. A table's number is the lowest byte of
 * numbers[pair]. */
static BC_INLINE void three(const int np, const int nv, const __m256i *w, uint64_t numbers[TILE],
                            __m256i x[TILE]) {
    BC_UNROLL
    for (int i = 0; i < 3; i++, w += nv) {
        BC_UNROLL
        for (int pair = 0; pair < np; pair++) {
            const __m256i t = table(numbers[pair] & 255);
            numbers[pair] >>= 8;
            BC_UNROLL
            for (int v = 0; v < nv; v += WIDE) {
                const int n = nv - v < WIDE ? nv - v : WIDE;
                __m256i y[WIDE], *xv = x + pair * nv + v;
                BC_UNROLL
                for (int j = 0; j < n; j++) {
                    y[j] = _mm256_shuffle_epi8(t, w[v + j]);
                    BC_KEEP_X(y[j]);
                }
                BC_UNROLL
                for (int j = 0; j < n; j++) {
                    xv[j] = i ? _mm256_add_epi8(xv[j], y[j]) : y[j];
                    BC_KEEP_X(xv[j]);
                }
            }
        }
    }
}

/* Steps [6 i, 6 i + 6) of FLUSH_WORDS words: all += a + 16 b; their mean goes into the tree, whose
 * root, after all 8, is second. */
static BC_INLINE void six(const int np, const int nv, const int i, const uint8_t *w,
                          const uint8_t *chosen, size_t apart, __m256i all[TILE],
                          __m256i second[TILE], __m256i tree[3][TILE]) {
    const __m256i high = _mm256_set1_epi8((char)0xf0), *wi = (const __m256i *)(const void *)w;
    uint64_t numbers[TILE];
    __m256i x[TILE], y[TILE];
    BC_UNROLL
    for (int pair = 0; pair < np; pair++) /* of 8, the last two are not used: SLACK */
        memcpy(&numbers[pair], chosen + (size_t)pair * apart + 6 * i, sizeof *numbers);
    three(np, nv, wi + 6 * i * nv, numbers, x);
    BC_UNROLL
    for (int c = 0; c < np * nv; c++) {
        all[c] = _mm256_add_epi8(all[c], x[c]);
        BC_KEEP_X(all[c]);
    }
    BC_UNROLL
    for (int c = 0; c < np * nv; c++) {
        x[c] = _mm256_and_si256(x[c], high);
        BC_KEEP_X(x[c]);
    }
    three(np, nv, wi + (6 * i + 3) * nv, numbers, y);
    BC_UNROLL
    for (int c = 0; c < np * nv; c++) {
        all[c] = _mm256_add_epi8(all[c], y[c]);
        BC_KEEP_X(all[c]);
    }
    BC_UNROLL
    for (int c = 0; c < np * nv; c++) {
        __m256i mean = _mm256_avg_epu8(x[c], _mm256_and_si256(y[c], high));
        const int level = i & 1 ? i & 2 ? i & 4 ? 3 : 2 : 1 : 0;
        BC_UNROLL
        for (int j = 0; j < level; j++)
            mean = _mm256_avg_epu8(mean, tree[j][c]);
        *(level < 3 ? &tree[level][c] : &second[c]) = mean;
    }
}

/* Steps [step, step + n), n <= 3, of one pair: all[v] += a + 16 b, second[v] += b. */
static BC_INLINE void group(const int nv, const int n, const int step, const uint8_t *w,
                            const uint8_t *chosen, __m256i all[NV], __m256i second[NV]) {
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i t[3];
    BC_UNROLL
    for (int i = 0; i < n; i++)
        t[i] = table(chosen[step + i]);
    BC_UNROLL
    for (int v = 0; v < nv; v++) {
        const __m256i *wv = (const __m256i *)(const void *)w + step * nv + v;
        __m256i x = _mm256_shuffle_epi8(t[0], wv[0]);
        BC_UNROLL
        for (int i = 1; i < n; i++) {
            x = _mm256_add_epi8(x, _mm256_shuffle_epi8(t[i], wv[i * nv]));
            BC_KEEP_X(x);
        }
        all[v] = _mm256_add_epi8(all[v], x);
        BC_KEEP_X(all[v]);
        x = _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble);
        second[v] = _mm256_add_epi8(second[v], x);
        BC_KEEP_X(second[v]);
    }
}

/* 32 u8 to the sums of a pixel. */
static BC_INLINE void widen(uint16_t sums[NR], __m256i bytes, bool first) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i *at = (__m256i *)(void *)sums;
    __m256i low = _mm256_unpacklo_epi8(bytes, zero), high = _mm256_unpackhi_epi8(bytes, zero);
    _mm256_store_si256(at, first ? low : _mm256_add_epi16(low, at[0]));
    _mm256_store_si256(at + 1, first ? high : _mm256_add_epi16(high, at[1]));
}

static BC_INLINE void flush(const int n, bc_pair_sums *sums, const __m256i all[TILE],
                            const __m256i second[TILE], bool first) {
    const __m256i nibble = _mm256_set1_epi8(15);
    BC_UNROLL
    for (int c = 0; c < n; c++) {
        __m256i times16 = _mm256_andnot_si256(nibble, _mm256_slli_epi16(second[c], 4));
        widen(sums[c][0], _mm256_sub_epi8(all[c], times16), first);
        widen(sums[c][1], second[c], first);
    }
}

/* sums[pair][v] (+)= products over some words. */
static BC_INLINE void tile(const int np, const int nv, const uint8_t *w, const uint8_t *chosen,
                           size_t apart, size_t words, bc_pair_sums *sums, bool first) {
    const size_t word = STEPS * (size_t)nv * NR;
    __m256i all[TILE], second[TILE], tree[3][TILE];
    for (; words >= FLUSH_WORDS; words -= FLUSH_WORDS, first = false) {
        BC_UNROLL
        for (int c = 0; c < np * nv; c++)
            all[c] = _mm256_setzero_si256();
        BC_UNROLL
        for (int i = 0; i < FLUSH_WORDS * STEPS / 6; i++)
            six(np, nv, i, w, chosen, apart, all, second, tree);
        flush(np * nv, sums, all, second, first);
        w += FLUSH_WORDS * word, chosen += FLUSH_WORDS * STEPS;
    }
    for (int pair = 0; pair < np && words; pair++, chosen += apart, sums += nv) {
        BC_UNROLL
        for (int v = 0; v < nv; v++)
            all[v] = second[v] = _mm256_setzero_si256();
        for (size_t k = 0; k < words; k++) {
            const uint8_t *wk = w + k * word, *at = chosen + k * STEPS;
            BC_UNROLL
            for (int step = 0; step < 12; step += 3)
                group(nv, 3, step, wk, at, all, second);
            group(nv, 2, 12, wk, at, all, second);
            group(nv, 2, 14, wk, at, all, second);
        }
        flush(nv, sums, all, second, first);
    }
}

#define TILE_OF(np, nv)                                                                            \
    static void tile##np##x##nv(const uint8_t *w, const uint8_t *chosen, size_t apart,             \
                                size_t words, bc_pair_sums *sums, bool first) {                    \
        tile(np, nv, w, chosen, apart, words, sums, first);                                        \
    }
TILE_OF(1, 1)
TILE_OF(1, 2)
TILE_OF(1, 3)
TILE_OF(1, 4)
TILE_OF(2, 2)
TILE_OF(4, 1)

typedef void (*tile_fn)(const uint8_t *, const uint8_t *, size_t, size_t, bc_pair_sums *, bool);
static const tile_fn tiles[2][NV] = {{tile1x1, tile1x2, tile1x3, tile1x4}, /* of one pair */
                                     {tile4x1, tile2x2, tile1x3, tile1x4}};

size_t bc_pairs_tile__avx2(size_t np, size_t nv, const uint8_t *w, const uint8_t *chosen,
                           size_t apart, size_t words, bc_pair_sums *sums, bool first) {
    const size_t n = TILE / nv <= np ? TILE / nv : 1;
    tiles[n > 1][nv - 1](w, chosen, apart, words, sums, first);
    return n;
}

BC_TARGET_END
