/* planes_rows.h: rows of pixels' bits to planes (planes.h). */
#ifndef BC_ISA_PLANES_ROWS_H
#define BC_ISA_PLANES_ROWS_H

#include "half_bytes.h"
#include "planes.h"

/* Words p[0], p[step], p[16 step], p[17 step], .. */
static BC_INLINE V words_of_16(const uint64_t *p, size_t step) {
    __m128i two[LANES / 16];
    BC_UNROLL
    for (size_t i = 0; i < LANES / 16; i++, p += 16 * step)
        two[i] = _mm_set_epi64x((long long)p[step], (long long)p[0]);
    return join(two);
}

/* A word of LANES pixels, `step` words apart, as the first n vectors of 4 bits each. Returns how
 * many of these have an odd count. */
static BC_INLINE V planes_of_word(V *to, const int n, const uint64_t *from, const size_t step) {
    V words[2][4];
    BC_UNROLL
    for (size_t i = 0; i < 8; i++)
        words[i / 4][i % 4] = words_of_16(from + 2 * i * step, step);
    return turn_words(to, n, (const V(*)[4])words);
}

/* LANES pixels to planes of which the first `bytes` bytes at `to` are written. */
static BC_INLINE void planes_of_lanes(const bc_plane_image *image, const int n,
                                      const uint64_t *from, const size_t words, uint8_t *to,
                                      size_t bytes) {
    V odd = BC_SI(setzero)();
    uint8_t *at = to;
    for (size_t word = 0, steps = image->steps; word < words; word++) {
        V nibbles[16];
        odd = BC_MM(add_epi8)(odd, planes_of_word(nibbles, n, from + word, words));
        BC_UNROLL
        for (int i = 0; i < n; i++) {
            if (!steps)
                break;
            if (bytes == LANES)
                storeu(at, nibbles[i]);
            else
                memcpy(at, &nibbles[i], bytes);
            at += image->plane_bytes;
            steps--;
        }
    }
    if (bytes == LANES)
        storeu(to + image->steps * image->plane_bytes, odd);
    else
        memcpy(to + image->steps * image->plane_bytes, &odd, bytes);
}

/* Rows of `words` words a pixel, of which n steps each are used. */
static BC_INLINE void some_rows(const bc_plane_image *image, size_t rows, const uint64_t *from,
                                uint8_t *to, const int n, const size_t words) {
    uint64_t rest[LANES * BC_PLANE_WORDS];
    const size_t width = image->width, tail = width % LANES, last = width - tail,
                 mixed = tail ? bc_min(image->line - last, LANES) : 0;
    const uint8_t *end = to + rows * image->line;
    for (size_t i = tail; i < mixed; i++) /* padding behind the row */
        memcpy(rest + i * words, image->pad, words * sizeof *rest);
    memset(rest + mixed * words, 0, (LANES - mixed) * words * sizeof *rest);
    for (size_t y = 0; y < rows; y++, from += width * words, to += image->line) {
        for (size_t x = 0; x < last; x += LANES)
            planes_of_lanes(image, n, from + x * words, words, to + x, LANES);
        if (tail) { /* what it writes beyond the line is written anew with the next ones */
            memcpy(rest, from + last * words, tail * words * sizeof *rest);
            planes_of_lanes(image, n, rest, words, to + last,
                            bc_min(LANES, (size_t)(end - to) - last));
        }
        for (size_t s = 0; s <= image->steps && last + mixed < image->line; s++)
            memset(to + s * image->plane_bytes + last + mixed, image->pad_bytes[s],
                   image->line - last - mixed);
    }
}

static void plane_rows(const bc_plane_image *image, size_t rows, const uint64_t *from,
                       uint8_t *to) {
    if (image->words > 1)
        some_rows(image, rows, from, to, 16, image->words);
    else if (image->steps > 8)
        some_rows(image, rows, from, to, 16, 1);
    else if (image->steps > 4)
        some_rows(image, rows, from, to, 8, 1);
    else
        some_rows(image, rows, from, to, 4, 1);
}

#endif
