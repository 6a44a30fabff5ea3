/* avx2_bgemm.c: binary products without a vector popcount instruction.
 *
 * For many pixels: a shuffle as table look-up. Let v be 4 activation bits and u the same 4 bits of
 * one filter; then popcount(v ^ u) is entry u of a 16-byte table that depends on v alone, and
 * vpshufb looks up 32 filters at once:
 *
 *   - once per pixel: every activation byte becomes the offset of its 32-byte table in `tables`
 *   - once per block of pixels: 64 bits of 16 filters become 8 vectors, the low and high nibbles of
 *     one byte of all of them
 *   - then: load the table, vpshufb, vpaddb: 2 instructions for 128 multiply-accumulates, where
 *     xor, two ands, shift, two vpshufb and two adds do 256 in 8
 *
 * Tile 6 pixels x 32 filters: 12 accumulators, 2 weight vectors, table, temporary = 16 registers.
 * Bottleneck on Zen 3: the two shuffle ports. For one or two pixels the expansion does not pay:
 * see multiply_few. */
#include "avx2.h"

#include <immintrin.h>
#include <string.h>

BC_TARGET_BEGIN("avx2")

enum {
    MR = 6,                 /* pixels in a tile */
    NR = 32,                /* filters in a tile: 4 panels */
    BLOCK_PIXELS = 64,      /* most pixels per expansion of the weights */
    BLOCK_WORDS = 28,       /* words of K per expansion; u16 sums stay below 28 * 64 */
    OFFSET_WORDS = 64 * 56, /* words of pixels whose table offsets are held: 49 pixels of 3x3x512 */
    /* u8 lanes: a lane adds one nibble, <= 4, per byte of K; 7 words * 8 bytes * 4 = 224 <= 255 */
    FLUSH_WORDS = 7,
    FEW = 2 /* up to here multiply_few is faster */
};

/* tables[b]: 16 bytes popcount(b % 16 ^ u), then 16 bytes popcount(b / 16 ^ u), u = 0..15. */
#define BITS(x) (((x) & 1) + ((x) >> 1 & 1) + ((x) >> 2 & 1) + ((x) >> 3 & 1))
#define NIBBLE4(v, u)                                                                              \
    BITS((v) ^ (u)), BITS((v) ^ ((u) + 1)), BITS((v) ^ ((u) + 2)), BITS((v) ^ ((u) + 3))
#define NIBBLE(v) NIBBLE4(v, 0), NIBBLE4(v, 4), NIBBLE4(v, 8), NIBBLE4(v, 12)
#define BYTE(b) {NIBBLE((b) % 16), NIBBLE((b) / 16)}
#define BYTE4(b) BYTE(b), BYTE((b) + 1), BYTE((b) + 2), BYTE((b) + 3)
#define BYTE16(b) BYTE4(b), BYTE4((b) + 4), BYTE4((b) + 8), BYTE4((b) + 12)
#define BYTE64(b) BYTE16(b), BYTE16((b) + 16), BYTE16((b) + 32), BYTE16((b) + 48)
static _Alignas(64) const uint8_t tables[256][32] = {BYTE64(0), BYTE64(64), BYTE64(128),
                                                     BYTE64(192)};

typedef struct block {
    /* [byte of K][pair of panels][low | high nibbles of 16 filters] */
    _Alignas(64) uint8_t weights[BLOCK_WORDS * 8 * NR * 2];
    /* [pixel][byte of K], of the byte's table */
    _Alignas(64) uint16_t offsets[OFFSET_WORDS * 8];
    _Alignas(64) uint16_t part[MR][NR]; /* sums of one tile so far */
    _Alignas(64) int32_t sums[BLOCK_PIXELS][NR];
} block;

static BC_INLINE void expand_word(uint16_t *to, const uint64_t *from) {
    __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)from);
    _mm_store_si128((__m128i *)(void *)to, _mm_slli_epi16(_mm_cvtepu8_epi16(bytes), 5));
}

/* Table offsets of each pixel's K bytes. With few filters this shows, so the loops are as short as
 * they get. */
static void expand_pixels(uint16_t *to, size_t m, size_t taps, size_t cw,
                          const uint64_t *const *a) {
    if (cw == 1) {
        BC_UNROLL_4
        for (size_t k = 0; k < m * taps; k++)
            expand_word(to + k * 8, a[k]);
        return;
    }
    for (size_t t = 0; t < m * taps; t++, to += cw * 8) {
        size_t i = 0;
        for (; i + 2 <= cw; i += 2) {
            __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(a[t] + i));
            __m256i offsets = _mm256_slli_epi16(_mm256_cvtepu8_epi16(bytes), 5);
            _mm256_storeu_si256((__m256i *)(void *)(to + i * 8), offsets);
        }
        if (i < cw)
            expand_word(to + i * 8, a[t] + i);
    }
}

/* Transposes 16 filters (panels `p` and `q`, 8 words each per word of K) to one vector per byte of
 * K. */
static void expand_weights(uint8_t *to, const uint64_t *p, const uint64_t *q, size_t words) {
    const __m128i *lo = (const __m128i *)(const void *)p, *hi = (const __m128i *)(const void *)q;
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i zip = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    for (size_t k = 0; k < words; k++, lo += 4, hi += 4, to += 8 * NR * 2) {
        __m256i two[4], four[4], bytes[4];
        for (int i = 0; i < 4; i++) /* filters 2i, 2i+1 | 2i+8, 2i+9, their bytes alternating */
            two[i] = _mm256_shuffle_epi8(
                _mm256_inserti128_si256(_mm256_castsi128_si256(lo[i]), hi[i], 1), zip);
        for (int i = 0; i < 4; i += 2) {
            four[i] = _mm256_unpacklo_epi16(two[i], two[i + 1]);
            four[i + 1] = _mm256_unpackhi_epi16(two[i], two[i + 1]);
        }
        bytes[0] = _mm256_unpacklo_epi32(four[0], four[2]);
        bytes[1] = _mm256_unpackhi_epi32(four[0], four[2]);
        bytes[2] = _mm256_unpacklo_epi32(four[1], four[3]);
        bytes[3] = _mm256_unpackhi_epi32(four[1], four[3]);
        for (int i = 0; i < 4; i++) { /* byte 2i of 16 filters | byte 2i + 1 of 16 filters */
            __m256i pair = _mm256_permute4x64_epi64(bytes[i], 0xd8);
            __m256i low = _mm256_and_si256(pair, nibble),
                    high = _mm256_and_si256(_mm256_srli_epi16(pair, 4), nibble);
            __m256i *out = (__m256i *)(void *)(to + i * 2 * NR * 2);
            _mm256_store_si256(out, _mm256_permute2x128_si256(low, high, 0x20));
            _mm256_store_si256(out + NR / 16, _mm256_permute2x128_si256(low, high, 0x31));
        }
    }
}

/* sums[r][0 .. 16 * pairs) (+)= products of `mr` pixels from pixel p on over words [k0, k0 + words)
 * of k_words. */
static BC_INLINE void tile(block *b, size_t p, const int mr, const int pairs, size_t k_words,
                           size_t k0, size_t words) {
    const uint8_t *w = b->weights;
    const uint16_t *offsets = b->offsets + (p * k_words + k0) * 8;
    for (size_t k = 0; k < words;) {
        const size_t first = k, end = bc_min(words, k + FLUSH_WORDS);
        __m256i acc[MR][2];
        BC_UNROLL
        for (int r = 0; r < mr; r++)
            acc[r][0] = acc[r][1] = _mm256_setzero_si256();
        for (; k < end; k++, w += 8 * NR * 2) {
            BC_UNROLL
            for (int j = 0; j < 8; j++) {
                const __m256i *wj = (const __m256i *)(const void *)(w + j * NR * 2);
                __m256i w0 = _mm256_load_si256(wj), w1 = _mm256_load_si256(wj + (pairs - 1));
                BC_UNROLL
                for (int r = 0; r < mr; r++) {
                    const void *table =
                        &tables[0][0] + offsets[((size_t)r * k_words + k) * 8 + (size_t)j];
                    __m256i x = _mm256_load_si256((const __m256i *)table);
                    acc[r][0] = _mm256_add_epi8(acc[r][0], _mm256_shuffle_epi8(x, w0));
                    BC_KEEP_X(acc[r][0]);
                    if (pairs == 2) {
                        acc[r][1] = _mm256_add_epi8(acc[r][1], _mm256_shuffle_epi8(x, w1));
                        BC_KEEP_X(acc[r][1]);
                    }
                }
            }
        }
        BC_UNROLL
        for (int r = 0; r < mr; r++)
            for (int h = 0; h < pairs; h++) {
                __m256i low = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(acc[r][h]));
                __m256i sum = _mm256_add_epi16(
                    low, _mm256_cvtepu8_epi16(_mm256_extracti128_si256(acc[r][h], 1)));
                __m256i *at = (__m256i *)(void *)&b->part[r][16 * h];
                _mm256_store_si256(at, first ? _mm256_add_epi16(sum, *at) : sum);
            }
    }
    for (int r = 0; r < mr; r++)
        for (int f = 0; f < 16 * pairs; f += 8) {
            __m256i sum = _mm256_cvtepu16_epi32(
                _mm_load_si128((const __m128i *)(const void *)&b->part[r][f]));
            __m256i *at = (__m256i *)(void *)&b->sums[p + (size_t)r][f];
            _mm256_store_si256(at, k0 ? _mm256_add_epi32(sum, *at) : sum);
        }
}

#define TILE(mr)                                                                                   \
    static void tile##mr##x32(block *b, size_t p, size_t k_words, size_t k0, size_t words) {       \
        tile(b, p, mr, 2, k_words, k0, words);                                                     \
    }                                                                                              \
    static void tile##mr##x16(block *b, size_t p, size_t k_words, size_t k0, size_t words) {       \
        tile(b, p, mr, 1, k_words, k0, words);                                                     \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)

typedef void (*tile_fn)(block *, size_t, size_t, size_t, size_t);
static const tile_fn tiles[2][MR] = {{tile1x16, tile2x16, tile3x16, tile4x16, tile5x16, tile6x16},
                                     {tile1x32, tile2x32, tile3x32, tile4x32, tile5x32, tile6x32}};

/* b->sums of m pixels, whose offsets are expanded, and `panels` <= 4 panels. */
static void multiply(block *b, size_t m, size_t panels, size_t k_words, const uint64_t *w) {
    const size_t pairs = (panels + 1) / 2, cuts = (m + MR - 1) / MR;
    for (size_t k0 = 0; k0 < k_words; k0 += BLOCK_WORDS) {
        const size_t words = bc_min(BLOCK_WORDS, k_words - k0);
        for (size_t i = 0; i < pairs; i++) { /* an odd last panel is paired with itself */
            const uint64_t *p = w + (2 * i * k_words + k0) * 8,
                           *q = p + (2 * i + 1 < panels ? k_words * 8 : 0);
            expand_weights(b->weights + i * NR, p, q, words);
        }
        for (size_t i = 0; i < cuts;
             i++) { /* tiles of nearly equal height: 7 pixels are 4 + 3, not 6 + 1 */
            const size_t p = m * i / cuts, mr = m * (i + 1) / cuts - p;
            tiles[pairs - 1][mr - 1](b, p, k_words, k0, words);
        }
    }
}

/* pop of one pixel and one panel by nibble look-up of the xor; the panel's weights are read once,
 * from memory. */
static BC_INLINE void panel_pop(__m256i pop[2], size_t taps, size_t cw, const uint64_t *const *a,
                                const uint64_t *w) {
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i bits =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    __m256i acc[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()}, sum[2] = {acc[0], acc[1]};
    unsigned left = 31; /* u8 lanes gain <= 8 per word: 31 * 8 = 248 <= 255 */
    for (size_t t = 0; t < taps; t++)
        for (size_t i = 0; i < cw; i++, w += 8) {
            const __m256i x = _mm256_set1_epi64x((long long)a[t][i]);
            BC_UNROLL
            for (int h = 0; h < 2; h++) {
                __m256i y = _mm256_xor_si256(
                    x, _mm256_load_si256((const __m256i *)(const void *)(w + 4 * h)));
                __m256i low = _mm256_shuffle_epi8(bits, _mm256_and_si256(y, nibble));
                __m256i high =
                    _mm256_shuffle_epi8(bits, _mm256_and_si256(_mm256_srli_epi16(y, 4), nibble));
                acc[h] = _mm256_add_epi8(acc[h], _mm256_add_epi8(low, high));
            }
            if (--left == 0) {
                left = 31;
                for (int h = 0; h < 2; h++) {
                    sum[h] =
                        _mm256_add_epi64(sum[h], _mm256_sad_epu8(acc[h], _mm256_setzero_si256()));
                    acc[h] = _mm256_setzero_si256();
                }
            }
        }
    for (int h = 0; h < 2; h++)
        pop[h] = _mm256_add_epi64(sum[h], _mm256_sad_epu8(acc[h], _mm256_setzero_si256()));
}

/* The same without expansion, for few pixels and for very large K. */
static void multiply_few(block *b, size_t m, size_t panels, size_t taps, size_t cw,
                         const uint64_t *const *a, const uint64_t *w) {
    for (size_t q = 0; q < panels; q++)
        for (size_t p = 0; p < m; p++) {
            __m256i pop[2];
            panel_pop(pop, taps, cw, a + p * taps, w + q * taps * cw * 8);
            /* low halves of 4 + 4 u64 as 8 int32 */
            __m256i even = _mm256_castps_si256(
                _mm256_shuffle_ps(_mm256_castsi256_ps(pop[0]), _mm256_castsi256_ps(pop[1]), 0x88));
            _mm256_store_si256((__m256i *)(void *)&b->sums[p][q * 8],
                               _mm256_permute4x64_epi64(even, 0xd8));
        }
}

/* Where the sums go: rows of int32, or (pop NULL) bits. */
typedef struct sink {
    int32_t *pop;
    size_t ld;
    const int32_t *const *limit;
    uint8_t *out;
    size_t out_stride;
} sink;

/* Pixels [p0, p0 + m), panels [q0, q0 + panels) from b->sums to their place. */
static void emit_sums(const block *b, size_t p0, size_t m, size_t q0, size_t panels,
                      const sink *to) {
    for (size_t p = 0; p < m; p++) {
        int32_t *pop = to->pop + (p0 + p) * to->ld + q0 * 8;
        for (size_t f = 0; f < panels * 8; f += 8) {
            __m256i sum = _mm256_load_si256((const __m256i *)(const void *)&b->sums[p][f]);
            _mm256_storeu_si256((__m256i *)(void *)(pop + f), sum);
        }
    }
}

static BC_INLINE __m256i above(const int32_t *sums, const int32_t *limit) {
    return _mm256_cmpgt_epi32(_mm256_load_si256((const __m256i *)(const void *)sums),
                              _mm256_loadu_si256((const __m256i *)(const void *)limit));
}

static void emit_bits(const block *b, size_t p0, size_t m, size_t q0, size_t panels,
                      const sink *to) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7); /* packs work in halves */
    const int32_t *const *limits = to->limit + p0;
    uint8_t *out = to->out + p0 * to->out_stride + q0;
    const size_t stride = to->out_stride;
    for (size_t p = 0; p < m; p++, out += stride) {
        const int32_t *sums = b->sums[p], *limit = limits[p] + q0 * 8;
        if (panels == 4) {
            __m256i low = _mm256_packs_epi32(above(sums, limit), above(sums + 8, limit + 8));
            __m256i high =
                _mm256_packs_epi32(above(sums + 16, limit + 16), above(sums + 24, limit + 24));
            __m256i all = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
            const int bits = _mm256_movemask_epi8(all);
            memcpy(out, &bits, sizeof bits);
            continue;
        }
        for (size_t q = 0; q < panels; q++)
            out[q] = (uint8_t)_mm256_movemask_ps(
                _mm256_castsi256_ps(above(sums + q * 8, limit + q * 8)));
    }
}

static void run(size_t m, size_t panels, size_t taps, size_t cw, const uint64_t *const *a,
                const uint64_t *w, const sink *to) {
    block b;
    const size_t k_words = taps * cw, most = bc_min(BLOCK_PIXELS, OFFSET_WORDS / k_words);
    const bool few = m <= FEW || most < MR;
    const size_t block_pixels = few ? BLOCK_PIXELS : most,
                 cuts = (m + block_pixels - 1) / block_pixels;
    for (size_t i = 0; i < cuts; i++) {
        const size_t p = m * i / cuts, count = m * (i + 1) / cuts - p;
        if (!few)
            expand_pixels(b.offsets, count, taps, cw, a + p * taps);
        for (size_t q = 0; q < panels; q += 4) {
            const size_t group = bc_min(4, panels - q);
            const uint64_t *wq = w + q * k_words * 8;
            if (few)
                multiply_few(&b, count, group, taps, cw, a + p * taps, wq);
            else
                multiply(&b, count, group, k_words, wq);
            (to->pop ? emit_sums : emit_bits)(&b, p, count, q, group, to);
        }
    }
}

void bc_bgemm__avx2(size_t m, size_t panels, size_t taps, size_t cw, const uint64_t *const *a,
                    const uint64_t *w, int32_t *pop, size_t ld) {
    const sink to = {.pop = pop, .ld = ld};
    run(m, panels, taps, cw, a, w, &to);
}

void bc_bgemm_tau__avx2(size_t m, size_t panels, size_t taps, size_t cw, const uint64_t *const *a,
                        const uint64_t *w, const int32_t *const *limit, uint8_t *out,
                        size_t out_stride) {
    const sink to = {.limit = limit, .out = out, .out_stride = out_stride};
    run(m, panels, taps, cw, a, w, &to);
}

BC_TARGET_END
