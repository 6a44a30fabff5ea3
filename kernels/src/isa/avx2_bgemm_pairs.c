/* avx2_bgemm_pairs.c: binary products of many pixels: blocks of pairs of pixels and of filters,
 * expanded once, and where their sums go. */
#include "avx2_bgemm_pairs.h"

#include <immintrin.h>

BC_TARGET_BEGIN("avx2")

enum {
    BLOCK_PAIRS = 64,       /* most pairs of pixels per expansion of the weights */
    CHOSEN_WORDS = 32 * 72, /* words of pairs whose tables are held: 64 pixels of 3x3x512 */
    PART_BYTES = PART_WORDS * STEPS * NR, /* of a vector */
    MOST_WORDS = 511,                     /* of K; sums are int16 */
    FEW = 3                               /* pixels for which expansion does not pay */
};

/* On the stack: threads.c gives workers enough of it, bincompress.h tells callers how much. */
typedef struct block {
    _Alignas(64) uint8_t weights[NV * PART_BYTES];      /* [vector][word][step][filter] */
    _Alignas(64) uint16_t chosen[CHOSEN_WORDS * STEPS]; /* [pair][word][step] */
    _Alignas(64) bc_pair_sums sums[BLOCK_PAIRS * NV];   /* [pair][vector] */
} block;
_Static_assert(sizeof(block) <= 126 << 10, "the stack has room for it and all that calls");

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
    p.words = bc_min(PART_WORDS, k_words - p.k);
    return p;
}

/* Weights of a part as vectors, and how far one lies from the next. */
typedef struct operand {
    const uint8_t *w;
    size_t stride;
} operand;

static operand operand_of(block *b, const bc_bgemm_call *call, part now, size_t k_words,
                          bool spread) {
    if (call->spread)
        return (operand){call->spread + (now.q / 4 * k_words + now.k) * STEPS * NR,
                         k_words * STEPS * NR};
    for (size_t q = 0; q < now.panels && !spread; q += 4)
        bc_pairs_weights__avx2(b->weights + q / 4 * PART_BYTES, call->w + (now.q + q) * k_words * 8,
                               bc_min(4, now.panels - q), k_words, now.k, now.words);
    return (operand){b->weights, PART_BYTES};
}

/* Brings the weights of the next part nearer while the last pairs of this one are multiplied. */
static void fetch(const bc_bgemm_call *call, part next, size_t k_words, size_t pair, size_t n) {
    for (size_t j = pair; j < bc_min(pair + n, next.panels) && !call->spread; j++)
        for (size_t i = 0; i < next.words; i++) /* a word of a panel is a line */
            _mm_prefetch((const char *)(call->w + ((next.q + j) * k_words + next.k + i) * 8),
                         _MM_HINT_T0);
}

/* The output `to` of pixels whose tables are there. `spread`: b->weights are still its. */
static void multiply(block *b, const bc_pair_rectangle *to, bool spread) {
    const bc_bgemm_call *call = to->call;
    const size_t k_words = call->taps * call->cw, nv = (to->panels + 3) / 4,
                 pairs = (to->m + 1) / 2;
    const bool at_once = !call->pop && k_words <= PART_WORDS; /* bits from bytes */
    bc_pair_limits limits = {.row = NULL};
    _Alignas(64) bc_pair_bytes bytes[NV];
    part now = {to->q, to->panels, 0, bc_min(PART_WORDS, k_words)};
    while (now.q == to->q) {
        const part next = following(call, now, k_words);
        const operand w = operand_of(b, call, now, k_words, spread);
        for (size_t pair = 0, n; pair < pairs; pair += n) {
            n = bc_pairs_tile__avx2(pairs - pair, nv, w.w, w.stride,
                                    b->chosen + (pair * k_words + now.k) * STEPS, k_words * STEPS,
                                    now.words, at_once ? BC_PAIR_BEGIN : 0, bytes);
            if (at_once)
                bc_pairs_bytes_to_bits__avx2(&(bc_pair_rectangle){call, to->p + 2 * pair,
                                                                  bc_min(2 * n, to->m - 2 * pair),
                                                                  to->q, to->panels},
                                             (const bc_pair_bytes *)bytes, &limits);
            else
                bc_pairs_add__avx2(n * nv, (const bc_pair_bytes *)bytes, b->sums + pair * nv,
                                   now.k == 0);
            fetch(call, next, k_words, pair, n);
        }
        now = next;
    }
    if (!at_once)
        (call->pop ? bc_pairs_numbers__avx2 : bc_pairs_bits__avx2)(to,
                                                                   (const bc_pair_sums *)b->sums);
}

bool bc_bgemm_pairs_fit__avx2(size_t m, size_t k_words) {
    return m > FEW && k_words <= MOST_WORDS;
}

void bc_bgemm_pairs__avx2(const bc_bgemm_call *call) {
    block b;
    const size_t k_words = call->taps * call->cw, m = call->m, tiles = (m + 3) / 4,
                 vectors = (call->panels + 3) / 4;
    const size_t most = bc_min(BLOCK_PAIRS, CHOSEN_WORDS / k_words) / 2,
                 cuts = (tiles + most - 1) / most, groups = (vectors + NV - 1) / NV;
    for (size_t i = 0; i < cuts; i++) { /* blocks and groups of nearly equal sizes */
        bc_pair_rectangle to = {.call = call, .p = 4 * (tiles * i / cuts)};
        to.m = bc_min(m, 4 * (tiles * (i + 1) / cuts)) - to.p;
        bc_pairs_choose__avx2(b.chosen, to.m, call->taps, call->cw, call->a + to.p * call->taps,
                              call->skip);
        for (size_t g = 0; g < groups; g++) {
            to.q = 4 * (vectors * g / groups);
            to.panels = bc_min(4 * (vectors * (g + 1) / groups), call->panels) - to.q;
            multiply(&b, &to, i > 0 && groups == 1 && k_words <= PART_WORDS);
        }
    }
}

BC_TARGET_END
