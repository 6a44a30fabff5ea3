/* pack_taps.h: taps of few channels side by side; part of rows.h. */

/* Where a tap lies in a word of a column: (tap << left) >> right, one of them 0. */
typedef struct tap_shift {
    unsigned left, right;
} tap_shift;

static BC_INLINE tap_shift shift_of(size_t at, size_t channels, size_t word) {
    const size_t begin = word * 64;
    if (at >= begin + 64 || at + channels <= begin)
        return (tap_shift){0, 63}; /* not at all: a tap has less than 64 bits */
    return at >= begin ? (tap_shift){(unsigned)(at - begin), 0}
                       : (tap_shift){0, (unsigned)(begin - at)};
}

/* A loop that compilers vectorise where its numbers are constant. */
static BC_INLINE void pack_columns(const size_t taps, const size_t words, const size_t stride,
                                   size_t channels, size_t step, size_t n,
                                   const uint64_t *restrict from, uint64_t *restrict to) {
    tap_shift s[BC_MOST_PACKED_WORDS][BC_MOST_PACKED_TAPS];
    for (size_t w = 0; w < words; w++)
        for (size_t t = 0; t < taps; t++)
            s[w][t] = shift_of(t * channels, channels, w);
    for (size_t x = 0; x < n; x++)
        for (size_t w = 0; w < words; w++) {
            uint64_t column = 0;
            for (size_t t = 0; t < taps; t++)
                column |= from[x * stride + t * step] << s[w][t].left >> s[w][t].right;
            to[x * words + w] = column;
        }
}

static void pack_taps(size_t n, size_t taps, size_t channels, size_t stride, size_t step,
                      const uint64_t *from, uint64_t *to) {
    const size_t words = bc_words(taps * channels);
    if (taps == 3 && words == 1 && stride == 1) /* instances of usual sizes */
        pack_columns(3, 1, 1, channels, step, n, from, to);
    else if (taps == 3 && words == 2 && stride == 1)
        pack_columns(3, 2, 1, channels, step, n, from, to);
    else if (taps == 5 && words == 1 && stride == 1)
        pack_columns(5, 1, 1, channels, step, n, from, to);
    else if (taps == 3 && stride == 2)
        pack_columns(3, words, 2, channels, step, n, from, to);
    else
        pack_columns(taps, words, stride, channels, step, n, from, to);
}
