/* avx512_bgemm_steps.c: binary products with their epilogue. A pixel's sums of 16 filters are one
 * vector when a tile is done, and go through the steps as they are: nothing waits for them in L1,
 * and the stores of floats, which miss it, come a few at a time, between tiles of products, so that
 * these hide them. That is worth more than the instructions saved. */
#include "avx512_bgemm.h"

#include <string.h>

BC_TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512vpopcntdq")

#include "avx512_f32x16.h"
#include "steps_tile.h"

/* One call, and the pixel and filter that a tile starts with. */
typedef struct place {
    const bc_row_step *list, *end; /* the first step is BC_ROW_POP of pop */
    int32_t *pop;
    size_t ld, c, p, i;
    ahead after;
} place;

/* The last filters, fewer than a vector, by way of memory. */
static void steps_of_some(const place *at, size_t mr, size_t i) {
    for (size_t r = 0; r < mr; r++)
        steps_tile(1, at->c - i, at->p + r, i, at->list, at->end);
}

static BC_INLINE void tile(const int mr, const int nr, const operands *with,
                           const uint64_t *const *a, const place *at) {
    __m512i sum[MR][4];
    accumulate(mr, nr, with, a, sum);
    int32_t *pop = at->pop + at->p * at->ld + at->i;
    if (nr == 1) {
        BC_UNROLL
        for (int r = 0; r < mr; r++)
            _mm256_storeu_si256((__m256i *)(void *)(pop + (size_t)r * at->ld),
                                _mm512_cvtepi64_epi32(sum[r][0]));
        steps_of_some(at, (size_t)mr, at->i);
    }
    BC_UNROLL
    for (int q = 0; q + 2 <= nr; q += 2) {
        const size_t i = at->i + (size_t)q * NR;
        if (i + STEP_NR <= at->c) {
            const int32_t *const *base = at->list->base + at->p;
            f32x16 y[MR];
            BC_UNROLL
            for (int r = 0; r < mr; r++) {
                const __m512i half = join(sum[r][q], sum[r][q + 1]);
                y[r] = _mm512_cvtepi32_ps(_mm512_sub_epi32(
                    _mm512_loadu_si512((const void *)(base[r] + i)), _mm512_add_epi32(half, half)));
            }
            steps_on(y, mr, STEP_NR, at->p, i, at->list + 1, at->end, false);
        } else {
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                _mm512_storeu_si512((void *)(pop + (size_t)r * at->ld + q * NR),
                                    join(sum[r][q], sum[r][q + 1]));
            steps_of_some(at, (size_t)mr, i);
        }
    }
}

static BC_INLINE void tiles_below(const int mr, const int nr, size_t count, const operands *with,
                                  const uint64_t *const *a, const place *first) {
    place next = *first, *at = &next;
    for (; count; count--, a += (size_t)mr * with->taps, at->p += (size_t)mr) {
        BC_KEEP_R(at);
        fetch(&at->after);
        tile(mr, nr, with, a, at);
    }
}

#define TILE(mr, nr)                                                                               \
    static void tile##mr##x##nr(size_t count, const operands *with, const uint64_t *const *a,      \
                                const place *at) {                                                 \
        tiles_below(mr, nr, count, with, a, at);                                                   \
    }
#define TILES(mr) TILE(mr, 2) TILE(mr, 1)
TILE(1, 4)
TILES(1)
TILES(2)
TILES(3)
TILES(4)
TILES(5)
TILES(6)
TILES(7)

typedef void (*tile_fn)(size_t, const operands *, const uint64_t *const *, const place *);
static const tile_fn tiles[MR][2] = {{tile1x1, tile1x2}, {tile2x1, tile2x2}, {tile3x1, tile3x2},
                                     {tile4x1, tile4x2}, {tile5x1, tile5x2}, {tile6x1, tile6x2},
                                     {tile7x1, tile7x2}};

void bc_bgemm_steps__avx512vpopcntdq(size_t m, size_t c, size_t taps, size_t cw,
                                     const uint64_t *const *a, size_t skip, const uint64_t *w,
                                     int32_t *pop, size_t ld, const bc_row_step *list,
                                     size_t count) {
    const size_t cuts = (m + MR - 1) / MR, height = m / cuts, higher = m % cuts;
    const size_t panels = (c + NR - 1) / NR;
    operands with = {taps, skip, skip + cw, taps * cw * NR, w};
    place at = {.list = list, .end = list + count, .pop = pop, .ld = ld, .c = c};
    for (size_t n; at.i < c; at.i += n * NR, with.w += n * with.step) {
        const size_t left = panels - at.i / NR;
        n = m == 1 && left >= 4 ? 4 : left > 1 ? 2 : 1;
        at.p = 0;
        at.after = ahead_of(at.i / NR + n, panels, taps * cw, w, cuts);
        if (higher) {
            const size_t fetched = bc_min(at.after.lines, higher * at.after.per_tile);
            tiles[height][n - 1](higher, &with, a, &at);
            at.after.next += fetched * NR;
            at.after.lines -= fetched;
        }
        at.p = higher * (height + 1);
        (n == 4 ? tile1x4 : tiles[height - 1][n - 1])(cuts - higher, &with, a + at.p * taps, &at);
    }
}

BC_TARGET_END
