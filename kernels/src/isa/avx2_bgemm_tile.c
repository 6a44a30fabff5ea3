/* avx2_bgemm_tile.c: the inner loop of binary products of many pixels: a shuffle as table look-up.
 *
 * Let v be 4 activation bits of one pixel, v' those of its neighbour, and u the same 4 bits of one
 * filter. Then popcount(v ^ u) + 16 popcount(v' ^ u) is entry u of a 16-byte table that depends on
 * v and v' alone, and vpshufb looks up 32 filters at once: 256 multiply-accumulates of two pixels.
 * Three steps of 4 bits give x = a + 16 b with a, b <= 12:
 *
 *   x       = 3 vpshufb, 2 vpaddb
 *   all    += x           modulo 256
 *   second += x / 16      vpsrlw, vpand, vpaddb
 *
 * so that second is the sum of the second pixel, and all - 16 second that of the first: 9
 * instructions for 3 * 256 multiply-accumulates, where xor, two ands, shift, two vpshufb and two
 * adds do 256 in 8, and a table for one pixel alone 128 in 2.
 *
 * Tile: 2 pixels x 128 filters: 8 accumulators, 3 tables, 2 temporaries, a mask; weights are
 * operands in memory. Bottleneck on Zen 3: the four vector pipes, two of which shuffle and shift.
 */
#include "avx2_bgemm_pairs.h"

#include <immintrin.h>

BC_TARGET_BEGIN("avx2")

/* u8 lanes: a lane adds <= 4 per step; 3 words * 16 steps * 4 = 192 <= 255 */
enum { FLUSH_WORDS = 3 };

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

/* Steps [step, step + n), n <= 3: all[v] += a + 16 b, second[v] += b. */
static BC_INLINE void group(const int nv, const int n, const int step, const uint8_t *w,
                            const uint8_t *chosen, __m256i all[NV], __m256i second[NV]) {
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i t[3];
    BC_UNROLL
    for (int i = 0; i < n; i++)
        t[i] =
            _mm256_broadcastsi128_si256(*(const __m128i *)(const void *)tables[chosen[step + i]]);
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

/* sums[v] (+)= products of a pair of pixels over some words. */
static BC_INLINE void tile(const int nv, const uint8_t *w, const uint8_t *chosen, size_t words,
                           bc_pair_sums *sums, bool first) {
    const __m256i nibble = _mm256_set1_epi8(15);
    for (size_t k = 0; k < words; first = false) {
        const size_t end = bc_min(words, k + FLUSH_WORDS);
        __m256i all[NV], second[NV];
        BC_UNROLL
        for (int v = 0; v < nv; v++)
            all[v] = second[v] = _mm256_setzero_si256();
        if (k + FLUSH_WORDS == end) {
            BC_UNROLL
            for (int step = 0; step < FLUSH_WORDS * STEPS; step += 3)
                group(nv, 3, step, w, chosen, all, second);
            w += FLUSH_WORDS * STEPS * (size_t)nv * NR, chosen += FLUSH_WORDS * STEPS, k = end;
        }
        for (; k < end; k++, w += STEPS * (size_t)nv * NR, chosen += STEPS) {
            BC_UNROLL
            for (int step = 0; step < 12; step += 3)
                group(nv, 3, step, w, chosen, all, second);
            group(nv, 2, 12, w, chosen, all, second);
            group(nv, 2, 14, w, chosen, all, second);
        }
        BC_UNROLL
        for (int v = 0; v < nv; v++) {
            __m256i times16 = _mm256_andnot_si256(nibble, _mm256_slli_epi16(second[v], 4));
            widen(sums[v][0], _mm256_sub_epi8(all[v], times16), first);
            widen(sums[v][1], second[v], first);
        }
    }
}

#define TILE(nv)                                                                                   \
    static void tile##nv(const uint8_t *w, const uint8_t *chosen, size_t words,                    \
                         bc_pair_sums *sums, bool first) {                                         \
        tile(nv, w, chosen, words, sums, first);                                                   \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)

typedef void (*tile_fn)(const uint8_t *, const uint8_t *, size_t, bc_pair_sums *, bool);
static const tile_fn tiles[NV] = {tile1, tile2, tile3, tile4};

void bc_pairs_tile__avx2(size_t nv, const uint8_t *w, const uint8_t *chosen, size_t words,
                         bc_pair_sums *sums, bool first) {
    tiles[nv - 1](w, chosen, words, sums, first);
}

BC_TARGET_END
