/* check_planes.c: binary convolutions of planes (src/isa/planes.h) of every table that has them,
 * against one bit at a time: the planes themselves, sums and bits, from any lane on. */
#include "check.h"

#include <stdio.h>
#include <string.h>

/* An image of h x w pixels between `top` and `left` of padding on either side, and a window. */
typedef struct shape {
    size_t h, w, c, top, left, kh, kw, dh, dw, panels;
    bool ones; /* padding is 1 bits */
    fill pixels, weights;
} shape;

typedef struct sizes {
    size_t line, words, pixel_steps, taps, steps, oh, ow, plane_bytes, all, lanes;
} sizes;

static int failures;

#define WHAT "%zux%zux%zu top=%zu left=%zu %zux%zu/%zux%zu panels=%zu ones=%d x=%s w=%s"
#define SHAPE                                                                                      \
    s.h, s.w, s.c, s.top, s.left, s.kh, s.kw, s.dh, s.dw, s.panels, s.ones, fill_names[s.pixels],  \
        fill_names[s.weights]

static sizes sizes_of(shape s, size_t vector) {
    sizes z = {.line = s.w + s.left,
               .words = bc_words(s.c),
               .pixel_steps = (s.c + 3) / 4,
               .taps = s.kh * s.kw,
               .oh = s.h + 2 * s.top - (s.kh - 1) * s.dh,
               .ow = s.w + 2 * s.left - (s.kw - 1) * s.dw};
    z.steps = z.taps * z.pixel_steps;
    z.lanes = (z.oh - 1) * z.line + z.ow;
    z.plane_bytes = (s.h + 2 * s.top) * z.line + 2 * s.left + 2 * vector + random64() % 64;
    z.all = (z.pixel_steps + 1) * z.plane_bytes;
    return z;
}

static unsigned nibble(const uint64_t *pixel, size_t step) {
    return (unsigned)(pixel[step / 16] >> step % 16 * 4 & 15);
}

static unsigned odd_steps(const uint64_t *pixel, size_t steps) {
    unsigned odd = 0;
    for (size_t s = 0; s < steps; s++)
        odd += bc_popcount64(nibble(pixel, s)) % 2;
    return odd;
}

/* A pixel's bytes in all planes. */
static void lay(uint8_t *to, const sizes *z, const uint64_t *pixel) {
    for (size_t s = 0; s < z->pixel_steps; s++)
        to[s * z->plane_bytes] = (uint8_t)nibble(pixel, s);
    to[z->pixel_steps * z->plane_bytes] = (uint8_t)odd_steps(pixel, z->pixel_steps);
}

static void fill_pixels(uint64_t *to, size_t n, size_t c, fill how) {
    fill_words(to, n * bc_words(c), how);
    for (size_t i = 0; i < n && c % 64; i++)
        to[(i + 1) * bc_words(c) - 1] &= ((uint64_t)1 << c % 64) - 1;
}

static int64_t half_below(int64_t x) {
    return x >= 0 ? x / 2 : -((1 - x) / 2);
}

typedef struct operands {
    uint64_t *x, *pad, *w; /* w: [filter][tap] pixels */
    int32_t *pop;          /* [pixel][filter] */
    int32_t *limit;        /* [side][class][filter], of pop */
} operands;

static operands make_operands(shape s, const sizes *z) {
    const size_t filters = s.panels * 8;
    operands o = {.x = guarded(s.h * s.w * z->words * 8, 8),
                  .pad = guarded(z->words * 8, 8),
                  .w = guarded(filters * z->taps * z->words * 8, 8),
                  .pop = guarded(z->oh * z->ow * filters * 4, 4),
                  .limit = guarded(2 * 8 * filters * 4, 4)};
    fill_pixels(o.x, s.h * s.w, s.c, s.pixels);
    fill_pixels(o.w, filters * z->taps, s.c, s.weights);
    memset(o.pad, 0, z->words * 8);
    for (size_t c = 0; c < s.c && s.ones; c++)
        o.pad[c / 64] |= (uint64_t)1 << c % 64;
    for (size_t p = 0; p < z->oh * z->ow; p++)
        for (size_t f = 0; f < filters; f++) {
            int32_t sum = 0;
            for (size_t t = 0; t < z->taps; t++) { /* wraps before 0 */
                const size_t y = p / z->ow + t / s.kw * s.dh - s.top,
                             x = p % z->ow + t % s.kw * s.dw - s.left;
                const uint64_t *a = y < s.h && x < s.w ? o.x + (y * s.w + x) * z->words : o.pad,
                               *b = o.w + (f * z->taps + t) * z->words;
                for (size_t i = 0; i < z->words; i++)
                    sum += (int32_t)bc_popcount64(a[i] ^ b[i]);
            }
            o.pop[p * filters + f] = sum;
        }
    for (size_t i = 0; i < 16 * filters; i++) { /* beside the sums, and constants */
        const uint64_t r = random64();
        o.limit[i] = r % 17 == 0   ? INT32_MAX
                     : r % 17 == 1 ? -(1 << 24)
                                   : o.pop[random64() % (z->oh * z->ow) * filters + i % filters] +
                                         (int32_t)(r >> 32 & 3) - 2;
    }
    return o;
}

/* What the table has to be given: planes, checked, and everything of filters. */
static bc_plane_call make_call(const bc_kernels *k, shape s, const sizes *z, const operands *o) {
    const size_t filters = s.panels * 8;
    uint8_t *want = guarded(z->all, 1), *planes = guarded(z->all, 1),
            *pad_bytes = guarded(z->pixel_steps + 1, 1);
    for (size_t i = 0; i <= z->pixel_steps; i++)
        pad_bytes[i] =
            (uint8_t)(i < z->pixel_steps ? nibble(o->pad, i) : odd_steps(o->pad, z->pixel_steps));
    for (size_t i = 0; i < (s.h + 2 * s.top) * z->line + 2 * s.left; i++) {
        lay(want + i, z, o->pad);
        lay(planes + i, z, o->pad);
    }
    const size_t inside = s.top * z->line + s.left, cut = random64() % s.h;
    for (size_t i = 0; i < s.h * s.w; i++)
        lay(want + inside + i / s.w * z->line + i % s.w, z, o->x + i * z->words);
    const bc_plane_image image = {s.w,    z->line,  z->words, z->pixel_steps, z->plane_bytes,
                                  o->pad, pad_bytes};
    if (cut < s.h) /* the last rows first: what is written beyond them is not theirs */
        k->plane_rows(&image, s.h - cut, o->x + cut * s.w * z->words,
                      planes + inside + cut * z->line);
    if (cut)
        k->plane_rows(&image, cut, o->x, planes + inside);
    failures += differs(want, planes, z->all, k, "plane_rows " WHAT, SHAPE);

    uint32_t *tap_offset = guarded(z->taps * 4, 4), *offset = guarded(z->steps * 4, 4);
    for (size_t t = 0; t < z->taps; t++)
        tap_offset[t] = (uint32_t)(t / s.kw * s.dh * z->line + t % s.kw * s.dw);
    for (size_t i = 0; i < z->steps; i++)
        offset[i] =
            (uint32_t)(tap_offset[i / z->pixel_steps] + i % z->pixel_steps * z->plane_bytes);
    uint8_t (*tables)[16] = guarded(filters / 2 * z->steps * 16, 1);
    memset(tables, 0, filters / 2 * z->steps * 16);
    uint16_t *filter_odd = guarded(filters * 2, 2);
    for (size_t f = 0; f < filters; f++) {
        filter_odd[f] = 0;
        for (size_t i = 0; i < z->steps; i++) {
            const uint64_t *pixel = o->w + (f * z->taps + i / z->pixel_steps) * z->words;
            const unsigned u = nibble(pixel, i % z->pixel_steps), odd = bc_popcount64(u) % 2;
            filter_odd[f] = (uint16_t)(filter_odd[f] + odd);
            for (unsigned v = 0; v < 16; v++)
                tables[f / 2 * z->steps + i][v] |=
                    (uint8_t)((bc_popcount64(u ^ v) + odd - bc_popcount64(v) % 2) / 2 << f % 2 * 4);
        }
    }
    bc_plane_limit *limit = guarded(2 * filters * sizeof *limit, 1);
    const int64_t most = (int64_t)(2 * z->steps + z->steps / 2 + 1);
    for (size_t i = 0; i < 2 * filters * 16; i++) {
        const size_t row = i / 16, f = row % filters, class = i % 16;
        const int32_t above = o->limit[(row / filters * 8 + class / 2) * filters + f];
        int64_t least = half_below((int64_t)above + filter_odd[f] - (int64_t)(class % 2)) + 1;
        least = least < 0 ? 0 : least > most ? most : least;
        limit[row][0][class] = (uint8_t)(z->steps <= BC_PLANE_BYTE ? least ^ 128 : least & 255);
        limit[row][1][class] = (uint8_t)(least >> 8);
    }
    uint8_t *classes = guarded(z->lanes + 2 * k->plane_lanes, 1);
    for (size_t i = 0; i < z->lanes + 2 * k->plane_lanes; i++)
        classes[i] = (uint8_t)(random64() % 8 * 2);
    return (bc_plane_call){.lanes = z->lanes,
                           .width = z->ow,
                           .line = z->line,
                           .planes = planes,
                           .odd = planes + z->pixel_steps * z->plane_bytes,
                           .taps = z->taps,
                           .steps = z->steps,
                           .tap_offset = tap_offset,
                           .offset = offset,
                           .panels = s.panels,
                           .tables = (const uint8_t (*)[16])tables,
                           .filter_odd = filter_odd,
                           .classes = classes,
                           .limit = {limit, limit + filters},
                           .turn = random64() % (2 * z->lanes)};
}

/* The call from pixel `from` on. */
static void check_from(const bc_kernels *k, shape s, const sizes *z, const operands *o,
                       bc_plane_call call, size_t from) {
    const size_t filters = s.panels * 8, m = z->oh * z->ow - from,
                 lane = from / z->ow * z->line + from % z->ow;
    call.lanes -= lane;
    call.x = from % z->ow;
    call.planes += lane;
    call.odd += lane;
    call.classes += lane;
    call.ld = filters + random64() % 3;
    call.out_bytes = s.panels + random64() % 2 * (8 - s.panels % 8) % 8;
    call.out_stride = call.out_bytes + random64() % 3;
    const size_t sum_bytes = ((m - 1) * call.ld + filters) * 4,
                 bit_bytes = (m - 1) * call.out_stride + call.out_bytes;
    int32_t *want = guarded(sum_bytes, 4), *got = call.pop = guarded(sum_bytes, 4);
    uint8_t *want_bits = guarded(bit_bytes, 1), *bits = call.out = guarded(bit_bytes, 1);
    for (size_t i = 0; i < m; i++) {
        const size_t p = from + i, at = p / z->ow * z->line + p % z->ow - lane,
                     end = (at / k->plane_lanes + 1) * k->plane_lanes;
        uint8_t *row = want_bits + i * call.out_stride;
        memset(row, 0, call.out_bytes);
        for (size_t f = 0; f < filters; f++) {
            const int32_t
                pop = o->pop[p * filters + f],
                above = o->limit[((end > call.turn) * 8 + call.classes[at] / 2) * filters + f];
            want[i * call.ld + f] = pop;
            row[f / 8] = (uint8_t)(row[f / 8] | (pop > above) << f % 8);
        }
    }
    k->plane_pop(&call);
    k->plane_tau(&call);
    failures += differs(want, got, sum_bytes, k, "plane_pop " WHAT " from=%zu", SHAPE, from);
    failures += differs(want_bits, bits, bit_bytes, k, "plane_tau " WHAT " from=%zu", SHAPE, from);
}

static void check(const bc_kernels *k, shape s) {
    const sizes z = sizes_of(s, k->plane_lanes);
    const operands o = make_operands(s, &z);
    const bc_plane_call call = make_call(k, s, &z, &o);
    check_from(k, s, &z, &o, call, 0);
    check_from(k, s, &z, &o, call, random64() % (z.oh * z.ow));
    release_all();
}

int check_planes(void) {
    enum { CASES = 400, MOST_PRODUCTS = 3000 };
    int cases = 0;
    failures = 0;
    for (size_t t = 0; t < tables_count; t++)
        for (int i = 0; i < CASES && tables[t]->plane_lanes; i++) {
            shape s = {.h = 1 + random64() % 12,
                       .w = 1 + random64() % (i % 2 ? 20 : 150),
                       .c = 1 + random64() % (i % 3 ? 40 : 512),
                       .top = random64() % 3,
                       .left = random64() % 3,
                       .dh = 1 + random64() % 3,
                       .dw = 1 + random64() % 2,
                       .panels = 1 + random64() % (i % 5 ? 5 : 19),
                       .ones = random64() % 2,
                       .pixels = i % 4 ? FILL_RANDOM : random64() % FILLS,
                       .weights = i % 4 ? FILL_RANDOM : random64() % FILLS};
            s.kh = 1 + random64() % bc_min(3, (s.h + 2 * s.top - 1) / s.dh + 1);
            s.kw = 1 + s.left + random64() % 3; /* so that outputs are no wider than lines */
            s.kw = bc_min(s.kw, (s.w + 2 * s.left - 1) / s.dw + 1);
            if (s.left > (s.kw - 1) * s.dw || s.kh * s.kw * s.c > MOST_PRODUCTS)
                continue;
            check(tables[t], s);
            cases++;
        }
    printf("planes: %d cases\n", cases);
    return failures;
}
