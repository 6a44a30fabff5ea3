/* neon_bgemm.c: binary products by the byte popcount of NEON, with and without DOTPROD.
 *
 * A vector holds one word of 2 filters, a panel is 4 vectors; a pixel's word is doubled and used
 * against all: eor, cnt, add for 128 multiply-accumulates. Nothing found does with fewer: looking
 * sums up in tables (tbl) takes 2 instructions for 64, adding bits of several words before counting
 * them takes 3 instructions for every cnt and add that it saves.
 *
 *   - neon:    add in u8 lanes, which are widened and summed every FLUSH_WORDS words
 *   - neondot: udot with ones sums four counts into a u32 lane at the price of the add, so
 *     nothing is widened in between and less remains to be added at the end: it shows where K is
 *     short
 *
 * Tile: 3 pixels x 2 panels = 24 accumulators, 3 words of pixels, 1 of weights; doubling a word
 * (ld1r) costs a vector instruction on most cores, and two panels share it. Rows of 56, 28, 14 and
 * 7 pixels become tiles of 3 and 2, which are equally good. Bottleneck: vector pipes, 2 on
 * Cortex-A76 and Neoverse N1: 85 multiply-accumulates a cycle. */
#include "neon.h"

#include <string.h>

enum {
    MR = 3, /* pixels in the best tile */
    NR = BC_PANEL_BINARY,
    ACCS = 6,        /* panels times pixels of a tile, most */
    FLUSH_WORDS = 31 /* u8 lanes gain <= 8 per word: 31 * 8 = 248 <= 255 */
};

/* Where sums go: rows of int32 (limit NULL), or bits. Both start at the tile's first pixel and
 * panel. */
typedef struct sink {
    int32_t *pop;
    size_t ld;
    const int32_t *const *limit;
    size_t first; /* column of the tile in the rows of limit */
    uint8_t *out;
    size_t out_stride;
} sink;

/* Counts of 16 bytes to an accumulator: of u32 lanes with DOTPROD, else of u8 lanes; those in
 * assembler too, as GCC would keep each accumulator in two registers, one per type. */
static BC_INLINE uint32x4_t add(const bool dot, uint32x4_t acc, uint8x16_t n, uint8x16_t ones) {
    if (dot)
        return bc_add_bytes(acc, n, ones);
    __asm__("add %0.16b, %0.16b, %1.16b" : "+w"(acc) : "w"(n));
    return acc;
}

/* One panel's counts, in 4 vectors of filters 0 1 | 2 3 | 4 5 | 6 7, added to the sums of filters
 * 0..3 | 4..7. */
static BC_INLINE void collect(const bool dot, uint32x4_t sum[2], const uint32x4_t acc[4]) {
    if (dot) {
        sum[0] = vpaddq_u32(acc[0], acc[1]);
        sum[1] = vpaddq_u32(acc[2], acc[3]);
        return;
    }
    uint16x8_t pairs[4];
    BC_UNROLL
    for (int j = 0; j < 4; j++)
        pairs[j] = vpaddlq_u8(vreinterpretq_u8_u32(acc[j]));
    const uint16x8_t all =
        vpaddq_u16(vpaddq_u16(pairs[0], pairs[1]), vpaddq_u16(pairs[2], pairs[3]));
    sum[0] = vaddw_u16(sum[0], vget_low_u16(all));
    sum[1] = vaddw_high_u16(sum[1], all);
}

/* The accumulators of a tile without DOTPROD go to the sums and start anew. Through memory and out
 * of line: inlined, it costs the loop around it registers. */
__attribute__((noinline)) static void flush(int count, uint32x4_t (*sum)[2],
                                            const uint32x4_t (*acc)[4]) {
    for (int i = 0; i < count; i++)
        collect(false, sum[i], acc[i]);
}

/* Bit f = sum of filter f > limit[f]. */
static BC_INLINE uint8_t above(const uint32x4_t sum[2], const int32_t *limit) {
    static const uint8_t bits[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    const uint32x4_t low = vcgtq_s32(vreinterpretq_s32_u32(sum[0]), vld1q_s32(limit));
    const uint32x4_t high = vcgtq_s32(vreinterpretq_s32_u32(sum[1]), vld1q_s32(limit + 4));
    const uint16x8_t all = vuzp1q_u16(vreinterpretq_u16_u32(low), vreinterpretq_u16_u32(high));
    return vaddv_u8(vand_u8(vmovn_u16(all), vld1_u8(bits)));
}

static BC_INLINE void tile(const int mr, const int nr, const bool dot, const bool bits, size_t taps,
                           size_t cw, const uint64_t *const *a, size_t skip, const uint64_t *w,
                           const sink *to) {
    const size_t step = taps * cw * NR;
    const uint8x16_t ones = vdupq_n_u8(1);
    uint32x4_t acc[ACCS][4], sum[ACCS][2];
    BC_UNROLL
    for (int i = 0; i < mr * nr; i++) {
        acc[i][0] = acc[i][1] = acc[i][2] = acc[i][3] = vdupq_n_u32(0);
        sum[i][0] = sum[i][1] = vdupq_n_u32(0);
    }
    size_t left = FLUSH_WORDS;
    for (size_t t = 0; t < taps; t++) {
        const uint64_t *x[MR];
        BC_UNROLL
        for (int r = 0; r < mr; r++)
            x[r] = a[(size_t)r * taps + t] + skip;
        for (size_t i = 0; i < cw; i++, w += NR) {
            uint64x2_t word[MR];
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                word[r] = vld1q_dup_u64(x[r] + i);
            BC_UNROLL
            for (int q = 0; q < nr; q++) {
                BC_UNROLL
                for (int j = 0; j < 4; j++) {
                    BC_IN_ORDER;
                    const uint64x2_t v = vld1q_u64(w + (size_t)q * step + 2 * j);
                    BC_UNROLL
                    for (int r = 0; r < mr; r++) {
                        const uint8x16_t n = vcntq_u8(vreinterpretq_u8_u64(veorq_u64(word[r], v)));
                        acc[r * nr + q][j] = add(dot, acc[r * nr + q][j], n, ones);
                    }
                }
            }
            if (!dot && --left == 0) {
                uint32x4_t full[ACCS][4];
                left = FLUSH_WORDS;
                BC_UNROLL
                for (int j = 0; j < mr * nr; j++) {
                    memcpy(full[j], acc[j], sizeof full[j]);
                    acc[j][0] = acc[j][1] = acc[j][2] = acc[j][3] = vdupq_n_u32(0);
                }
                flush(mr * nr, sum, (const uint32x4_t(*)[4])full);
            }
        }
    }
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        BC_UNROLL
        for (int q = 0; q < nr; q++) {
            uint32x4_t *s = sum[r * nr + q];
            collect(dot, s, acc[r * nr + q]);
            if (bits) {
                to->out[(size_t)r * to->out_stride + (size_t)q] =
                    above(s, to->limit[r] + to->first + (size_t)q * NR);
            } else {
                int32_t *pop = to->pop + (size_t)r * to->ld + (size_t)q * NR;
                vst1q_s32(pop, vreinterpretq_s32_u32(s[0]));
                vst1q_s32(pop + 4, vreinterpretq_s32_u32(s[1]));
            }
        }
    }
}

typedef void (*tile_fn)(size_t, size_t, const uint64_t *const *, size_t, const uint64_t *,
                        const sink *);
typedef struct tile_row {
    size_t panels; /* of `wide` */
    tile_fn wide, one;
} tile_row;

/* cw 1 has no inner loop: its cost shows at 64 channels. */
#define TILE(name, dot, bits, mr, nr)                                                              \
    static void name##mr##x##nr(size_t taps, size_t cw, const uint64_t *const *a, size_t skip,     \
                                const uint64_t *w, const sink *to) {                               \
        if (cw == 1)                                                                               \
            tile(mr, nr, dot, bits, taps, 1, a, skip, w, to);                                      \
        else                                                                                       \
            tile(mr, nr, dot, bits, taps, cw, a, skip, w, to);                                     \
    }
#define TILES(name, dot, bits)                                                                     \
    TILE(name, dot, bits, 1, 4)                                                                    \
    TILE(name, dot, bits, 1, 1)                                                                    \
    TILE(name, dot, bits, 2, 2)                                                                    \
    TILE(name, dot, bits, 2, 1)                                                                    \
    TILE(name, dot, bits, 3, 2)                                                                    \
    TILE(name, dot, bits, 3, 1)                                                                    \
    static const tile_row name##_tiles[MR] = {                                                     \
        {4, name##1x4, name##1x1}, {2, name##2x2, name##2x1}, {2, name##3x2, name##3x1}};

TILES(pop, false, false)
TILES(tau, false, true)

BC_TARGET_BEGIN(BC_TARGET_DOT)
TILES(dot_pop, true, false)
TILES(dot_tau, true, true)
BC_TARGET_END

/* Panels outside, pixels inside: the weights of a tile stay in L1 for all pixels, and pixels are
 * few bytes. */
static void run(const tile_row *tiles, size_t m, size_t panels, size_t taps, size_t cw,
                const uint64_t *const *a, size_t skip, const uint64_t *w, const sink *all) {
    const size_t cuts = (m + MR - 1) / MR; /* tiles of nearly equal height: 4 pixels are 2 + 2 */
    const size_t most = m == 1 ? tiles[0].panels : 2;
    for (size_t q = 0, n; q < panels; q += n) {
        n = panels - q < most ? 1 : most;
        for (size_t i = 0; i < cuts; i++) {
            const size_t p = m * i / cuts;
            const tile_row *row = &tiles[m * (i + 1) / cuts - p - 1];
            sink to = *all;
            if (all->limit) {
                to.limit += p;
                to.first = q * NR;
                to.out += p * to.out_stride + q;
            } else {
                to.pop += p * to.ld + q * NR;
            }
            (n > 1 ? row->wide : row->one)(taps, cw, a + p * taps, skip, w + q * taps * cw * NR,
                                           &to);
        }
    }
}

#define EXPORT(isa, pop_tiles, tau_tiles)                                                          \
    void bc_bgemm__##isa(size_t m, size_t panels, size_t taps, size_t cw,                          \
                         const uint64_t *const *a, size_t skip, const uint64_t *w, int32_t *pop,   \
                         size_t ld) {                                                              \
        const sink to = {.pop = pop, .ld = ld};                                                    \
        run(pop_tiles, m, panels, taps, cw, a, skip, w, &to);                                      \
    }                                                                                              \
    void bc_bgemm_tau__##isa(size_t m, size_t panels, size_t taps, size_t cw,                      \
                             const uint64_t *const *a, size_t skip, const uint64_t *w,             \
                             const int32_t *const *limit, uint8_t *out, size_t out_stride) {       \
        const sink to = {.limit = limit, .out = out, .out_stride = out_stride};                    \
        run(tau_tiles, m, panels, taps, cw, a, skip, w, &to);                                      \
    }
EXPORT(neon, pop_tiles, tau_tiles)
EXPORT(neondot, dot_pop_tiles, dot_tau_tiles)
