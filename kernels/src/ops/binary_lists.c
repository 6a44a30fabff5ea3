/* binary_lists.c: lists that the tasks of a binary convolution share. Inside the image, what an
 * output row sees is what the row above it sees, a stride further on in memory, and so are the
 * margins that are copied. So the pointers of the first rows are made once, with the constants of
 * the same pixels, when the session is opened, as its memory stays where it is; and a task takes
 * its own out of them and tells the kernel how many words to skip. Writing them anew for every task
 * is 3 % of the time at 56x56x64, and for every run 1 %. Of a small image, all pixels are listed,
 * for the first sample. */
#include "binary.h"

enum { WHOLE_PIXELS = 512 }; /* of an image that is listed whole */

/* Output rows [first, end) have all their taps inside, as far as rows go. */
static void inside_rows(const bc_window *win, size_t *first, size_t *end) {
    const size_t reach = (win->kh - 1) * win->dh + 1, padded = win->top + win->h;
    *first = bc_min((win->top + win->sh - 1) / win->sh, win->oh);
    *end = padded < reach ? 0 : bc_min((padded - reach) / win->sh + 1, win->oh);
}

static void list_pixels(bc_model *model, bc_node *node, size_t pixels) {
    node->listed = pixels;
    node->list_bytes = bc_round_up(pixels * (node->taps + 1) * sizeof(void *), 64);
    node->list_at = model->list_bytes;
    model->list_bytes += node->list_bytes;
}

void bc_lists_choose(bc_model *model, bc_node *node) {
    const bc_window *win = &node->window;
    size_t first, end;
    inside_rows(win, &first, &end);
    /* a whole task from any column of the first row inside */
    const size_t pixels = (first + 1) * win->ow + node->chunk, line = win->w * node->pixel_bytes,
                 image = win->oh * win->ow;
    if (!node->joined || node->groups > 1)
        return;
    if (pixels > end * win->ow || pixels > image / 2 || node->margin_bytes > line) {
        if (image <= WHOLE_PIXELS)
            list_pixels(model, node, image);
        return;
    }
    list_pixels(model, node, pixels);
    if (node->margin_bytes) { /* they move with the rows of the input */
        node->margin_bytes = line;
        node->prep_bytes = win->h * line;
    }
}

/* The task of all pixels that are listed. */
static bc_task listed_task(const bc_run *run, const bc_node *node) {
    char *memory = run->lists + node->list_at;
    return (bc_task){.run = run,
                     .node = node,
                     .m = node->listed,
                     .panels = node->panels,
                     .pointers = (const void **)(void *)memory,
                     .pixel = (const int32_t **)(void *)memory + node->listed * node->taps};
}

static void make(const bc_task *task) {
    const bc_node *node = task->node;
    const void *source = node->prep_bytes ? task->run->prep : task->run->values[node->input];
    if (node->joined)
        bc_bit_pointers(task->run, node, task->p0, task->m, task->pointers);
    else
        bc_window_pointers(node, source, task->p0, task->m, task->pointers);
    if (node->limit)
        bc_border_rows(task, node->limit + task->panel0 * BC_PANEL_BINARY, node->limit_stride);
    else
        bc_border_rows(task, node->base + task->c0, node->filters);
}

void bc_lists_make(const bc_run *run, const bc_node *node) {
    if (!node->listed)
        return;
    const bc_task all = listed_task(run, node);
    make(&all);
}

size_t bc_lists_find(bc_task *task) {
    const bc_node *node = task->node;
    const bc_window *win = &node->window;
    const size_t image = win->oh * win->ow, sample = task->p0 / image, at = task->p0 % image,
                 row = at / win->ow;
    const bool whole = node->listed == image;
    size_t first, end;
    inside_rows(win, &first, &end);
    /* rows above the first one, and below the last, point to padding, which does not move */
    if (!node->listed || task->panels != node->panels ||
        (whole ? sample || at + task->m > image
               : at + task->m > end * win->ow || (row < first && sample))) {
        make(task);
        return 0;
    }
    const size_t rows_down = whole || row < first ? 0 : row - first,
                 from = at - rows_down * win->ow;
    const bc_task all = listed_task(task->run, node);
    task->pointers = all.pointers + from * node->taps;
    task->pixel = all.pixel + from;
    return (sample * win->h + rows_down * win->sh) * win->w * node->pixel_bytes / sizeof(uint64_t);
}
