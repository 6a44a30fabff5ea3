/* plane_product.c: tasks of binary convolutions whose input is read as planes (bit_planes.c). */
#include "binary.h"

#include <string.h>

/* A byte per plane, `n` times from `to` on. */
static void fill_padding(const bc_plane_image *image, uint8_t *to, size_t n) {
    for (size_t s = 0; s <= image->steps && n; s++)
        memset(to + s * image->plane_bytes, image->pad_bytes[s], n);
}

typedef struct laying {
    const bc_run *run;
    const bc_node *node;
    const bc_planes *planes;
} laying;

/* Rows [first, end) of all samples' inputs. */
static void lay_rows(const void *context, size_t first, size_t end) {
    const laying *l = context;
    const bc_window *win = &l->node->image;
    const bc_plane_image *image = &l->planes->image;
    const size_t row_words = win->w * image->words;
    const uint64_t *from = (const uint64_t *)(const void *)l->run->values[l->node->input];
    for (size_t r = first, some; r < end; r += some) {
        const size_t sample = r / win->h, y = r % win->h;
        uint8_t *to = l->run->plane_memory + sample * l->planes->sample_bytes,
                *inside = to + win->top * image->line + win->left;
        some = bc_min(win->h - y, end - r);
        if (y == 0)
            fill_padding(image, to, (size_t)(inside - to));
        if (image->line == win->w) { /* one row, whose vectors are full */
            bc_plane_image row = *image;
            row.width = row.line = some * win->w;
            l->run->kernels->plane_rows(&row, 1, from + r * row_words, inside + y * win->w);
        } else {
            l->run->kernels->plane_rows(image, some, from + r * row_words,
                                        inside + y * image->line);
        }
        if (y + some == win->h)
            fill_padding(image, inside + win->h * image->line, win->bottom * image->line);
    }
}

void bc_planes_run(const bc_run *run, const bc_node *node) {
    enum { ROW_WORDS = 1 << 11 }; /* per task */
    const laying l = {run, node, bc_planes_find(run, node)};
    bc_run_rows(run, run->n * node->image.h, node->image.w * l.planes->image.words, ROW_WORDS,
                lay_rows, &l);
}

/* The task's pixels [p, p + m) of a sample. */
static void product(const bc_task *task, const bc_planes *planes, size_t p, size_t m) {
    const bc_node *node = task->node;
    const bc_plane_image *image = &planes->image;
    const size_t pixels = node->image.oh * node->image.ow, ow = node->image.ow, at = p % pixels,
                 last = at + m - 1, lane = at / ow * image->line + at % ow,
                 pair = task->panel0 * BC_PANEL_BINARY / 2;
    const uint8_t *sample = task->run->plane_memory + p / pixels * planes->sample_bytes;
    bc_plane_call call = {.lanes = last / ow * image->line + last % ow + 1 - lane,
                          .x = at % ow,
                          .width = ow,
                          .line = image->line,
                          .planes = sample + lane,
                          .odd = sample + image->steps * image->plane_bytes + lane,
                          .taps = planes->taps,
                          .steps = planes->steps,
                          .tap_offset = planes->tap_offset,
                          .offset = planes->offset,
                          .panels = task->panels,
                          .tables = planes->tables + pair * planes->steps,
                          .filter_odd = planes->filter_odd + 2 * pair,
                          .classes = planes->classes + lane,
                          .turn = planes->turn > lane ? planes->turn - lane : 0};
    if (!node->limit) {
        call.pop = task->acc + (p - task->p0) * task->ld;
        call.ld = task->ld;
        task->run->kernels->plane_pop(&call);
        return;
    }
    call.out = bc_task_bits(task, node->steps[0].value, &call.out_stride);
    call.out += (p - task->p0) * call.out_stride;
    call.out_bytes =
        task->panel0 + task->panels < node->panels ? task->panels : call.out_stride - task->panel0;
    for (int i = 0; i < 2; i++)
        call.limit[i] = (const bc_plane_limit *)planes->limit[i] + 2 * pair;
    task->run->kernels->plane_tau(&call);
}

size_t bc_planes_whole(const bc_task *task, size_t p, size_t m) {
    enum { VECTORS = 4 };
    const size_t ow = task->node->image.ow,
                 line = bc_planes_find(task->run, task->node)->image.line, x = p % ow,
                 end = x + VECTORS * task->run->kernels->plane_lanes;
    return bc_min(m, end / line * ow + bc_min(end % line, ow) - x);
}

void bc_planes_product(const bc_task *task) {
    const bc_planes *planes = bc_planes_find(task->run, task->node);
    const size_t pixels = task->node->image.oh * task->node->image.ow, end = task->p0 + task->m;
    for (size_t p = task->p0, m; p < end; p += m) {
        m = bc_min(pixels - p % pixels, end - p);
        product(task, planes, p, m);
    }
}
