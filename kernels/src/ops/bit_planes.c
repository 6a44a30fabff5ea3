/* bit_planes.c: binary convolutions whose input is read as planes (isa/planes.h), where the
 * session's kernels can and it is faster: few filters, and images that fill vectors. What is
 * constant is made when a session is opened, as another session may have other kernels. */
#include "binary.h"

#include <string.h>

enum {
    LEAST_FILLED = 75, /* per cent of the lanes that are outputs */
    LEAST_OF_ROW = 4,  /* a row of padded images fills at least that part of a vector */
    GROWTH = 4,        /* times the places of input and output that planes have at most */
    MOST_FILTERS = 48, /* they fill less than two vectors of the other kernels */
    MOST_STEPS = 512,  /* tables of a tile's filters are 16 KiB of the first cache then */
    MOST_COLUMN_CLASSES =
        4, /* times two of rows, times two of odd counts: what a vector looks up */
};

const bc_planes *bc_planes_find(const bc_run *run, const bc_node *node) {
    return run->planes ? run->planes[node - run->model->nodes] : NULL;
}

/* How many classes of rows there are: 0 is that of rows [0, first), 2 that of [last, oh), 1 that of
 * those between; what is not there begins at oh. */
static size_t class_rows(const bc_node *node, size_t *first, size_t *last) {
    const size_t oh = node->image.oh;
    *first = *last = oh;
    if (!node->row_class)
        return 1;
    for (size_t y = oh; y-- > 0;) {
        if (node->row_class[y] > 0)
            *first = y;
        if (node->row_class[y] == 2)
            *last = y;
    }
    return node->row_class[oh - 1] + 1;
}

/* Whether classes are few enough for plane_tau, and no vector has those of both first and last
 * rows. */
static bool classes_fit(const bc_node *node, size_t line, size_t lanes) {
    size_t first, last;
    const size_t rows = class_rows(node, &first, &last);
    return node->col_classes <= MOST_COLUMN_CLASSES &&
           (rows < 3 || (rows == 3 && (last - first) * line >= lanes));
}

static bool serves(const bc_run *run, const bc_node *node) {
    const bc_window *win = &node->image;
    const bc_value *main = &run->model->values[node->input];
    const size_t lanes = run->kernels->plane_lanes, line = win->w + bc_max(win->left, win->right),
                 planes = (node->group_in + 3) / 4 + 1;
    if (!lanes || bc_ops[node->op].op != &bc_op_binary_product ||
        bc_ops[node->op].kind == BC_KIND_DENSE || node->groups > 1 || win->sh > 1 || win->sw > 1 ||
        win->ow > line || node->filters > MOST_FILTERS ||
        win->kh * win->kw * (planes - 1) > MOST_STEPS ||
        main->pixel_bytes > BC_PLANE_WORDS * sizeof(uint64_t))
        return false;
    /* a file may ask for any padding; offsets have 32 bits */
    const uint64_t outputs = (uint64_t)win->oh * win->ow,
                   all = (uint64_t)(win->oh - 1) * line + win->ow + lanes - 1,
                   places = (uint64_t)(win->top + win->h + win->bottom) * line;
    return places <= GROWTH * ((uint64_t)win->h * win->w + outputs) &&
           places * planes < UINT32_MAX / 2 &&
           outputs * 100 >= all / lanes * lanes * LEAST_FILLED &&
           (line == win->w || win->w * LEAST_OF_ROW >= lanes) &&
           (!node->limit || classes_fit(node, line, lanes));
}

/* Takes `bytes` for *part, at a multiple of 64; base NULL: only counts. */
static void *take(char *base, size_t *at, size_t bytes) {
    void *part = base ? base + *at : NULL;
    *at += bc_round_up(bytes, 64);
    return part;
}

/* Sizes, and where everything lies behind base. Returns the bytes of all. */
static size_t lay_out(const bc_run *run, const bc_node *node, bc_planes *p, char *base) {
    const bc_window *win = &node->image;
    const bc_value *main = &run->model->values[node->input];
    const size_t lanes = run->kernels->plane_lanes, filters = node->panels * BC_PANEL_BINARY;
    bc_plane_image *image = &p->image;
    image->width = win->w;
    image->line = win->w + bc_max(win->left, win->right);
    image->words = main->pixel_bytes / sizeof(uint64_t);
    image->steps = (node->group_in + 3) / 4;
    /* what a tile reads past its end; planes not a page apart, which caches dislike */
    const size_t padded = (win->top + win->h + win->bottom) * image->line + win->left + win->right;
    image->plane_bytes = bc_round_up(padded + 2 * lanes, 64) | 64;
    p->sample_bytes = (image->steps + 1) * image->plane_bytes;
    p->lanes = (win->oh - 1) * image->line + win->ow;
    p->taps = win->kh * win->kw;
    p->steps = p->taps * image->steps;
    size_t at = bc_round_up(sizeof *p, 64);
    p->tap_offset = take(base, &at, p->taps * sizeof *p->tap_offset);
    p->offset = take(base, &at, p->steps * sizeof *p->offset);
    p->tables = take(base, &at, filters / 2 * p->steps * sizeof *p->tables);
    p->filter_odd = take(base, &at, filters * sizeof *p->filter_odd);
    p->classes = take(base, &at, node->limit ? p->lanes + 2 * lanes : 0);
    for (int i = 0; i < 2; i++)
        p->limit[i] = take(base, &at, node->limit ? filters * sizeof *p->limit[i] : 0);
    image->pad = p->pad = take(base, &at, main->pixel_bytes);
    image->pad_bytes = p->pad_bytes = take(base, &at, image->steps + 1);
    return at;
}

size_t bc_planes_bytes(const bc_run *run, const bc_node *node, size_t *sample_bytes) {
    bc_planes planes;
    if (!serves(run, node))
        return 0;
    const size_t bytes = lay_out(run, node, &planes, NULL);
    *sample_bytes = planes.sample_bytes;
    return bytes;
}

/* Bits [k, k + n) of a filter, n <= 4, which are channels of one tap, in the panels of this node.
 */
static unsigned weight_bits(const bc_node *node, size_t filter, size_t k, size_t n) {
    const uint64_t *panel = (const uint64_t *)(const void *)((const char *)node->weights +
                                                             filter / 8 * node->panel_bytes);
    const size_t c = k % node->tap_bits, at = c % 64,
                 word = k / node->tap_bits * bc_words(node->tap_bits) + c / 64;
    uint64_t bits = panel[word * 8 + filter % 8] >> at;
    if (at + n > 64)
        bits |= panel[(word + 1) * 8 + filter % 8] << (64 - at);
    return (unsigned)(bits & ((1u << n) - 1));
}

static unsigned odd(unsigned bits) {
    return bc_popcount64(bits) % 2;
}

static void make_weights(const bc_node *node, bc_planes *p) {
    uint8_t half[16][16]; /* of what the odd counts of u and v leave of popcount */
    for (unsigned u = 0; u < 16; u++)
        for (unsigned v = 0; v < 16; v++)
            half[u][v] = (uint8_t)((bc_popcount64(u ^ v) + odd(u) - odd(v)) / 2);
    for (size_t f = 0; f < node->panels * BC_PANEL_BINARY; f++)
        for (size_t s = 0; s < p->steps; s++) {
            const size_t tap = s / p->image.steps, c = s % p->image.steps * 4;
            const unsigned u =
                weight_bits(node, f, tap * node->group_in + c, bc_min(4, node->group_in - c));
            uint8_t *table = p->tables[f / 2 * p->steps + s];
            for (size_t v = 0; v < 16; v++)
                table[v] = (uint8_t)(table[v] | half[u][v] << f % 2 * 4);
            p->filter_odd[f] = (uint16_t)(p->filter_odd[f] + odd(u));
        }
}

/* Limits as bc_plane_call tells; classes 2 c of pixels of odd % 2. */
static void make_limits(const bc_node *node, bc_planes *p) {
    const int64_t most = (int64_t)(2 * p->steps + p->steps / 2 + 1); /* no sum reaches it */
    size_t first, last;
    const size_t rows = class_rows(node, &first, &last);
    for (size_t side = 0; side < 2; side++)
        for (size_t f = 0; f < node->panels * BC_PANEL_BINARY; f++)
            for (size_t i = 0; i < 4 * node->col_classes; i++) {
                const size_t row = i / (2 * node->col_classes), parity = i % 2,
                             real = row == 0 && side == 1 && rows == 3 ? 2 : bc_min(row, rows - 1),
                             class = real * node->col_classes + i / 2 % node->col_classes;
                const int64_t above = (int64_t)node->limit[class * node->limit_stride + f] +
                                      p->filter_odd[f] - (int64_t)parity,
                              half = above >= 0 ? above / 2 : -((1 - above) / 2),
                              limit = half + 1 < 0      ? 0
                                      : half + 1 > most ? most
                                                        : half + 1;
                p->limit[side][f][0][i] =
                    (uint8_t)(p->steps <= BC_PLANE_BYTE ? limit ^ 128 : limit);
                p->limit[side][f][1][i] = (uint8_t)(limit >> 8);
            }
    p->turn = last < node->image.oh ? last * p->image.line : SIZE_MAX / 2;
}

void bc_planes_make(const bc_run *run, const bc_node *node, char *to) {
    const bc_window *win = &node->image;
    bc_planes *p = (bc_planes *)(void *)to;
    lay_out(run, node, p, to);
    const bc_plane_image *image = &p->image;
    for (size_t t = 0; t < p->taps; t++)
        p->tap_offset[t] = (uint32_t)(t / win->kw * win->dh * image->line + t % win->kw * win->dw);
    for (size_t s = 0; s < p->steps; s++)
        p->offset[s] =
            (uint32_t)(p->tap_offset[s / image->steps] + s % image->steps * image->plane_bytes);
    for (size_t c = 0; c < node->group_in && node->pad_value < 0; c++)
        p->pad[c / 64] |= (uint64_t)1 << c % 64;
    for (size_t s = 0; s < image->steps; s++) {
        p->pad_bytes[s] = (uint8_t)(p->pad[s / 16] >> s % 16 * 4 & 15);
        p->pad_bytes[image->steps] = (uint8_t)(p->pad_bytes[image->steps] + odd(p->pad_bytes[s]));
    }
    make_weights(node, p);
    if (!node->limit)
        return;
    make_limits(node, p);
    for (size_t lane = 0; lane < p->lanes && node->row_class; lane++) {
        const size_t y = lane / image->line, x = bc_min(lane % image->line, win->ow - 1);
        const size_t row = node->row_class[y] == 1;
        p->classes[lane] = (uint8_t)(2 * (row * node->col_classes + node->col_class[x]));
    }
}
