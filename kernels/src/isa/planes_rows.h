/* planes_rows.h: rows of pixels' bits to planes (planes.h). */
#ifndef BC_ISA_PLANES_ROWS_H
#define BC_ISA_PLANES_ROWS_H

#include "planes.h"

/* Words p[0], p[step], p[16 step], p[17 step], .. */
static BC_INLINE V words_of_16(const uint64_t *p, size_t step) {
    __m128i two[LANES / 16];
    BC_UNROLL
    for (size_t i = 0; i < LANES / 16; i++, p += 16 * step)
        two[i] = _mm_set_epi64x((long long)p[step], (long long)p[0]);
    return join(two);
}

/* Bits 0 to 8 n - 1 of LANES pixels, `step` words apart, as 2 n vectors of 4 bits each. Returns how
 * many of these have an odd count. */
static BC_INLINE V planes_of_word(V *to, const int n, const uint64_t *from, const size_t step) {
    /* >> 4 by a multiplication: the ports of shifts are those of shuffles, of which there are many
     */
    const V nibble = BC_MM(set1_epi8)(15), shift = BC_MM(set1_epi16)(1 << 12);
    const V zip = repeat(_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    const V is_odd = repeat(_mm_setr_epi8(0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0));
    V bytes[2][4], odd = BC_SI(setzero)(); /* of pixels 0 to 7, 8 to 15 of every 16 */
    BC_UNROLL
    for (size_t q = 0; q < 2; q++) {
        V two[4], four[4];
        BC_UNROLL
        for (size_t i = 0; i < 4; i++)
            two[i] = BC_MM(shuffle_epi8)(words_of_16(from + (8 * q + 2 * i) * step, step), zip);
        BC_UNROLL
        for (int i = 0; i < 4; i += 2) {
            four[i] = BC_MM(unpacklo_epi16)(two[i], two[i + 1]);
            four[i + 1] = BC_MM(unpackhi_epi16)(two[i], two[i + 1]);
        }
        BC_UNROLL
        for (int i = 0; i < 2; i++) { /* bytes 4 i, 4 i + 1 | 4 i + 2, 4 i + 3 of all eight */
            bytes[q][2 * i] = BC_MM(unpacklo_epi32)(four[i], four[i + 2]);
            bytes[q][2 * i + 1] = BC_MM(unpackhi_epi32)(four[i], four[i + 2]);
        }
    }
    BC_UNROLL
    for (int i = 0; i < n; i++) {
        const V a = bytes[0][i / 2], b = bytes[1][i / 2];
        const V byte = i % 2 ? BC_MM(unpackhi_epi64)(a, b) : BC_MM(unpacklo_epi64)(a, b);
        to[2 * i] = BC_SI (and)(byte, nibble);
        to[2 * i + 1] = BC_SI (and)(BC_MM(mulhi_epu16)(byte, shift), nibble);
        odd = BC_MM(add_epi8)(odd, BC_MM(add_epi8)(BC_MM(shuffle_epi8)(is_odd, to[2 * i]),
                                                   BC_MM(shuffle_epi8)(is_odd, to[2 * i + 1])));
    }
    return odd;
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
        for (int i = 0; i < 2 * n; i++) {
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

/* Rows of `words` words a pixel, of which n bytes each are used. */
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
        some_rows(image, rows, from, to, 8, image->words);
    else if (image->steps > 8)
        some_rows(image, rows, from, to, 8, 1);
    else if (image->steps > 4)
        some_rows(image, rows, from, to, 4, 1);
    else
        some_rows(image, rows, from, to, 2, 1);
}

#endif
