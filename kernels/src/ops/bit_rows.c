/* bit_rows.c: binary convolutions whose channels do not fill words. A tap of 16 channels would take
 * a word of 64 bits; so the taps of one row of the kernel are put side by side, once for every row
 * of the input and every output column: 3 x 3 taps of 16 channels are 3 words then, not 9. To the
 * rest that copy is an image of its own, under a kernel one tap wide.
 *
 * a column:  | tap 0 | tap 1 | tap 2 | 0 .. |   a tap: group_in bits; all of it: `inner` words
 *
 * Groups that begin within a word of the input begin at a word there: without that, no kernel could
 * read them. */
#include "binary.h"

#include <string.h>

enum {
    COPY_GROWTH = 2,     /* times the width of the input that the copy may have at most */
    COPY_WORDS = 1 << 11 /* per task of the copy */
};

/* Parts of the run `bits` long from bit `at` on that no border of words cuts, at most. */
static size_t pieces(size_t bits) {
    return bc_words(bits) + 1;
}

void bc_bit_rows_choose(const bc_model *model, bc_node *node) {
    const bc_value *main = &model->values[node->input];
    bc_window *win = &node->window;
    bc_bit_rows *rows = &node->rows;
    const size_t words = bc_words(node->group_in), row_words = bc_words(win->kw * node->group_in);
    const size_t panels = (node->group_out + BC_PANEL_BINARY - 1) / BC_PANEL_BINARY;
    /* a word less per pixel saves a panel's product with it; a piece costs some shifts */
    const bool pays =
        win->kh * (win->kw * words - row_words) * panels > win->kw * pieces(node->group_in);
    if (pays && win->kw <= BC_MOST_PACKED_TAPS && win->ow <= COPY_GROWTH * win->w) {
        *rows = (bc_bit_rows){win->ow, win->kw, win->sw, win->dw, win->left, 0};
        *win = (bc_window){.h = win->h,
                           .w = win->ow,
                           .oh = win->oh,
                           .ow = win->ow,
                           .kh = win->kh,
                           .kw = 1,
                           .sh = win->sh,
                           .sw = 1,
                           .dh = win->dh,
                           .dw = 1,
                           .top = win->top,
                           .bottom = win->bottom};
    } else if (node->groups > 1 && node->group_in % 64) {
        *rows = (bc_bit_rows){main->w, 1, 1, 1, 0, 0};
    } else {
        return;
    }
    node->tap_bits = rows->taps * node->group_in;
    node->inner = bc_words(node->tap_bits);
    rows->words = node->groups * node->inner;
    node->pixel_bytes = rows->words * sizeof(uint64_t);
    node->prep_bytes = main->h * rows->columns * node->pixel_bytes;
}

/* `bits` bits of some pixels, from bit `shift` of one word to bit `to_shift` of another. */
typedef struct move {
    const uint64_t *from;
    uint64_t *to;
    size_t from_step, to_step; /* words to the next pixel */
    unsigned shift, to_shift, bits;
} move;

static void move_bits(const move *m, size_t count) {
    const uint64_t *restrict from = m->from, mask = ~(uint64_t)0 >> (64 - m->bits);
    uint64_t *restrict to = m->to;
    if (m->from_step == 1 && m->to_step == 1) { /* a loop that compilers vectorise */
        for (size_t x = 0; x < count; x++)
            to[x] |= (from[x] >> m->shift & mask) << m->to_shift;
        return;
    }
    for (size_t x = 0; x < count; x++)
        to[x * m->to_step] |= (from[x * m->from_step] >> m->shift & mask) << m->to_shift;
}

/* One tap of one group for all columns of a row: bits [from_bit, from_bit + group_in) of the
 * input's pixels to bits [to_bit, ...) of the copy's. */
static void pack_tap(const bc_node *node, size_t width, const uint64_t *from, size_t from_words,
                     uint64_t *to, size_t tap, size_t from_bit, size_t to_bit) {
    static const uint64_t ones = ~(uint64_t)0;
    const bc_bit_rows *rows = &node->rows;
    const size_t to_words = rows->words, at = tap * rows->dilation;
    /* columns whose tap lies inside: left <= column * stride + at < left + width */
    size_t first = at < rows->left ? (rows->left - at + rows->stride - 1) / rows->stride : 0,
           end = at < rows->left + width ? (rows->left + width - at - 1) / rows->stride + 1 : 0;
    end = bc_min(end, rows->columns);
    first = bc_min(first, end);
    const size_t x = first * rows->stride + at - rows->left; /* not used where first == end */
    for (size_t left = node->group_in, bits; left; left -= bits, from_bit += bits, to_bit += bits) {
        bits = bc_min(left, 64 - bc_max(from_bit % 64, to_bit % 64));
        move m = {.to = to + to_bit / 64,
                  .to_step = to_words,
                  .shift = (unsigned)(from_bit % 64),
                  .to_shift = (unsigned)(to_bit % 64),
                  .bits = (unsigned)bits};
        if (node->pad_value < 0) {
            m.from = &ones;
            m.shift = 0;
            move_bits(&m, first);
            m.to += end * to_words;
            move_bits(&m, rows->columns - end);
            m.to = to + to_bit / 64;
            m.shift = (unsigned)(from_bit % 64);
        }
        if (first == end)
            continue;
        m.from = from + x * from_words + from_bit / 64;
        m.from_step = from_words * rows->stride;
        m.to += first * to_words;
        move_bits(&m, end - first);
    }
}

/* Column x, some of whose taps lie outside. from: the row, or NULL: all its pixels are `inside`. */
static void pack_margin(const bc_kernels *kernels, const bc_node *node, size_t width, size_t x,
                        const uint64_t *from, uint64_t inside, uint64_t outside, uint64_t *to) {
    const bc_bit_rows *rows = &node->rows;
    uint64_t taps[BC_MOST_PACKED_TAPS];
    for (size_t t = 0; t < rows->taps; t++) {
        const size_t i = x * rows->stride + t * rows->dilation - rows->left; /* wraps before 0 */
        taps[t] = i >= width ? outside : from ? from[i] : inside;
    }
    kernels->pack_taps(1, rows->taps, node->group_in, 1, 1, taps, to);
}

/* Column x of rows [r, end): packed anew, or where it holds other pixels in place of padding,
 * mended. */
static void pack_margins(const bc_kernels *kernels, const bc_node *node, size_t width, size_t x,
                         size_t r, size_t end, bool packed, const uint64_t *from, uint64_t *to) {
    const uint64_t ones = ~(uint64_t)0 >> (64 - node->group_in),
                   outside = node->pad_value < 0 ? ones : 0;
    const size_t words = node->rows.words, step = node->rows.columns * words;
    to += r * step + x * words;
    if (!packed) {
        for (; r < end; r++, to += step)
            pack_margin(kernels, node, width, x, from + r * width, 0, outside, to);
        return;
    }
    uint64_t keep[BC_MOST_PACKED_WORDS] = {0}, fill[BC_MOST_PACKED_WORDS] = {0};
    pack_margin(kernels, node, width, x, NULL, ones, 0, keep);
    pack_margin(kernels, node, width, x, NULL, 0, outside, fill);
    for (; r < end; r++, to += step) {
        to[0] = (to[0] & keep[0]) | fill[0];
        if (words > 1)
            to[1] = (to[1] & keep[1]) | fill[1];
    }
}

/* The common case, pixels of one word to columns of BC_MOST_PACKED_WORDS or less, without the
 * general one's passes over memory: `height` rows. */
static void pack_words(const bc_kernels *kernels, const bc_node *node, size_t width, size_t height,
                       const uint64_t *from, uint64_t *to) {
    const bc_bit_rows *rows = &node->rows;
    const size_t stride = rows->stride, columns = rows->columns, words = rows->words,
                 end = rows->left + width, reach = (rows->taps - 1) * rows->dilation + 1;
    /* columns [first, last) see nothing outside */
    const size_t first = bc_min((rows->left + stride - 1) / stride, columns),
                 fit = end < reach ? 0 : (end - reach) / stride + 1,
                 last = bc_max(first, bc_min(fit, columns));
    /* where rows follow each other as columns do, all at once, but for the margins at both ends */
    const bool at_once = columns * stride == width && first < last;
    const size_t together = at_once ? height : 1;
    for (size_t r = 0; r < height && first < last; r += together)
        kernels->pack_taps((together - 1) * columns + last - first, rows->taps, node->group_in,
                           stride, rows->dilation, from + r * width + first * stride - rows->left,
                           to + (r * columns + first) * words);
    for (size_t x = 0; x < first; x++) {
        pack_margins(kernels, node, width, x, 0, 1, false, from, to);
        pack_margins(kernels, node, width, x, 1, height, at_once, from, to);
    }
    for (size_t x = last; x < columns; x++) {
        pack_margins(kernels, node, width, x, 0, height - 1, at_once, from, to);
        pack_margins(kernels, node, width, x, height - 1, height, false, from, to);
    }
}

typedef struct packing {
    const bc_run *run;
    const bc_node *node;
} packing;

static void pack_rows(const void *context, size_t first, size_t end) {
    const packing *p = context;
    const bc_node *node = p->node;
    const bc_value *main = &p->run->model->values[node->input];
    const size_t words = node->rows.columns * node->rows.words, from_words = main->pixel_bytes / 8;
    const uint64_t *from =
        (const uint64_t *)(const void *)p->run->values[node->input] + first * main->w * from_words;
    uint64_t *to = (uint64_t *)(void *)p->run->prep + first * words;
    if (from_words == 1 && node->groups == 1 && node->rows.words <= BC_MOST_PACKED_WORDS) {
        pack_words(p->run->kernels, node, main->w, end - first, from, to);
        return;
    }
    for (size_t r = first; r < end; r++, from += main->w * from_words, to += words) {
        memset(to, 0, words * sizeof *to);
        for (size_t g = 0; g < node->groups; g++)
            for (size_t t = 0; t < node->rows.taps; t++)
                pack_tap(node, main->w, from, from_words, to, t, g * node->group_in,
                         g * node->rows.words / node->groups * 64 + t * node->group_in);
    }
}

void bc_bit_rows_run(const bc_run *run, const bc_node *node) {
    const packing p = {run, node};
    bc_run_rows(run, run->n * run->model->values[node->input].h,
                node->rows.columns * node->rows.words, COPY_WORDS, pack_rows, &p);
}
