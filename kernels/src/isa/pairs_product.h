/* pairs_product.h: binary products of many pixels: blocks of pairs of pixels, whose tables are
 * chosen once, and of filters, expanded once. */
#ifndef BC_ISA_PAIRS_PRODUCT_H
#define BC_ISA_PAIRS_PRODUCT_H

#include "pairs_at_once.h"
#include "pairs_choose.h"
#include "pairs_expand.h"
#include "pairs_numbers.h"
#include "pairs_sums.h"

#include <string.h>

enum {
    AT_ONCE_PAIRS = 128,               /* most of a block that needs no sums */
    PART_BYTES = AT_ONCE * STEPS * NR, /* of a vector; behind them, its odd groups */
    MOST_WORDS = 511,                  /* of K; sums are int16 */
    FEW = 3                            /* pixels for which expansion does not pay */
};

/* On the stack: threads.c gives workers enough of it, bincompress.h tells callers how much. */
typedef struct block {
    _Alignas(64) uint8_t weights[NV][PART_BYTES + 2 * NR]; /* [word][step][filter] */
    _Alignas(64) pair_sums sums[BLOCK_PAIRS * NV];         /* [pair][vector] */
    pair_tables tables;
    pair_limits limits;
} block;
_Static_assert(sizeof(block) <= 126 << 10, "the stack has room for it and all that calls");

/* Whether it needs no sums. */
static bool at_once(const bc_bgemm_call *call) {
    return !call->pop && call->taps * call->cw <= AT_ONCE;
}

/* Weights of r's part. */
static void weights(block *b, pair_rectangle *r, size_t k_words, bool expanded) {
    const bc_bgemm_call *call = r->tables->call;
    if (call->spread) {
        r->stride = (k_words + 1) * SPREAD_WORD;
        const uint8_t *from = call->spread + r->q / PANELS * r->stride;
        r->w = from + r->k * SPREAD_WORD;
        r->odd = from + k_words * SPREAD_WORD;
        return;
    }
    r->stride = sizeof b->weights[0];
    r->w = b->weights[0];
    r->odd = b->weights[0] + PART_BYTES;
    for (size_t q = 0; q < r->panels && !expanded; q += PANELS) {
        uint8_t *to = b->weights[q / PANELS];
        uint16_t *odd = (uint16_t *)(void *)(to + PART_BYTES);
        if (r->k == 0)
            memset(odd, 0, NR * sizeof *odd);
        pairs_weights(to, odd, call->w + (r->q + q) * k_words * 8, bc_min(PANELS, r->panels - q),
                      k_words, r->k, r->words);
    }
}

/* The rectangle `r` of pixels whose tables are there. `expanded`: b->weights are still its. */
static void multiply(block *b, pair_rectangle *r, size_t k_words, bool expanded) {
    const bc_bgemm_call *call = r->tables->call;
    if (at_once(call)) {
        r->k = r->round = 0;
        r->words = k_words;
        weights(b, r, k_words, expanded);
        pairs_at_once(r, &b->limits);
        return;
    }
    for (r->k = 0; r->k < k_words; r->k += r->words) {
        r->words = bc_min(SLOT, k_words - r->k);
        r->round = r->k / r->tables->unit;
        weights(b, r, k_words, expanded);
        pairs_add(r, b->sums);
    }
    if (!call->pop)
        pairs_bits(r, (const pair_sums *)b->sums, &b->limits);
    else
        pairs_numbers(r, (const pair_sums *)b->sums);
}

/* Rounds of a pair at most. */
static size_t most_units(size_t taps, size_t cw) {
    return taps * ((cw + UNIT - 1) / UNIT);
}

/* Whether products of more than FEW pixels go this way. */
static bool pairs_serve(size_t panels, size_t taps, size_t cw) {
    /* four pairs at least are a stretch, whose rounds have places in the lists */
    return panels >= LEAST_PANELS && taps * cw <= MOST_WORDS &&
           most_units(taps, cw) <= STRETCH_UNITS / 4;
}

/* Pixels [p, p + m) of the call. */
static void stretch(block *b, const bc_bgemm_call *call, size_t p, size_t m) {
    const size_t k_words = call->taps * call->cw, pairs = (m + 1) / 2,
                 vectors = pair_vectors(call->panels), groups = (vectors + NV - 1) / NV;
    /* the weights of all of K are expanded once for all pixels */
    const bool once = groups == 1 && k_words <= (call->pop ? SLOT : AT_ONCE);
    const size_t held = at_once(call) ? AT_ONCE_PAIRS : BLOCK_PAIRS,
                 most = bc_min(held, CHOSEN_WORDS / k_words) & ~(size_t)1,
                 cuts = (pairs + most - 1) / most, fours = (pairs + 1) / 2;
    pairs_stretch(&b->tables, call, p, m, most);
    for (size_t i = 0; i < cuts; i++) { /* blocks and groups of nearly equal sizes */
        pair_rectangle r = {.tables = &b->tables, .pair = 2 * (fours * i / cuts)};
        r.pairs = bc_min(pairs, 2 * (fours * (i + 1) / cuts)) - r.pair;
        r.m = bc_min(m - 2 * r.pair, 2 * r.pairs);
        pairs_choose(&b->tables, r.pair, r.pairs);
        for (size_t g = 0; g < groups; g++) {
            r.q = PANELS * (vectors * g / groups);
            r.panels = bc_min(PANELS * (vectors * (g + 1) / groups), call->panels) - r.q;
            multiply(b, &r, k_words, once && (p > 0 || i > 0));
        }
    }
}

/* Returns whether the call is one for this way, and done. */
static bool pairs_product(const bc_bgemm_call *call) {
    if (call->m <= FEW || !pairs_serve(call->panels, call->taps, call->cw))
        return false;
    block b;
    const size_t units = most_units(call->taps, call->cw),
                 most = 2 * (bc_min(STRETCH_PAIRS, STRETCH_UNITS / units) & ~(size_t)3);
    memset(b.limits.row, 0, sizeof b.limits.row);
    b.limits.next = 0;
    b.limits.last = NULL;
    for (size_t p = 0, m; p < call->m; p += m) {
        m = bc_min(most, call->m - p);
        stretch(&b, call, p, m);
    }
    return true;
}

#endif
