/* pool.c: max_pool (floats or bits), avg_pool and act_scale, XNOR-Net's map of input magnitudes. */
#include "../session.h"

#include <math.h>

enum { MEAN_PIXELS = 256 }; /* per task */

/* Padding that no maximum takes: -infinity; for bits 1 where AND is taken, 0 where OR is. */
static bc_status prepare_max(bc_model *model, bc_node *node, bc_error *error) {
    const bc_value *main = &model->values[node->input];
    node->pixel_bytes = main->pixel_bytes;
    void *pad = bc_model_alloc(model, node->pixel_bytes, 1, error);
    uint64_t *mask = pad ? bc_model_alloc(model, bc_words(main->c), sizeof *mask, error) : NULL;
    if (!mask)
        return error->code;
    for (size_t c = 0; c < main->c; c++) {
        bool take_or = node->or_mask_bytes && node->or_mask_bytes[c / 8] >> c % 8 & 1;
        if (main->dtype == BC_F32)
            ((float *)pad)[c] = -INFINITY;
        else if (take_or)
            mask[c / 64] |= (uint64_t)1 << c % 64;
        else
            ((uint64_t *)pad)[c / 64] |= (uint64_t)1 << c % 64;
    }
    node->pad = pad;
    node->or_mask = mask;
    node->direct = -1;
    if (main->dtype == BC_F32)
        bc_node_direct(node, true);
    return bc_window_prepare(model, node, error);
}

void bc_max_pool_task(const bc_task *task) {
    const bc_node *node = task->node;
    const bc_kernels *k = task->run->kernels;
    bc_window_pointers(node, task->run->values[node->input], task->p0, task->m, task->pointers);
    if (task->run->model->values[node->input].dtype == BC_F32) {
        k->max_pool(task->m, node->c, node->taps, (const float *const *)(void *)task->pointers,
                    task->rows, task->ld);
        bc_epilogue(task);
        return;
    }
    size_t stride;
    uint8_t *bits = bc_task_bits(task, node->steps[0].value, &stride);
    k->bit_pool(task->m, stride / 8, node->taps, (const uint64_t *const *)(void *)task->pointers,
                node->or_mask, (uint64_t *)(void *)bits);
}

static bc_status prepare_avg(bc_model *model, bc_node *node, bc_error *error) {
    node->pixel_bytes = model->values[node->input].pixel_bytes;
    node->pad = bc_model_alloc(model, node->pixel_bytes, 1, error);
    if (!node->pad)
        return error->code;
    node->uses_acc = true; /* for the divisors */
    bc_node_direct(node, true);
    return bc_window_prepare(model, node, error);
}

static void avg_task(const bc_task *task) {
    const bc_node *node = task->node;
    const bc_window *win = &node->window;
    float *divisor = (float *)(void *)task->acc;
    bc_window_pointers(node, task->run->values[node->input], task->p0, task->m, task->pointers);
    for (size_t p = 0; p < task->m; p++) {
        size_t at = task->p0 + p, first, high = win->kh, wide = win->kw;
        if (!node->count_include_pad) {
            bc_window_inside(at / win->ow % win->oh, win->h, win->top, win->kh, 1, win->sh, &first,
                             &high);
            bc_window_inside(at % win->ow, win->w, win->left, win->kw, 1, win->sw, &first, &wide);
        }
        divisor[p] = (float)(high * wide);
    }
    task->run->kernels->avg_pool(task->m, node->c, node->taps,
                                 (const float *const *)(void *)task->pointers, divisor, task->rows,
                                 task->ld);
    bc_epilogue(task);
}

/* The mean over channels goes to a map of one float per pixel, which the window then looks at. */
static bc_status prepare_scale(bc_model *model, bc_node *node, bc_error *error) {
    node->pixel_bytes = sizeof(float);
    node->prep_bytes = model->values[node->input].pixels * sizeof(float);
    node->pad = bc_model_alloc(model, 1, sizeof(float), error);
    if (!node->pad)
        return error->code;
    bc_node_direct(node, true);
    return bc_window_prepare(model, node, error);
}

typedef struct means {
    const bc_run *run;
    const bc_node *node;
} means;

static void mean_pixels(const void *context, size_t item, size_t thread) {
    const bc_run *run = ((const means *)context)->run;
    const bc_node *node = ((const means *)context)->node;
    const bc_value *main = &run->model->values[node->input];
    size_t first = item * MEAN_PIXELS, end = bc_min(first + MEAN_PIXELS, run->n * main->pixels);
    (void)thread;
    run->kernels->abs_mean(end - first, main->c,
                           (const float *)(void *)run->values[node->input] + first * main->c,
                           main->c, 1.0f / (float)main->c, (float *)(void *)run->prep + first);
}

static void scale_task(const bc_task *task) {
    const bc_node *node = task->node;
    const float *const *a = (const float *const *)(void *)task->pointers;
    const float inv = 1.0f / (float)node->taps;
    bc_window_pointers(node, task->run->prep, task->p0, task->m, task->pointers);
    for (size_t p = 0; p < task->m; p++) {
        float sum = 0;
        for (size_t t = 0; t < node->taps; t++)
            sum += *a[p * node->taps + t];
        task->rows[p * task->ld] = sum * inv;
    }
    bc_epilogue(task);
}

static void run_max(const bc_run *run, const bc_node *node) {
    if (!bc_is_pooled(run, node))
        bc_run_tasks(run, node, 1, bc_max_pool_task);
}

static void run_avg(const bc_run *run, const bc_node *node) {
    bc_run_tasks(run, node, 1, avg_task);
}

static void run_scale(const bc_run *run, const bc_node *node) {
    means m = {run, node};
    size_t pixels = run->n * run->model->values[node->input].pixels;
    bc_parallel(run->threads, (pixels + MEAN_PIXELS - 1) / MEAN_PIXELS, mean_pixels, &m);
    bc_run_tasks(run, node, 1, scale_task);
}

const bc_op bc_op_max_pool = {prepare_max, run_max};
const bc_op bc_op_avg_pool = {prepare_avg, run_avg};
const bc_op bc_op_act_scale = {prepare_scale, run_scale};
