/* bit_margins.c: binary convolutions whose channels fill words well enough. The taps of one kernel
 * row lie side by side in memory, so the row can be *one* tap of kw pixels: a third of the pointers
 * under a 3 x 3 window, to be found and to be read. At the left and right margins some of these
 * pixels are padding; so what the window sees there is copied, with the padding, once for every row
 * of the input:
 *
 *     margins of a row:    | column 0: kw pixels | .. | column ow - 1: kw pixels |
 *
 * All other columns point into the input itself. */
#include "binary.h"

#include <string.h>

enum {
    MOST_TAPS = 16,       /* of which bc_bit_pointers finds the rows */
    COPY_GROWTH = 4,      /* times the input that the margins may have at most */
    COPY_PIXELS = 1 << 10 /* per task of the copy */
};

static size_t margin_columns(const bc_node *node) {
    return node->window.ow - (node->inside_end - node->inside_first);
}

void bc_bit_margins_choose(bc_node *node) {
    bc_window *win = &node->window;
    size_t first, end;
    if (win->kw == 1 && !win->left && !win->right &&
        win->kh <= MOST_TAPS) { /* is one tap already */
        node->joined = 1;
        node->inside_end = win->ow;
        return;
    }
    if (node->prep_bytes || node->groups > 1 || win->kw == 1 || win->dw > 1 || win->kh > MOST_TAPS)
        return;
    bc_window_inside_columns(win, &first, &end);
    const uint64_t copied = (uint64_t)(win->ow - (end - first)) * win->kw;
    if (copied > COPY_GROWTH * (uint64_t)win->w)
        return;
    node->inside_first = first;
    node->inside_end = end;
    node->joined = win->kw;
    node->inside_left = win->left;
    node->inner *= win->kw;
    node->prep_bytes = win->h * (size_t)copied * node->pixel_bytes;
    win->kw = 1;
    win->left = win->right = 0;
}

typedef struct copying {
    const bc_run *run;
    const bc_node *node;
    size_t rows, rows_per_item;
} copying;

static void copy_rows(const void *context, size_t item, size_t thread) {
    const copying *c = context;
    const bc_node *node = c->node;
    const bc_window *win = &node->window;
    const size_t bytes = node->pixel_bytes, columns = margin_columns(node),
                 end = bc_min((item + 1) * c->rows_per_item, c->rows);
    (void)thread;
    for (size_t r = item * c->rows_per_item; r < end; r++) {
        const char *from = c->run->values[node->input] + r * win->w * bytes;
        char *to = c->run->prep + r * columns * node->joined * bytes;
        for (size_t i = 0; i < columns; i++) {
            const size_t ow =
                i < node->inside_first ? i : i + node->inside_end - node->inside_first;
            for (size_t j = 0; j < node->joined; j++, to += bytes) {
                const size_t x = ow * win->sw + j - node->inside_left; /* wraps around before 0 */
                memcpy(to, x < win->w ? from + x * bytes : node->pad, bytes);
            }
        }
    }
}

void bc_bit_margins_run(const bc_run *run, const bc_node *node) {
    copying c = {run, node, run->n * node->window.h, 0};
    const size_t pixels = margin_columns(node) * node->joined;
    c.rows_per_item = COPY_PIXELS / bc_min(COPY_PIXELS, pixels);
    bc_parallel(run->threads, (c.rows + c.rows_per_item - 1) / c.rows_per_item, copy_rows, &c);
}

/* Pointers of `count` pixels in a row: pixel i has at[t] + i * step[t] under tap t. */
static void write_pointers(size_t taps, size_t count, const char *const *at, const size_t *step,
                           const void **out) {
    if (taps != 3) {
        for (size_t i = 0; i < count; i++)
            for (size_t t = 0; t < taps; t++)
                *out++ = at[t] + i * step[t];
        return;
    }
    /* The usual kernel; by two pixels, which are whole vectors of pointers. */
    uintptr_t two[6], by[6];
    for (size_t j = 0; j < 6; j++) {
        by[j] = 2 * step[j % 3];
        two[j] = (uintptr_t)at[j % 3] + j / 3 * step[j % 3];
    }
    for (; count >= 2; count -= 2, out += 6)
        for (size_t j = 0; j < 6; j++) {
            out[j] = (const void *)two[j];
            two[j] += by[j];
        }
    for (size_t j = 0; j < 3 * count; j++)
        out[j] = (const void *)two[j];
}

void bc_bit_pointers(const bc_run *run, const bc_node *node, size_t p0, size_t m,
                     const void **pointers) {
    const bc_window *win = &node->window;
    const size_t taps = node->taps, bytes = node->pixel_bytes, columns = margin_columns(node);
    const bool copied = node->rows.columns > 0;
    size_t ow = p0 % win->ow, oh = p0 / win->ow % win->oh, sample = p0 / (win->ow * win->oh);
    for (size_t n; m; m -= n, pointers += n * taps) {
        const bool inside = ow >= node->inside_first && ow < node->inside_end;
        n = inside ? bc_min(m, node->inside_end - ow) : 1;
        const char *source = copied || !inside ? run->prep : run->values[node->input];
        size_t row = win->w * bytes, column = (ow * win->sw - node->inside_left) * bytes;
        if (!inside) {
            const size_t i =
                ow < node->inside_first ? ow : ow - node->inside_end + node->inside_first;
            row = columns * node->joined * bytes;
            column = i * node->joined * bytes;
        }
        const char *at[MOST_TAPS];
        size_t step[MOST_TAPS];
        for (size_t t = 0; t < taps; t++) {
            const size_t y = oh * win->sh + t * win->dh - win->top; /* wraps around above it */
            at[t] = y < win->h ? source + (sample * win->h + y) * row + column : node->pad;
            step[t] = y < win->h ? win->sw * bytes : 0;
        }
        write_pointers(taps, n, at, step, pointers);
        ow += n;
        if (ow < win->ow)
            continue;
        ow = 0;
        if (++oh < win->oh)
            continue;
        oh = 0;
        sample++;
    }
}
