/* row_taps.c: convolutions of few channels. The taps of one kernel row lie side by side in memory,
 * so the row can be *one* tap of kw * C elements: kh pointers per pixel instead of kh * kw, and
 * inner loops that are long enough to be fast. What lies outside must really be zero then: such a
 * node reads a copy of its input with the padding around it. The order of additions stays. */
#include "../session.h"

#include <string.h>

enum {
    COPY_GROWTH = 2, /* times the height and the width that the padded copy may have at most */
    COPY_ELEMENTS = 1 << 14 /* per task of the copy */
};

void bc_row_taps(bc_node *node, size_t most_channels) {
    bc_window *win = &node->window;
    const uint64_t h = (uint64_t)win->top + win->h + win->bottom,
                   w = (uint64_t)win->left + win->w + win->right;
    if (node->groups > 1 || node->group_in > most_channels || win->kw == 1 || win->dw > 1 ||
        h > COPY_GROWTH * (uint64_t)win->h || w > COPY_GROWTH * (uint64_t)win->w)
        return;
    node->copy = (bc_copy){(size_t)h, (size_t)w, win->top, win->left, node->pixel_bytes};
    node->inner *= win->kw;
    *win = (bc_window){.h = node->copy.h,
                       .w = node->copy.w,
                       .oh = win->oh,
                       .ow = win->ow,
                       .kh = win->kh,
                       .kw = 1,
                       .sh = win->sh,
                       .sw = win->sw,
                       .dh = win->dh,
                       .dw = 1};
}

typedef struct copying {
    const bc_run *run;
    const bc_node *node;
    bc_convert *convert;
} copying;

char *bc_copy_row(const bc_run *run, const bc_node *node, size_t unit, size_t r, size_t *of) {
    const bc_copy *copy = &node->copy;
    const bc_value *main = &run->model->values[node->input];
    const size_t pixel = copy->pixel_bytes * unit, row = copy->w * pixel, left = copy->left * pixel,
                 inside = main->w * pixel;
    const size_t y = r % copy->h - copy->top; /* wraps around above the image */
    char *to = run->prep + r * row;
    if (y >= main->h) {
        memset(to, 0, row);
        return NULL;
    }
    memset(to, 0, left);
    memset(to + left + inside, 0, row - left - inside);
    *of = r / copy->h * main->h + y;
    return to + left;
}

static void copy_rows(const void *context, size_t first, size_t end) {
    const copying *c = context;
    const bc_value *main = &c->run->model->values[c->node->input];
    const char *from = c->run->values[c->node->input];
    for (size_t r = first; r < end; r++) {
        size_t row;
        char *to = bc_copy_row(c->run, c->node, 1, r, &row);
        if (to)
            c->convert(c->node, from + row * main->w * main->pixel_bytes, to,
                       (size_t)main->w * main->c);
    }
}

void bc_copy_input(const bc_run *run, const bc_node *node, bc_convert *convert) {
    const bc_value *main = &run->model->values[node->input];
    const copying c = {run, node, convert};
    bc_run_rows(run, run->n * node->copy.h, (size_t)main->w * main->c, COPY_ELEMENTS, copy_rows,
                &c);
}
