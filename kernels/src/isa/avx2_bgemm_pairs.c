/* avx2_bgemm_pairs.c: binary products of many pixels: blocks of pairs of pixels and of filters,
 * expanded once, and where their sums go. */
#include "avx2_bgemm_pairs.h"

#include <immintrin.h>
#include <string.h>

BC_TARGET_BEGIN("avx2")

enum {
    BLOCK_PAIRS = 64,       /* most pairs of pixels per expansion of the weights */
    BLOCK_WORDS = 9,        /* words of K per expansion, so that weights stay in L1 */
    CHOSEN_WORDS = 32 * 72, /* words of pairs whose tables are held: 64 pixels of 3x3x512 */
    SLACK = 3 * STEPS,      /* what may be written behind them, and read */
    MOST_WORDS = 511,       /* of K; sums are int16 */
    FEW = 3                 /* pixels for which expansion does not pay */
};

/* On the stack: threads.c gives workers enough of it, bincompress.h tells callers how much. */
typedef struct block {
    _Alignas(64) uint8_t weights[BLOCK_WORDS * STEPS * NV * NR]; /* [word][step][vector][filter] */
    _Alignas(64) uint8_t chosen[CHOSEN_WORDS * STEPS + SLACK];   /* [pair][word][step] */
    _Alignas(64) bc_pair_sums sums[BLOCK_PAIRS * NV];            /* [pair][vector] */
} block;
_Static_assert(sizeof(block) <= 128 << 10, "the stack has room for it and all that calls");

/* Words [k, k + words) of K of some panels, from q on. */
typedef struct part {
    size_t q, panels, k, words;
} part;

/* The part after `p`; no panels after the last. */
static part following(const bc_bgemm_call *call, part p, size_t k_words) {
    p.k += p.words;
    if (p.k == k_words) {
        p.k = 0;
        p.q += p.panels;
        p.panels = bc_min(p.panels, call->panels - p.q);
    }
    p.words = bc_min(BLOCK_WORDS, k_words - p.k);
    return p;
}

/* b->sums of m pixels, whose tables are there, and `panels` <= 4 * NV panels from q on. `spread`:
 * b->weights are still theirs. */
static void multiply(block *b, const bc_bgemm_call *call, size_t m, size_t q, size_t panels,
                     bool spread) {
    const size_t k_words = call->taps * call->cw, nv = (panels + 3) / 4, pairs = (m + 1) / 2;
    part now = {q, panels, 0, bc_min(BLOCK_WORDS, k_words)};
    while (now.q == q) {
        const part next = following(call, now, k_words);
        const uint64_t *w = call->w + (q * k_words + now.k) * 8,
                       *next_w = call->w + (next.q * k_words + next.k) * 8;
        for (size_t v = 0; v < nv && !spread; v++) {
            const uint64_t *p[4];
            for (size_t j = 0; j < 4; j++) /* a missing last panel repeats the one before */
                p[j] = w + bc_min(4 * v + j, panels - 1) * k_words * 8;
            bc_pairs_weights__avx2(b->weights + v * NR, nv * NR, p, now.words);
        }
        for (size_t pair = 0, n; pair < pairs; pair += n) {
            const uint8_t *chosen = b->chosen + (pair * k_words + now.k) * STEPS;
            n = bc_pairs_tile__avx2(pairs - pair, nv, b->weights, chosen, k_words * STEPS,
                                    now.words, b->sums + pair * nv, now.k == 0);
            const size_t end = bc_min(pair + n, next.panels);
            for (size_t j = pair; j < end; j++) /* a line of 64 bytes is a word of a panel */
                for (size_t i = 0; i < next.words; i++)
                    _mm_prefetch((const char *)(next_w + (j * k_words + i) * 8), _MM_HINT_T0);
        }
        now = next;
    }
}

static BC_INLINE __m256i load(const void *from) {
    return _mm256_loadu_si256((const __m256i *)from);
}

/* The limits of 4 panels as int16, in the order of the sums; what is too large
 * or small for int16 is no less so for the sums. */
static void narrow(__m256i to[2], const int32_t *limit, size_t panels) {
    const size_t last = panels - 1;
    __m256i l0 = load(limit), l1 = load(limit + bc_min(1, last) * 8),
            l2 = load(limit + bc_min(2, last) * 8), l3 = load(limit + bc_min(3, last) * 8);
    to[0] = _mm256_packs_epi32(_mm256_permute2x128_si256(l0, l2, 0x20),
                               _mm256_permute2x128_si256(l0, l2, 0x31));
    to[1] = _mm256_packs_epi32(_mm256_permute2x128_si256(l1, l3, 0x20),
                               _mm256_permute2x128_si256(l1, l3, 0x31));
}

static BC_INLINE int bits_of(const uint16_t sums[NR], const __m256i limit[2]) {
    __m256i low = _mm256_cmpgt_epi16(load(sums), limit[0]),
            high = _mm256_cmpgt_epi16(load(sums + 16), limit[1]);
    return _mm256_movemask_epi8(_mm256_packs_epi16(low, high));
}

/* Pixels [p0, p0 + m), panels [q, q + 4 (nv - 1) + last). */
static BC_INLINE void emit_rows(const block *b, const bc_bgemm_call *call, size_t p0, size_t m,
                                size_t q, const size_t nv, const size_t last) {
    const size_t stride = call->out_stride;
    const int32_t *const *rows = call->limit + p0;
    uint8_t *out = call->out + p0 * stride + q;
    __m256i limit[NV][2];
    for (size_t i = 0; i < m; i++, out += stride) {
        const bc_pair_sums *sums = b->sums + i / 2 * nv;
        if (i == 0 || rows[i] != rows[i - 1]) /* many pixels share a row */
            for (size_t v = 0; v < nv; v++)
                narrow(limit[v], rows[i] + (q + 4 * v) * 8, v + 1 < nv ? 4 : last);
        BC_UNROLL
        for (size_t v = 0; v < nv; v++) {
            const int bits = bits_of(sums[v][i % 2], limit[v]);
            memcpy(out + 4 * v, &bits, v + 1 < nv ? 4 : last);
        }
    }
}

static void emit_bits(const block *b, const bc_bgemm_call *call, size_t p0, size_t m, size_t q,
                      size_t panels) {
    if (panels == 4 * NV) /* its cost shows at small K: instances of their own for usual sizes */
        emit_rows(b, call, p0, m, q, NV, 4);
    else if (panels == 8)
        emit_rows(b, call, p0, m, q, 2, 4);
    else
        emit_rows(b, call, p0, m, q, (panels + 3) / 4, (panels - 1) % 4 + 1);
}

static void emit_sums(const block *b, const bc_bgemm_call *call, size_t p0, size_t m, size_t q,
                      size_t panels) {
    static const int at[4] = {0, 16, 8, 24}; /* of the panels in a bc_pair_sums */
    const size_t nv = (panels + 3) / 4;
    for (size_t i = 0; i < m; i++) {
        int32_t *pop = call->pop + (p0 + i) * call->ld + q * 8;
        for (size_t j = 0; j < panels; j++, pop += 8) {
            const uint16_t *sums = b->sums[i / 2 * nv + j / 4][i % 2] + at[j % 4];
            _mm256_storeu_si256((__m256i *)(void *)pop, _mm256_cvtepu16_epi32(_mm_load_si128(
                                                            (const __m128i *)(const void *)sums)));
        }
    }
}

bool bc_bgemm_pairs_fit__avx2(size_t m, size_t k_words) {
    return m > FEW && k_words <= MOST_WORDS;
}

void bc_bgemm_pairs__avx2(const bc_bgemm_call *call) {
    block b;
    const size_t k_words = call->taps * call->cw, m = call->m, pairs = (m + 1) / 2,
                 vectors = (call->panels + 3) / 4;
    const size_t most = bc_min(BLOCK_PAIRS, CHOSEN_WORDS / k_words),
                 cuts = (pairs + most - 1) / most, groups = (vectors + NV - 1) / NV;
    for (size_t i = 0; i < cuts; i++) { /* blocks and groups of nearly equal sizes */
        const size_t p = 2 * (pairs * i / cuts),
                     count = bc_min(m, 2 * (pairs * (i + 1) / cuts)) - p;
        bc_pairs_choose__avx2(b.chosen, count, call->taps, call->cw, call->a + p * call->taps,
                              call->skip);
        for (size_t g = 0; g < groups; g++) {
            const size_t q = 4 * (vectors * g / groups),
                         panels = bc_min(4 * (vectors * (g + 1) / groups), call->panels) - q;
            multiply(&b, call, count, q, panels, i > 0 && groups == 1 && k_words <= BLOCK_WORDS);
            (call->pop ? emit_sums : emit_bits)(&b, call, p, count, q, panels);
        }
    }
}

BC_TARGET_END
