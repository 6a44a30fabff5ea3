/* bands.c: a float convolution and the max-pooling behind it, in bands of rows, so that the pooling
 * reads what is still in the second cache. The first convolution of a network often has the largest
 * output of all, of which pooling leaves a quarter. */
#include "session.h"

enum { BAND_BYTES = 1 << 18 }; /* of the convolution's output, per thread */

bool bc_pooled(const bc_model *model, const bc_node *node) {
    const bc_node *next = node + 1;
    if (next == model->nodes + model->node_count || bc_ops[node->op].op != &bc_op_float_product ||
        bc_ops[next->op].op != &bc_op_max_pool || model->values[next->input].dtype != BC_F32)
        return false;
    for (size_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] == next->input)
            return true;
    return false;
}

/* How many rows of the pooling, from `row` on, see nothing but the first `ready` rows of its input;
 * rows of all samples. */
static size_t rows_that_see(const bc_node *pool, size_t row, size_t rows, size_t ready) {
    const bc_window *win = &pool->window;
    size_t count = 0;
    for (; row + count < rows; count++) {
        const size_t sample = (row + count) / win->oh, y = (row + count) % win->oh,
                     past = y * win->sh + (win->kh - 1) * win->dh + 1,
                     seen = past < win->top ? 0 : bc_min(past - win->top, win->h);
        if (sample * win->h + seen > ready)
            break;
    }
    return count;
}

/* Pixels of the convolution per band. */
static size_t band_pixels(const bc_run *run, const bc_node *node) {
    const size_t bytes = BAND_BYTES * run->thread_count;
    return bc_max(1, bytes / sizeof(float) / node->c / node->chunk) * node->chunk;
}

static bool in_bands(const bc_run *run, const bc_node *node) {
    return run->bands && bc_pooled(run->model, node) &&
           run->n * node->h * node->w >= 2 * band_pixels(run, node);
}

bool bc_run_pooled(const bc_run *run, const bc_node *node, size_t mr, bc_task_work *work) {
    if (!in_bands(run, node))
        return false;
    const bc_node *pool = node + 1;
    const size_t band = band_pixels(run, node), pixels = run->n * node->h * node->w,
                 rows = run->n * pool->h;
    for (size_t p = 0, row = 0; p < pixels; p += band) {
        const size_t end = bc_min(p + band, pixels);
        bc_run_some_tasks(run, node, mr, p, end, work);
        const size_t more = rows_that_see(pool, row, rows, end / node->w);
        bc_run_some_tasks(run, pool, 1, row * pool->w, (row + more) * pool->w, bc_max_pool_task);
        row += more;
    }
    return true;
}

bool bc_is_pooled(const bc_run *run, const bc_node *pool) {
    return pool > run->model->nodes && in_bands(run, pool - 1);
}
