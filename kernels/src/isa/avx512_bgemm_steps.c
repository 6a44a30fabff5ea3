/* avx512_bgemm_steps.c: binary products with their epilogue. A pixel's sums of 16 filters are one
 * vector when a tile is done, and go through the steps as they are: nothing waits for them in L1,
 * and the stores of floats, which miss it, come a few at a time, between tiles of products, so that
 * these hide them. That is worth more than the instructions saved. */
#include "avx512_bgemm_turned.h"

BC_TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512vpopcntdq")

#include "avx512_f32x16.h"
#include "steps_tile.h"

/* One call, and the pixel and filter that a tile starts with. Loops over tiles find theirs by a
 * pointer that is read from memory whenever it is needed (`volatile`): GCC would keep it in a
 * vector register, where getting it back waits for all products in front of it. */
typedef struct place {
    const bc_row_step *list, *end; /* the first step is a source, of pop */
    bool half;                     /* it is BC_ROW_HALF, so that BC_ROW_AFFINE follows */
    bool relu_store;               /* and those two are the rest, as in most layers */
    int32_t *pop;
    size_t ld, c, p, i;
    ahead after;
} place;

/* The last filters, fewer than a vector, by way of memory. */
static void steps_of_some(const place *at, size_t mr, size_t i) {
    size_t r = 0;
    for (; r + STEP_MR <= mr; r += STEP_MR)
        steps_tile(STEP_MR, at->c - i, at->p + r, i, at->list, at->end);
    for (; r < mr; r++)
        steps_tile(1, at->c - i, at->p + r, i, at->list, at->end);
}

/* The sums of 16 whole filters from i on, through all steps. What can be known of them is written
 * down in order, each operation for all pixels before the next; pixel by pixel takes 3 % longer. */
static BC_INLINE void run_steps(const int mr, const bool half, __m512i pop[MR], const place *at,
                                size_t i) {
    BC_KEEP_R(at);
    const bc_row_step *list = at->list;
    const int32_t *const *base = list->base + at->p;
    BC_KEEP_R(base); /* or its addresses are kept in vector registers */
    f32x16 y[MR];
    BC_UNROLL
    for (int r = 0; r < mr; r++) {
        const __m512i all = _mm512_loadu_si512((const void *)(base[r] + i));
        y[r] = _mm512_cvtepi32_ps(
            _mm512_sub_epi32(all, half ? pop[r] : _mm512_add_epi32(pop[r], pop[r])));
    }
    if (!half) {
        steps_on(y, mr, STEP_NR, at->p, i, list + 1, at->end, false);
        return;
    }
    f32x16 one = f32x16_splat(1);
    BC_KEEP_V(one); /* y * 1 + bias is y + bias, on the ports that are less busy here */
    const f32x16 scale = f32x16_load(list[1].scale + i), bias = f32x16_load(list[1].bias + i);
    BC_UNROLL
    for (int r = 0; r < mr; r++)
        y[r] = f32x16_mul(y[r], scale);
    BC_UNROLL
    for (int r = 0; r < mr; r++)
        y[r] = f32x16_fma(bias, y[r], one);
    if (!at->relu_store) {
        steps_on(y, mr, STEP_NR, at->p, i, list + 2, at->end, false);
        return;
    }
    const size_t ld = list[3].ld;
    float *to = (float *)list[3].to + at->p * ld + i;
    BC_UNROLL
    for (int r = 0; r < mr; r++, to += ld) {
        BC_KEEP_R(to);
        f32x16_store(to, f32x16_above(y[r], f32x16_splat(0)));
    }
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
            __m512i both[MR];
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                both[r] = join(sum[r][q], sum[r][q + 1]);
            if (at->half)
                run_steps(mr, true, both, at, i);
            else
                run_steps(mr, false, both, at, i);
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
    place next = *first, *volatile at = &next;
    for (; count; count--, a += (size_t)mr * with->taps, at->p += (size_t)mr) {
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

/* Whole vectors of filters where turning pays. */
static BC_INLINE void turned_tiles(const int mr, const int nq, const bool half, size_t count,
                                   const turned *with, const uint64_t *const *a,
                                   const place *first) {
    place next = *first, *volatile at = &next;
    for (; count; count--, a += (size_t)mr * with->taps, at->p += (size_t)mr) {
        __m512i sum[MR][2];
        accumulate_turned(mr, nq, with, a, sum);
        BC_UNROLL
        for (int q = 0; q < nq; q++) {
            __m512i pop[MR];
            BC_UNROLL
            for (int r = 0; r < mr; r++)
                pop[r] = sum[r][q];
            const place *here = at;
            run_steps(mr, half, pop, here, here->i + (size_t)q * TURNED_NR);
        }
    }
}

#define TURNED(mr, nq)                                                                             \
    static void turned##mr##x##nq(size_t count, const turned *with, const uint64_t *const *a,      \
                                  const place *at) {                                               \
        turned_tiles(mr, nq, false, count, with, a, at);                                           \
    }                                                                                              \
    static void halved##mr##x##nq(size_t count, const turned *with, const uint64_t *const *a,      \
                                  const place *at) {                                               \
        turned_tiles(mr, nq, true, count, with, a, at);                                            \
    }
TURNED(6, 1)
TURNED(6, 2)
TURNED(7, 1)
TURNED(7, 2)

typedef void (*turned_fn)(size_t, const turned *, const uint64_t *const *, const place *);
static const turned_fn turned_by[2][2][2] = {{{turned6x1, turned6x2}, {turned7x1, turned7x2}},
                                             {{halved6x1, halved6x2}, {halved7x1, halved7x2}}};

/* Returns how many filters are done. */
static size_t run_turned(size_t m, size_t taps, size_t cw, const uint64_t *const *a, size_t skip,
                         const uint64_t *w, place at) {
    _Alignas(64) uint32_t memory[2 * TURNED_WORDS * 2 * TURNED_NR];
    const size_t words = taps * cw, cuts = (m + MR - 1) / MR, higher = m - cuts * (MR - 1),
                 lower = cuts - higher;
    const turned with = {taps, 2 * skip, 2 * (skip + cw), memory};
    for (size_t n; at.i + TURNED_NR <= at.c; at.i += n) {
        const bool wide = at.c - at.i >= 2 * TURNED_NR;
        n = wide ? 2 * TURNED_NR : TURNED_NR;
        if (wide)
            turn(2, words, w + at.i * words, memory);
        else
            turn(1, words, w + at.i * words, memory);
        at.p = 0;
        if (higher)
            turned_by[at.half][1][wide](higher, &with, a, &at);
        at.p = higher * MR;
        if (lower)
            turned_by[at.half][0][wide](lower, &with, a + at.p * taps, &at);
    }
    return at.i;
}

void bc_bgemm_steps__avx512vpopcntdq(size_t m, size_t c, size_t taps, size_t cw,
                                     const uint64_t *const *a, size_t skip, const uint64_t *w,
                                     int32_t *pop, size_t ld, const bc_row_step *list,
                                     size_t count) {
    const size_t cuts = (m + MR - 1) / MR, height = m / cuts, higher = m % cuts;
    const size_t panels = (c + NR - 1) / NR;
    operands with = {taps, skip, skip + cw, taps * cw * NR, w};
    place at = {.list = list,
                .end = list + count,
                .half = list->op == BC_ROW_HALF,
                .relu_store = count == 4 && list[2].op == BC_ROW_RELU && list[3].op == BC_ROW_STORE,
                .pop = pop,
                .ld = ld,
                .c = c};
    if (turning_pays(m, panels, taps * cw)) {
        at.i = run_turned(m, taps, cw, a, skip, w, at);
        with.w += at.i / NR * with.step;
    }
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
