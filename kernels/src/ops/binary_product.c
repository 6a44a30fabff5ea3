/* binary_product.c: binary_conv2d, binary_dense: bits times bits by xor and popcount, exact to the
 * border.
 *
 *  1. pop = popcount(a ^ w) over K = taps * channels bits; a padding pixel is all 0 bits (+1), or,
 *     where padding counts as -1, all 1 bits
 *  2. acc = K - 2 pop                                     if padding counts as +1 or -1
 *  3. acc = K - 2 pop - sum of w under the outside taps   if it counts as 0: those taps gave +w
 *         = base - 2 pop; base depends on the filter and on which taps are outside: the border
 *     class of the pixel
 *  4. acc < tau  <=>  pop > (base - tau) / 2  <=>  pop > floor((base - tau) / 2) = limit
 */
#include "../session.h"

#include <string.h>

enum { GATHER_PIXELS = 256 }; /* per task */

/* Channels of a group that do not begin at a word are copied to words of their own. */
static bool must_gather(const bc_node *node) {
    return node->groups > 1 && node->group_in % 64;
}

/* Numbers runs of output indices whose window has the same part inside. */
static uint32_t *axis_classes(bc_model *model, const bc_window *win, bool rows, size_t *count,
                              bc_error *error) {
    size_t size = rows ? win->oh : win->ow, before_first = 0, before_count = 0;
    uint32_t *classes = bc_model_alloc(model, size, sizeof *classes, error);
    *count = 0;
    for (size_t o = 0; classes && o < size; o++) {
        size_t first, inside;
        if (rows)
            bc_window_inside(o, win->h, win->top, win->kh, win->dh, win->sh, &first, &inside);
        else
            bc_window_inside(o, win->w, win->left, win->kw, win->dw, win->sw, &first, &inside);
        if (o == 0 || first != before_first || inside != before_count)
            ++*count;
        before_first = first;
        before_count = inside;
        classes[o] = (uint32_t)(*count - 1);
    }
    return classes;
}

/* sums[i][j], (kh + 1) x (kw + 1): the filter's weights under taps of rows < i and columns < j. */
static void tap_sums(const bc_node *node, size_t filter, int32_t *sums) {
    const size_t kw = node->window.kw, line = kw + 1;
    for (size_t t = 0; t < node->window.kh * kw; t++) {
        int32_t sum = (int32_t)node->group_in;
        for (size_t c = 0; c < node->group_in; c++)
            sum -= 2 * bc_weight_bit(node, filter, t * node->group_in + c);
        int32_t *at = sums + (t / kw + 1) * line + t % kw + 1;
        *at = sum + at[-1] + at[-(ptrdiff_t)line] - at[-(ptrdiff_t)line - 1];
    }
}

static int32_t rectangle(const bc_window *win, const int32_t *sums, size_t oh, size_t ow) {
    size_t top, high, left, wide, line = win->kw + 1;
    bc_window_inside(oh, win->h, win->top, win->kh, win->dh, win->sh, &top, &high);
    bc_window_inside(ow, win->w, win->left, win->kw, win->dw, win->sw, &left, &wide);
    const int32_t *above = sums + top * line + left, *below = above + high * line;
    return below[wide] - below[0] - above[wide] + above[0];
}

/* base[class][filter], point 3 above. */
static bc_status make_base(bc_model *model, bc_node *node, size_t *class_count, bc_error *error) {
    const bc_window *win = &node->window;
    size_t rows = 1;
    bool exact_zero = node->pad_value == 0 && (win->top || win->left || win->bottom || win->right);
    node->col_classes = 1;
    if (exact_zero) {
        uint32_t *row_class = axis_classes(model, win, true, &rows, error);
        uint32_t *col_class =
            row_class ? axis_classes(model, win, false, &node->col_classes, error) : NULL;
        if (!col_class)
            return error->code;
        node->row_class = row_class;
        node->col_class = col_class;
    }
    *class_count = rows * node->col_classes;
    int32_t *base = bc_model_alloc(model, *class_count, node->filters * sizeof *base, error);
    if (!base)
        return error->code;
    node->base = base;
    for (size_t i = 0; i < *class_count * node->filters; i++)
        base[i] = (int32_t)node->k;
    if (!exact_zero)
        return BC_OK;
    int32_t *sums = bc_model_alloc(model, (win->kh + 1) * (win->kw + 1), sizeof *sums, error);
    if (!sums)
        return error->code;
    for (size_t f = 0; f < node->filters; f++) {
        tap_sums(node, f, sums);
        int32_t all = sums[(win->kh + 1) * (win->kw + 1) - 1];
        for (size_t y = 0; y < win->oh; y++) {
            if (y && node->row_class[y] == node->row_class[y - 1])
                continue;
            for (size_t x = 0; x < win->ow; x++) {
                if (x && node->col_class[x] == node->col_class[x - 1])
                    continue;
                size_t class = node->row_class[y] * node->col_classes + node->col_class[x];
                base[class * node->filters + f] += rectangle(win, sums, y, x) - all;
            }
        }
    }
    return BC_OK;
}

/* limit[class][group][filter of a whole panel], point 4 above. */
static bc_status make_limit(bc_model *model, bc_node *node, size_t class_count, bc_error *error) {
    size_t padded = node->panels * BC_PANEL_BINARY;
    node->limit_stride = node->groups * padded;
    int32_t *limit = bc_model_alloc(model, class_count, node->limit_stride * sizeof *limit, error);
    if (!limit)
        return error->code;
    for (size_t i = 0; i < class_count * node->limit_stride; i++)
        limit[i] = INT32_MAX; /* filters that fill up a panel: their bits stay 0 */
    for (size_t class = 0; class < class_count; class++)
        for (size_t f = 0; f < node->filters; f++) {
            int64_t twice = (int64_t)node->base[class * node->filters + f] - node->steps[0].tau[f];
            int64_t half =
                twice >= 0 ? twice / 2 : -((1 - twice) / 2); /* floor; fits, since |base| < 2^24 */
            limit[class * node->limit_stride + f / node->group_out * padded + f % node->group_out] =
                (int32_t)half;
        }
    node->limit = limit;
    return BC_OK;
}

/* One pixel of padding, in the words of the kernels. */
static bc_status make_pad(bc_model *model, bc_node *node, bc_error *error) {
    uint64_t *pad = bc_model_alloc(model, node->pixel_bytes, 1, error);
    if (!pad)
        return error->code;
    node->pad = pad;
    size_t groups = must_gather(node) ? node->groups : 1,
           bits = must_gather(node) ? node->group_in : node->group_in * node->groups;
    for (size_t g = 0; g < groups && node->pad_value < 0; g++)
        for (size_t i = 0; i < bits; i++)
            pad[g * bc_words(bits) + i / 64] |= (uint64_t)1 << i % 64;
    return BC_OK;
}

static bc_status prepare(bc_model *model, bc_node *node, bc_error *error) {
    const bc_value *main = &model->values[node->input];
    size_t class_count = 1;
    node->inner = bc_words(node->group_in);
    node->pixel_bytes = main->pixel_bytes;
    if (must_gather(node)) {
        node->pixel_bytes = node->groups * node->inner * 8;
        node->prep_bytes = main->pixels * node->pixel_bytes;
    }
    bc_status status = bc_weights_binary(model, node, error);
    if (!status)
        status = make_pad(model, node, error);
    if (!status)
        status = make_base(model, node, &class_count, error);
    if (status)
        return status;
    bool threshold = node->steps[0].op == BC_STEP_THRESHOLD;
    if (threshold && (node->groups == 1 || node->group_out % 8 == 0)) {
        status = make_limit(model, node, class_count, error);
        if (status)
            return status;
    }
    node->uses_acc = !node->limit;
    node->direct = -1;
    if (bc_ops[node->op].kind == BC_KIND_DENSE)
        bc_window_flatten(node);
    return bc_window_prepare(model, node, error);
}

typedef struct gather {
    const bc_run *run;
    const bc_node *node;
} gather;

static void gather_pixels(const void *context, size_t item, size_t thread) {
    const gather *g = context;
    const bc_node *node = g->node;
    const bc_value *main = &g->run->model->values[node->input];
    size_t end = bc_min((item + 1) * GATHER_PIXELS, g->run->n * main->pixels);
    (void)thread;
    for (size_t p = item * GATHER_PIXELS; p < end; p++) {
        const uint64_t *from =
            (const uint64_t *)(const void *)(g->run->values[node->input] + p * main->pixel_bytes);
        uint64_t *to = (uint64_t *)(void *)(g->run->prep + p * node->pixel_bytes);
        memset(to, 0, node->pixel_bytes);
        for (size_t c = 0; c < main->c; c++) {
            size_t group = c / node->group_in, i = c % node->group_in;
            to[group * node->inner + i / 64] |= (from[c / 64] >> c % 64 & 1) << i % 64;
        }
    }
}

/* The table row of each pixel's border class. */
static void class_rows(const bc_task *task, const int32_t *table, size_t stride) {
    const bc_node *node = task->node;
    const bc_window *win = &node->window;
    size_t ow = task->p0 % win->ow, oh = task->p0 / win->ow % win->oh;
    for (size_t p = 0; p < task->m; p++) {
        size_t class =
            node->row_class ? node->row_class[oh] * node->col_classes + node->col_class[ow] : 0;
        task->pixel[p] = table + class * stride;
        if (++ow < win->ow)
            continue;
        ow = 0;
        if (++oh == win->oh)
            oh = 0;
    }
}

static void product_task(const bc_task *task) {
    const bc_node *node = task->node;
    const bc_kernels *k = task->run->kernels;
    const uint64_t **a = (const uint64_t **)(void *)task->pointers;
    const char *weights = (const char *)node->weights + task->panel0 * node->panel_bytes;
    const void *source = node->prep_bytes ? task->run->prep : task->run->values[node->input];
    uint8_t *bits = NULL;
    size_t stride = 0;
    bc_window_pointers(node, source, task->p0, task->m, task->pointers);
    if (node->limit) {
        bits = bc_task_bits(task, node->steps[0].value, &stride);
        class_rows(task, node->limit + task->panel0 * BC_PANEL_BINARY, node->limit_stride);
    } else {
        class_rows(task, node->base + task->c0, node->filters);
    }
    for (size_t g = 0; g < node->groups; g++, weights += node->panels * node->panel_bytes) {
        const uint64_t *w = (const uint64_t *)(const void *)weights;
        if (node->limit) {
            k->bgemm_tau(task->m, task->panels, node->taps, node->inner, a, w, task->pixel,
                         bits + g * node->group_out / 8, stride);
            for (size_t p = 0; p < task->m && g + 1 < node->groups; p++)
                task->pixel[p] += node->panels * BC_PANEL_BINARY;
        } else { /* columns beyond the group are overwritten by the next one */
            k->bgemm(task->m, task->panels, node->taps, node->inner, a, w,
                     task->acc + g * node->group_out, task->ld);
        }
        bc_next_group(task, g, node->inner * sizeof(uint64_t));
    }
    if (node->limit) {
        bc_zero_tail(task, bits, stride, (task->c + 7) / 8);
        return;
    }
    if (node->steps[0].op != BC_STEP_THRESHOLD) {
        bc_epilogue_from(
            task,
            (bc_row_step){.op = BC_ROW_POP, .x = task->acc, .base = task->pixel, .ld = task->ld});
        return;
    }
    for (size_t p = 0; p < task->m; p++)
        for (size_t i = 0; i < task->c; i++)
            task->acc[p * task->ld + i] = task->pixel[p][i] - 2 * task->acc[p * task->ld + i];
    bc_integer_epilogue(task);
}

static void run(const bc_run *run, const bc_node *node) {
    if (node->prep_bytes) {
        gather g = {run, node};
        size_t pixels = run->n * run->model->values[node->input].pixels;
        bc_parallel(run->threads, (pixels + GATHER_PIXELS - 1) / GATHER_PIXELS, gather_pixels, &g);
    }
    bc_run_tasks(run, node, run->kernels->mr_binary, product_task);
}

const bc_op bc_op_binary_product = {prepare, run};
