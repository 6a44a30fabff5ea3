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
    node->margin_bytes = (size_t)copied * node->pixel_bytes;
    node->prep_bytes = win->h * node->margin_bytes;
    win->kw = 1;
    win->left = win->right = 0;
}

typedef struct copying {
    const bc_run *run;
    const bc_node *node;
} copying;

/* A call of memcpy per pixel of one word would be 1 % of the time at 56x56x64. */
static inline void copy_pixel(char *to, const char *from, size_t bytes) {
    if (bytes == sizeof(uint64_t))
        memcpy(to, from, sizeof(uint64_t));
    else
        memcpy(to, from, bytes);
}

static void copy_rows(const void *context, size_t first, size_t end) {
    const copying *c = context;
    const bc_node *node = c->node;
    const bc_window *win = &node->window;
    const size_t bytes = node->pixel_bytes, columns = margin_columns(node);
    for (size_t r = first; r < end; r++) {
        const char *from = c->run->values[node->input] + r * win->w * bytes;
        char *to = c->run->prep + r * node->margin_bytes;
        for (size_t i = 0; i < columns; i++) {
            const size_t ow =
                i < node->inside_first ? i : i + node->inside_end - node->inside_first;
            for (size_t j = 0; j < node->joined; j++, to += bytes) {
                const size_t x = ow * win->sw + j - node->inside_left; /* wraps around before 0 */
                copy_pixel(to, x < win->w ? from + x * bytes : (const char *)node->pad, bytes);
            }
        }
    }
}

void bc_bit_margins_run(const bc_run *run, const bc_node *node) {
    const copying c = {run, node};
    bc_run_rows(run, run->n * node->window.h, margin_columns(node) * node->joined, COPY_PIXELS,
                copy_rows, &c);
}

/* Where a tap points, from the first column on: to address + column * step. */
typedef struct line {
    uintptr_t address, step;
} line;

/* Pointers of `count` columns from `column` on. */
static inline void write_pointers(size_t taps, const line *lines, size_t column, size_t count,
                                  const void **out) {
    if (taps != 3 || count < 4) {
        for (size_t i = column; i < column + count; i++)
            for (size_t t = 0; t < taps; t++)
                *out++ = (const void *)(lines[t].address + i * lines[t].step);
        return;
    }
    /* The usual kernel; by two pixels, which are whole vectors of pointers. */
    uintptr_t two[6], by[6];
    for (size_t j = 0; j < 6; j++) {
        by[j] = 2 * lines[j % 3].step;
        two[j] = lines[j % 3].address + (column + j / 3) * lines[j % 3].step;
    }
    for (; count >= 2; count -= 2, out += 6)
        for (size_t j = 0; j < 6; j++) {
            out[j] = (const void *)two[j];
            two[j] += by[j];
        }
    for (size_t j = 0; j < 3 * count; j++)
        out[j] = (const void *)two[j];
}

/* Pixels [ow, end) of one output row. */
static inline void row_pointers(const bc_run *run, const bc_node *node, size_t taps, size_t sample,
                                size_t oh, size_t ow, size_t end, const void **out) {
    const bc_window *win = &node->window;
    const size_t bytes = node->pixel_bytes, first = node->inside_first, past = node->inside_end,
                 margin = node->joined * bytes;
    const uintptr_t pad = (uintptr_t)node->pad, prep = (uintptr_t)run->prep,
                    source = node->rows.columns ? prep : (uintptr_t)run->values[node->input];
    line inside[MOST_TAPS], left[MOST_TAPS], right[MOST_TAPS];
    for (size_t t = 0; t < taps; t++) {
        const size_t y = oh * win->sh + t * win->dh - win->top; /* wraps around above it */
        if (y >= win->h) {
            inside[t] = left[t] = right[t] = (line){pad, 0};
            continue;
        }
        const size_t r = sample * win->h + y;
        inside[t] = (line){source + (r * win->w - node->inside_left) * bytes, win->sw * bytes};
        left[t] = (line){prep + r * node->margin_bytes, margin};
        right[t] = (line){left[t].address + (first - past) * margin, margin};
    }
    if (ow < first) {
        const size_t n = bc_min(first, end) - ow;
        write_pointers(taps, left, ow, n, out);
        ow += n, out += n * taps;
    }
    if (ow < bc_min(past, end)) {
        const size_t n = bc_min(past, end) - ow;
        write_pointers(taps, inside, ow, n, out);
        ow += n, out += n * taps;
    }
    if (ow < end)
        write_pointers(taps, right, ow, end - ow, out);
}

void bc_bit_pointers(const bc_run *run, const bc_node *node, size_t p0, size_t m,
                     const void **pointers) {
    const bc_window *win = &node->window;
    size_t ow = p0 % win->ow, oh = p0 / win->ow % win->oh, sample = p0 / (win->ow * win->oh);
    for (size_t end; m; m -= end - ow, pointers += (end - ow) * node->taps, ow = 0) {
        end = bc_min(win->ow, ow + m);
        if (node->taps == 3)
            row_pointers(run, node, 3, sample, oh, ow, end, pointers);
        else
            row_pointers(run, node, node->taps, sample, oh, ow, end, pointers);
        if (++oh == win->oh) {
            oh = 0;
            sample++;
        }
    }
}
