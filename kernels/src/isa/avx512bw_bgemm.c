/* avx512bw_bgemm.c: binary products on AVX-512 without its popcount (Skylake-X, Cascade Lake).
 *
 * For many pixels: a shuffle as table look-up, two pixels at once. Let v be 4 activation bits of a
 * pixel, v' those of its neighbour, u the same 4 bits of a filter. Then popcount(v ^ u) +
 * 16 popcount(v' ^ u) is entry u of a table of 16 bytes that v and v' choose, and vpshufb looks it
 * up for 64 filters: 512 multiply-accumulates. Three such bytes add up to a + 16 b with a, b <= 12;
 * their sum modulo 256 and the sum of all b together tell the sum of all a:
 *
 *   3 vpshufb, 3 vpaddb, vpsrlw, vpandd, vpaddb for 1536 multiply-accumulates
 *
 * That is 9 instructions for the two vector ports, one of which has all shuffles: 341
 * multiply-accumulates a cycle, where counting the bits of xor by vpshufb, 8 instructions for 512,
 * ends at 128. The counting way remains for few pixels, few panels and very large K. Tile: 2 pixels
 * x 128 filters. */
#include "avx512.h"

#include <string.h>

BC_TARGET_BEGIN("avx512f,avx512bw,avx512vl")

enum {
    NV = 2,           /* vectors in a tile */
    PANELS = 8,       /* panels in a vector: 64 filters */
    STEPS = 16,       /* of 4 bits in a word: low halves of its 8 bytes, then high ones */
    STRIDE = NV * 64, /* bytes from one step of the weights to the next */
    BLOCK_WORDS = 9,  /* words of K per expansion of weights: 18 KiB, so that they stay in L1 */
    BLOCK_PAIRS = 32, /* pairs of pixels per expansion, most */
    OFFSET_WORDS = 25 * 72, /* words of pairs whose offsets are held: 49 pixels of 3x3x512 */
    MOST_WORDS = 1023,      /* of K; sums are u16 */
    FLUSH_WORDS = 3,        /* u8 lanes gain <= 4 per step: 3 * 16 * 4 = 192 <= 255 */
    FEW = 3,                /* pixels for which expansion does not pay */
    COUNT_WORDS = 31        /* the counting way: u8 lanes gain <= 8 per word, 31 * 8 = 248 <= 255 */
};

/* tables[v + 16 v'][u] */
#define BITS(x) (((x) & 1) + ((x) >> 1 & 1) + ((x) >> 2 & 1) + ((x) >> 3 & 1))
#define ENTRY(v, u) (BITS((v) % 16 ^ (u)) + 16 * BITS((v) / 16 ^ (u)))
#define ENTRY4(v, u) ENTRY(v, u), ENTRY(v, (u) + 1), ENTRY(v, (u) + 2), ENTRY(v, (u) + 3)
#define TABLE(v) {ENTRY4(v, 0), ENTRY4(v, 4), ENTRY4(v, 8), ENTRY4(v, 12)}
#define TABLE4(v) TABLE(v), TABLE((v) + 1), TABLE((v) + 2), TABLE((v) + 3)
#define TABLE16(v) TABLE4(v), TABLE4((v) + 4), TABLE4((v) + 8), TABLE4((v) + 12)
#define TABLE64(v) TABLE16(v), TABLE16((v) + 16), TABLE16((v) + 32), TABLE16((v) + 48)
static _Alignas(64) const uint8_t tables[256][16] = {TABLE64(0), TABLE64(64), TABLE64(128),
                                                     TABLE64(192)};

typedef struct call {
    size_t m, panels, taps, cw;
    const uint64_t *const *a;
    size_t skip;
    const uint64_t *w;
    int32_t *pop; /* sums go there, or (NULL) to bits */
    size_t ld;
    const int32_t *const *limit;
    uint8_t *out;
    size_t out_stride;
} call;

/* Of both pixels: filters 2l, 2l + 1 of panels 0 to 3 in lane l of the lower half, then of panels 4
 * to 7. */
typedef uint16_t pair_sums[2][64];

/* On the stack: threads.c gives workers enough of it, bincompress.h tells callers how much. */
typedef struct block {
    _Alignas(64) uint8_t weights[BLOCK_WORDS * STEPS * STRIDE]; /* [word][step][vector][filter] */
    _Alignas(64) uint16_t offsets[OFFSET_WORDS * STEPS];        /* [pair][word][step], of tables */
    _Alignas(64) pair_sums sums[BLOCK_PAIRS * NV];              /* [pair][vector] */
} block;
_Static_assert(sizeof(block) <= 128 << 10, "the stack has room for it and all that calls");

static BC_INLINE __m512i load(const void *from) {
    return _mm512_loadu_si512(from);
}

/* Offsets of the tables of one word: 16 (v + 16 v'). A last odd pixel is paired with itself. */
static void expand_pixels(uint16_t *to, const call *c, size_t p0, size_t m) {
    const __m128i high = _mm_set1_epi8((char)0xf0), units = _mm_set1_epi16(0x1001); /* 1, 16 */
    for (size_t p = 0; p < m; p += 2) {
        const uint64_t *const *x = c->a + (p0 + p) * c->taps, *const *y =
                                                                  p + 1 < m ? x + c->taps : x;
        for (size_t t = 0; t < c->taps; t++)
            for (size_t i = c->skip; i < c->skip + c->cw; i++, to += STEPS) {
                const __m128i bytes =
                    _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(const void *)(x[t] + i)),
                                      _mm_loadl_epi64((const __m128i *)(const void *)(y[t] + i)));
                const __m128i low = _mm_and_si128(_mm_slli_epi16(bytes, 4), high);
                __m128i *out = (__m128i *)(void *)to;
                _mm_store_si128(out, _mm_maddubs_epi16(low, units));
                _mm_store_si128(out + 1, _mm_maddubs_epi16(_mm_and_si128(bytes, high), units));
            }
    }
}

/* Transposes words of 8 panels to [word][step], 64 filters each; panels are `step` words apart, and
 * beyond the last of n it is repeated. */
static void expand_weights(uint8_t *to, const uint64_t *w, size_t step, size_t n, size_t words) {
    const __m512i nibble = _mm512_set1_epi8(15);
    const __m512i zip =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    for (size_t k = 0; k < words; k++, to += STEPS * STRIDE) {
        __m512i two[8], four[8], eight[8];
        BC_UNROLL
        for (size_t q = 0; q < 8; q++) /* lane l: filters 2l, 2l + 1, their bytes alternating */
            two[q] = _mm512_shuffle_epi8(load(w + bc_min(q, n - 1) * step + k * 8), zip);
        BC_UNROLL
        for (int i = 0; i < 4; i++) { /* panels 2i, 2i + 1: bytes 0-3, 4-7 */
            four[i] = _mm512_unpacklo_epi16(two[2 * i], two[2 * i + 1]);
            four[i + 4] = _mm512_unpackhi_epi16(two[2 * i], two[2 * i + 1]);
        }
        BC_UNROLL
        for (int i = 0; i < 4; i++) { /* panels 0-3 in eight[0..3], 4-7: bytes 0-1, 2-3, 4-5, 6-7 */
            const int from = i / 2 * 4;
            eight[i] = i % 2 ? _mm512_unpackhi_epi32(four[from], four[from + 1])
                             : _mm512_unpacklo_epi32(four[from], four[from + 1]);
            eight[i + 4] = i % 2 ? _mm512_unpackhi_epi32(four[from + 2], four[from + 3])
                                 : _mm512_unpacklo_epi32(four[from + 2], four[from + 3]);
        }
        BC_UNROLL
        for (int j = 0; j < 8; j++) {
            const __m512i byte = j % 2 ? _mm512_unpackhi_epi64(eight[j / 2], eight[j / 2 + 4])
                                       : _mm512_unpacklo_epi64(eight[j / 2], eight[j / 2 + 4]);
            _mm512_storeu_si512(to + j * STRIDE, _mm512_and_si512(byte, nibble));
            _mm512_storeu_si512(to + (j + 8) * STRIDE,
                                _mm512_and_si512(_mm512_srli_epi16(byte, 4), nibble));
        }
    }
}

/* Steps [step, step + n), n <= 3: all[v] += a + 16 b, second[v] += b. */
static BC_INLINE void group(const int nv, const int n, const int step, const uint8_t *w,
                            const uint16_t *offsets, __m512i all[NV], __m512i second[NV]) {
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512i t[3];
    BC_UNROLL
    for (int i = 0; i < n; i++)
        t[i] = _mm512_broadcast_i32x4(
            _mm_load_si128((const __m128i *)(const void *)(&tables[0][0] + offsets[step + i])));
    BC_UNROLL
    for (int v = 0; v < nv; v++) {
        const uint8_t *wv = w + step * STRIDE + v * 64;
        __m512i x = _mm512_shuffle_epi8(t[0], load(wv));
        BC_UNROLL
        for (int i = 1; i < n; i++)
            x = _mm512_add_epi8(x, _mm512_shuffle_epi8(t[i], load(wv + i * STRIDE)));
        all[v] = _mm512_add_epi8(all[v], x);
        BC_KEEP_V(all[v]);
        x = _mm512_and_si512(_mm512_srli_epi16(x, 4), nibble);
        second[v] = _mm512_add_epi8(second[v], x);
        BC_KEEP_V(second[v]);
    }
}

/* 64 u8 to the sums of a pixel. */
static BC_INLINE void widen(uint16_t sums[64], __m512i bytes, bool first) {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i low = _mm512_unpacklo_epi8(bytes, zero), high = _mm512_unpackhi_epi8(bytes, zero);
    _mm512_storeu_si512(sums, first ? low : _mm512_add_epi16(low, load(sums)));
    _mm512_storeu_si512(sums + 32, first ? high : _mm512_add_epi16(high, load(sums + 32)));
}

/* sums[v] (+)= products of a pair of pixels over some words. */
static BC_INLINE void tile(const int nv, const uint8_t *w, const uint16_t *offsets, size_t words,
                           pair_sums *sums, bool first) {
    for (size_t k = 0; k < words; first = false) {
        const size_t end = bc_min(words, k + FLUSH_WORDS);
        __m512i all[NV], second[NV];
        BC_UNROLL
        for (int v = 0; v < nv; v++)
            all[v] = second[v] = _mm512_setzero_si512();
        if (k + FLUSH_WORDS == end) {
            BC_UNROLL
            for (int step = 0; step < FLUSH_WORDS * STEPS; step += 3)
                group(nv, 3, step, w, offsets, all, second);
            w += FLUSH_WORDS * STEPS * STRIDE, offsets += FLUSH_WORDS * STEPS, k = end;
        }
        for (; k < end; k++, w += STEPS * STRIDE, offsets += STEPS) {
            BC_UNROLL
            for (int step = 0; step < 12; step += 3)
                group(nv, 3, step, w, offsets, all, second);
            group(nv, 2, 12, w, offsets, all, second);
            group(nv, 2, 14, w, offsets, all, second);
        }
        BC_UNROLL
        for (int v = 0; v < nv; v++) {
            /* 16 b modulo 256: what crosses from byte to byte is masked */
            const __m512i times16 =
                _mm512_and_si512(_mm512_slli_epi16(second[v], 4), _mm512_set1_epi8((char)0xf0));
            widen(sums[v][0], _mm512_sub_epi8(all[v], times16), first);
            widen(sums[v][1], second[v], first);
        }
    }
}

static void tile1(const uint8_t *w, const uint16_t *offsets, size_t words, pair_sums *sums,
                  bool first) {
    tile(1, w, offsets, words, sums, first);
}

static void tile2(const uint8_t *w, const uint16_t *offsets, size_t words, pair_sums *sums,
                  bool first) {
    tile(2, w, offsets, words, sums, first);
}

/* The sums of 4 panels, in their order, to rows of int32 or to bits. */
static BC_INLINE void emit(const call *c, size_t p, size_t q, const uint16_t *sums) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i all = _mm512_permutexvar_epi32(order, load(sums));
    const __m512i halves[2] = {_mm512_cvtepu16_epi32(_mm512_castsi512_si256(all)),
                               _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(all, 1))};
    for (size_t h = 0; h < 2 && q < c->panels; h++, q += 2) {
        const bool both = q + 1 < c->panels;
        const __mmask16 there = both ? 0xffff : 0xff;
        if (c->pop) {
            _mm512_mask_storeu_epi32(c->pop + p * c->ld + q * 8, there, halves[h]);
            continue;
        }
        const __m512i limit = _mm512_maskz_loadu_epi32(there, c->limit[p] + q * 8);
        const uint16_t bits = (uint16_t)_mm512_cmpgt_epi32_mask(halves[h], limit);
        memcpy(c->out + p * c->out_stride + q, &bits, both ? 2 : 1);
    }
}

/* Pixels [p0, p0 + m), whose offsets are there, and nv vectors of the panels from q on. */
static void multiply(block *b, const call *c, size_t p0, size_t m, size_t q, size_t nv) {
    const size_t k_words = c->taps * c->cw, cuts = (k_words + BLOCK_WORDS - 1) / BLOCK_WORDS;
    for (size_t i = 0; i < cuts; i++) {
        const size_t k = k_words * i / cuts, words = k_words * (i + 1) / cuts - k;
        for (size_t v = 0; v < nv; v++) {
            const size_t first = q + v * PANELS;
            expand_weights(b->weights + v * 64, c->w + (first * k_words + k) * 8, k_words * 8,
                           c->panels - first, words);
        }
        for (size_t pair = 0; 2 * pair < m; pair++)
            (nv == 2 ? tile2 : tile1)(b->weights, b->offsets + (pair * k_words + k) * STEPS, words,
                                      b->sums + pair * nv, i == 0);
    }
    for (size_t p = 0; p < m; p++)
        for (size_t v = 0; v < nv; v++) {
            const uint16_t *sums = b->sums[p / 2 * nv + v][p % 2];
            const size_t first = q + v * PANELS;
            emit(c, p0 + p, first, sums);
            emit(c, p0 + p, first + 4, sums + 32);
        }
}

/* The first vectors of 8 panels; the last of them may be missing. */
static void multiply_pairs(const call *c, size_t vectors) {
    block b;
    const size_t k_words = c->taps * c->cw, pairs = (c->m + 1) / 2;
    const size_t most = bc_min(BLOCK_PAIRS, OFFSET_WORDS / k_words),
                 cuts = (pairs + most - 1) / most;
    for (size_t i = 0; i < cuts; i++) { /* blocks of nearly equal sizes */
        const size_t p = 2 * (pairs * i / cuts),
                     count = bc_min(c->m, 2 * (pairs * (i + 1) / cuts)) - p;
        expand_pixels(b.offsets, c, p, count);
        for (size_t v = 0; v < vectors; v += NV)
            multiply(&b, c, p, count, v * PANELS, bc_min(NV, vectors - v));
    }
}

/* Counts the bits of one pixel against one panel; a vector is one word of its 8 filters. */
static __m512i count(const call *c, const uint64_t *const *a, const uint64_t *w) {
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

/* Panels from q on, all pixels. */
static void multiply_few(const call *c, size_t q) {
    for (; q < c->panels; q++)
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

/* A vector of 3 panels or more is cheaper than counting them one by one. */
static void run(const call *c) {
    const size_t k_words = c->taps * c->cw;
    const size_t vectors = c->m > FEW && k_words <= MOST_WORDS ? (c->panels + 5) / PANELS : 0;
    if (vectors)
        multiply_pairs(c, vectors);
    multiply_few(c, vectors * PANELS);
}

void bc_bgemm__avx512bw(size_t m, size_t panels, size_t taps, size_t cw, const uint64_t *const *a,
                        size_t skip, const uint64_t *w, int32_t *pop, size_t ld) {
    run(&(call){m, panels, taps, cw, a, skip, w, .pop = pop, .ld = ld});
}

void bc_bgemm_tau__avx512bw(size_t m, size_t panels, size_t taps, size_t cw,
                            const uint64_t *const *a, size_t skip, const uint64_t *w,
                            const int32_t *const *limit, uint8_t *out, size_t out_stride) {
    run(&(call){m, panels, taps, cw, a, skip, w, .limit = limit, .out = out,
                .out_stride = out_stride});
}

BC_TARGET_END
