/* binary_border.c: zero padding, exact at no cost per product: what a product of bits is compared
 * with, or subtracted from, depends on the filter and on which taps of the pixel lie outside.
 *
 *  1. pop = popcount(a ^ w) over K = taps * channels bits; a padding pixel is all 0 bits (+1), or,
 *     where padding counts as -1, all 1 bits
 *  2. acc = K - 2 pop                                     if padding counts as +1 or -1
 *  3. acc = K - 2 pop - sum of w under the outside taps   if it counts as 0: those taps gave +w
 *         = base - 2 pop; base depends on the filter and on which taps are outside: the border
 *     class of the pixel
 *  4. acc < tau  <=>  pop > (base - tau) / 2  <=>  pop > floor((base - tau) / 2) = limit
 *  5. acc * scale = (acc / 2) * (2 scale), rounded alike, where acc / 2 = base / 2 - pop is an
 *     integer and 2 scale is finite; so sums whose first step is an affine need not be doubled
 */
#include "binary.h"

#include <math.h>

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
        const size_t minus = bc_weight_minus(node, filter, t * node->group_in, node->group_in);
        const int32_t sum = (int32_t)node->group_in - 2 * (int32_t)minus;
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
bc_status bc_border_base(bc_model *model, bc_node *node, size_t *class_count, bc_error *error) {
    const bc_window *win = &node->window;
    size_t rows = 1;
    bool exact_zero = node->pad_value == 0 && (win->top || win->left || win->bottom || win->right);
    node->col_classes = 1;
    if (exact_zero) {
        uint32_t *row_class = axis_classes(model, win, true, &rows, error);
        uint32_t *col_class =
            row_class ? axis_classes(model, win, false, &node->col_classes, error) : NULL;
        uint32_t *col_run =
            col_class ? bc_model_alloc(model, win->ow, sizeof *col_run, error) : NULL;
        if (!col_run)
            return error->code;
        for (size_t x = win->ow; x-- > 0;)
            col_run[x] =
                x + 1 < win->ow && col_class[x] == col_class[x + 1] ? col_run[x + 1] + 1 : 1;
        node->row_class = row_class;
        node->col_class = col_class;
        node->col_run = col_run;
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
bc_status bc_border_limit(bc_model *model, bc_node *node, size_t class_count, bc_error *error) {
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

/* base / 2 and 2 scale, point 5 above, where all of the node allows it. */
bc_status bc_border_halve(bc_model *model, bc_node *node, size_t class_count, bc_error *error) {
    const size_t filters = node->filters, count = class_count * filters;
    bc_step *step = node->steps;
    if (step->op != BC_STEP_AFFINE)
        return BC_OK;
    for (size_t i = 0; i < count; i++)
        if (node->base[i] % 2)
            return BC_OK;
    for (size_t f = 0; f < filters; f++)
        if (!isfinite(2 * step->scale[f]))
            return BC_OK;
    float *scale = bc_model_alloc(model, filters, sizeof *scale, error);
    if (!scale)
        return error->code;
    for (size_t i = 0; i < count; i++)
        node->base[i] /= 2;
    for (size_t f = 0; f < filters; f++)
        scale[f] = 2 * step->scale[f];
    step->scale = scale;
    node->halved = true;
    return BC_OK;
}

static inline void fill_rows(const int32_t **to, size_t n, const int32_t *row) {
    size_t i = 0;
    if (n >= 8) /* what is less is mostly one pixel */
        for (; i + 4 <= n; i += 4)
            to[i] = to[i + 1] = to[i + 2] = to[i + 3] = row;
    for (; i < n; i++)
        to[i] = row;
}

void bc_border_rows(const bc_task *task, const int32_t *table, size_t stride) {
    const bc_node *node = task->node;
    const bc_window *win = &node->window;
    if (!node->row_class) {
        fill_rows(task->pixel, task->m, table);
        return;
    }
    size_t ow = task->p0 % win->ow, oh = task->p0 / win->ow % win->oh;
    for (size_t p = 0, n; p < task->m; p += n) {
        const size_t class = node->row_class[oh] * node->col_classes + node->col_class[ow];
        n = bc_min(node->col_run[ow], task->m - p);
        fill_rows(task->pixel + p, n, table + class * stride);
        ow += n;
        if (ow < win->ow)
            continue;
        ow = 0;
        if (++oh == win->oh)
            oh = 0;
    }
}
