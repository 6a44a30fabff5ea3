/* pairs_choose.h: pixels of a binary product by table look-up to numbers of tables.
 *
 * What a tap of a pixel sees, the tap above it sees one row of the image further down, so most
 * tables were chosen before, if pairs lie below pairs. They are found again by their pointers;
 * where a row of the image ends is not told, and is found by the first pixel's. */
#ifndef BC_ISA_PAIRS_CHOOSE_H
#define BC_ISA_PAIRS_CHOOSE_H

#include "pairs.h"

enum { SPARE = 16 }; /* entries for pairs at the margins, which share less */

/* Whether a pair sees what the one `below` pairs before it sees, a tap further on. */
static BC_INLINE bool moved(const uint64_t *const *x, size_t back, const size_t taps) {
    const uint64_t *const *above = x - back + 1;
    uintptr_t differs = 0;
    for (size_t i = 0; i + 1 < taps; i++)
        differs |= ((uintptr_t)x[i] ^ (uintptr_t)above[i]) |
                   ((uintptr_t)x[taps + i] ^ (uintptr_t)above[taps + i]);
    return !differs;
}

/* Pairs from the first one to that under it, 0 if it is not found. Few words are found again only
 * if they share: else all of K is one entry, whose odd counts are summed at once. */
static size_t find_below(const pair_tables *t) {
    const size_t taps = t->call->taps;
    const uint64_t *const *a = t->call->a + t->p * taps;
    for (size_t pair = 1; 2 * pair + 1 < t->m; pair++)
        if (a[2 * pair * taps] == a[1])
            return t->call->cw >= UNIT || moved(a + 2 * pair * taps, 2 * pair * taps, taps) ? pair
                                                                                            : 0;
    return 0;
}

static void pairs_stretch(pair_tables *t, const bc_bgemm_call *call, size_t p, size_t m,
                          size_t block) {
    const size_t taps = call->taps, k_words = taps * call->cw;
    t->call = call;
    t->p = p;
    t->m = m;
    t->at = t->made = 0;
    t->unit = bc_min(call->cw, UNIT);
    t->below = taps > 1 && call->cw % t->unit == 0 ? find_below(t) : 0;
    const bool by_tap = t->below || (taps > 1 && call->cw % UNIT == 0);
    if (!by_tap)
        t->unit = UNIT;
    t->units = (k_words + t->unit - 1) / t->unit;
    t->entry_words = by_tap ? call->cw : k_words;
    t->per_pair = by_tap ? taps : 1;
    t->entries = block * t->per_pair;
    if (t->below)
        t->entries =
            bc_min(CHOSEN_WORDS / t->entry_words, t->entries + (taps + 1) * t->below + SPARE);
}

/* The tables of a word of x and a word of y: v in bits 4 to 7, v' in bits 8 to 11 of where one lies
 * (pairs_tile.h). Steps 0..7 are the low halves of the word's bytes, 8..15 the high ones.
 * Returns -1 in the bytes of x and y, in turns, for halves that have an odd count. */
static BC_INLINE __m256i choose_word(uint16_t *to, const uint64_t *x, const uint64_t *y) {
    const __m256i high = _mm256_set1_epi8((char)0xf0), join = _mm256_set1_epi16(1 + (16 << 8)),
                  shift = _mm256_setr_epi32(4, 4, 4, 4, 0, 0, 0, 0);
    __m256i both = _mm256_unpacklo_epi8(_mm256_set1_epi64x((long long)*x),
                                        _mm256_set1_epi64x((long long)*y)); /* twice */
    both = _mm256_and_si256(_mm256_sllv_epi32(both, shift), high);
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_maddubs_epi16(both, join));
    __m256i odd = _mm256_xor_si256(both, _mm256_slli_epi16(both, 2)); /* bits 6 and 7 count */
    odd = _mm256_xor_si256(odd, _mm256_add_epi8(odd, odd));           /* bit 7 */
    return _mm256_cmpgt_epi8(_mm256_setzero_si256(), odd);
}

/* n words, one after the other; adds their odd counts to bytes of x and y, in turns. */
static BC_INLINE __m256i choose_words(__m256i odd, uint16_t *restrict to, const size_t n,
                                      const uint64_t *x, const uint64_t *y) {
    size_t i = 0;
    for (; i + UNIT <= n; i += UNIT, to += UNIT * STEPS) {
        __m256i some = choose_word(to, x + i, y + i);
        BC_UNROLL
        for (size_t j = 1; j < UNIT; j++)
            some = _mm256_add_epi8(some, choose_word(to + j * STEPS, x + i + j, y + i + j));
        odd = _mm256_sub_epi8(odd, some);
    }
    for (; i < n; i++, to += STEPS)
        odd = _mm256_sub_epi8(odd, choose_word(to, x + i, y + i));
    return odd;
}

/* All bytes of x, and all of y, as pair_tables.odd. */
static BC_INLINE uint32_t sum_odd(__m256i odd) {
    const __m256i zero = _mm256_setzero_si256(),
                  x = _mm256_sad_epu8(_mm256_and_si256(odd, _mm256_set1_epi16(0xff)), zero),
                  y = _mm256_sad_epu8(_mm256_srli_epi16(odd, 8), zero),
                  sum4 = _mm256_add_epi64(x, _mm256_slli_epi64(y, 16));
    const __m128i sum2 =
        _mm_add_epi64(_mm256_castsi256_si128(sum4), _mm256_extracti128_si256(sum4, 1));
    return (uint32_t)_mm_cvtsi128_si32(_mm_add_epi64(sum2, _mm_unpackhi_epi64(sum2, sum2)));
}

/* Entry i of a pair anew, at `to`. */
static BC_INLINE uint32_t choose_entry(const bc_bgemm_call *call, const bool by_tap,
                                       const size_t cw, uint16_t *to, const uint64_t *const *x,
                                       const uint64_t *const *y, size_t i) {
    enum { MOST = 255 }; /* words that a byte counts */
    const size_t skip = call->skip, end = by_tap ? i + 1 : call->taps;
    __m256i odd = _mm256_setzero_si256();
    uint32_t sum = 0;
    for (size_t tap = i, counted = 0; tap < end; tap++)
        for (size_t k = 0, some; k < cw; k += some, to += some * STEPS, counted += some) {
            if (counted == MOST) {
                sum += sum_odd(odd);
                odd = _mm256_setzero_si256();
                counted = 0;
            }
            some = bc_min(MOST - counted, cw - k);
            odd = choose_words(odd, to, some, x[tap] + skip + k, y[tap] + skip + k);
        }
    return sum + sum_odd(odd);
}

/* per_pair, entry_units and cw are t's. */
static BC_INLINE void choose_some(pair_tables *t, const size_t from, const size_t n,
                                  const size_t per_pair, const size_t entry_units,
                                  const size_t cw) {
    const bc_bgemm_call *call = t->call;
    const size_t taps = per_pair > 1 ? per_pair : call->taps, units = per_pair * entry_units,
                 below = t->below, oldest = (per_pair - 1) * below, entry = t->entry_words * STEPS,
                 entries = t->entries;
    const uint64_t *const *x = call->a + (t->p + 2 * from) * taps;
    size_t made = t->made, at = t->at, later = n * per_pair;
    for (size_t pair = from; pair < from + n; pair++, x += 2 * taps, later -= per_pair) {
        const bool two = 2 * pair + 1 < t->m;
        const uint16_t **list = t->list + pair * units;
        uint32_t *odd = t->entry_odd + pair * per_pair, sum = 0;
        size_t i = 0;
        t->before[pair] = (uint16_t)made;
        if (below && pair >= below && two && moved(x, 2 * below * taps, taps) &&
            made - t->before[pair < oldest ? pair % below : pair - oldest] + later <= entries) {
            const uint16_t **above = list - below * units + entry_units;
            const uint32_t *odd_above = odd - below * per_pair + 1;
            for (size_t u = 0; u < units - entry_units; u++)
                list[u] = above[u];
            for (; i < per_pair - 1; i++)
                sum += odd[i] = odd_above[i];
        }
        for (; i < per_pair; i++) {
            uint16_t *to = t->chosen + at * entry;
            sum += odd[i] = choose_entry(call, per_pair > 1, cw, to, x, two ? x + taps : x, i);
            made++;
            at = at + 1 < entries ? at + 1 : 0;
            for (size_t u = 0; u < entry_units; u++)
                list[i * entry_units + u] = to + u * t->unit * STEPS;
        }
        t->odd[pair] = sum;
        t->half[pair][0] = (uint8_t)(sum >> 1);
        t->half[pair][1] = (uint8_t)(sum >> 17);
    }
    t->made = made;
    t->at = at;
}

/* Instances of their own for usual sizes: 3 x 3 of 64, 128, 256 channels, 16 and 32 whose rows are
 * joined (ops/bit_rows.c), and windows of few that share nothing. */
#define INSTANCE(name, per_pair, units, cw)                                                        \
    static BC_NO_INLINE void name(pair_tables *t, size_t from, size_t n) {                         \
        choose_some(t, from, n, per_pair, units, cw);                                              \
    }
INSTANCE(choose3x3, 3, 1, UNIT)
INSTANCE(choose3x6, 3, 2, 2 * UNIT)
INSTANCE(choose3x12, 3, 4, 4 * UNIT)
INSTANCE(choose1x1, 1, t->units, 1)
INSTANCE(choose1x2, 1, t->units, 2)
INSTANCE(choose3x1, 3, 1, 1)
INSTANCE(choose3x2, 3, 1, 2)
INSTANCE(choose_any, t->per_pair, (t->entry_words + t->unit - 1) / t->unit, t->call->cw)

static void pairs_choose(pair_tables *t, size_t from, size_t n) {
    const size_t taps = t->per_pair, cw = t->call->cw;
    (taps == 3 && cw == UNIT       ? choose3x3
     : taps == 3 && cw == 2 * UNIT ? choose3x6
     : taps == 3 && cw == 4 * UNIT ? choose3x12
     : taps == 1 && cw == 1        ? choose1x1
     : taps == 1 && cw == 2        ? choose1x2
     : taps == 3 && cw == 1        ? choose3x1
     : taps == 3 && cw == 2        ? choose3x2
                                   : choose_any)(t, from, n);
}

#endif
