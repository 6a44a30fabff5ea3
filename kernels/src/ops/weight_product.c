/* weight_product.c: weight_conv2d, weight_dense: floats times 1-bit weights; i8_conv2d, i8_dense:
 * the same with the floats of each sample rounded to 8 bits, on the scale of the largest.
 *
 * First the tables of all input pixels are made, then products look up what they need; internal.h
 * tells what tables are. Memory of a run: tables; for i8 also the largest magnitudes of the pieces
 * of each sample, and the factor of each output pixel. */
#include "../session.h"

enum {
    TABLE_CHANNELS = 1 << 14, /* per task that makes tables */
    PIECES = 8                /* of a sample whose largest magnitude is searched */
};
#define SMALLEST 0x1p-96f /* scales to this at least, so that nothing overflows */

static bool is_i8(const bc_node *node) {
    return node->op == BC_OP_i8_conv2d || node->op == BC_OP_i8_dense;
}

/* Of one table of eight channels. */
static size_t octet_bytes(const bc_kernels *k, const bc_node *node) {
    return is_i8(node) ? k->qtable_octet : k->ttable_octet;
}

static bc_status prepare(bc_model *model, bc_node *node, bc_error *error) {
    const bc_value *main = &model->values[node->input];
    size_t channels = node->group_in, pixels = main->pixels;
    if (bc_ops[node->op].kind == BC_KIND_DENSE) {
        bc_window_flatten(node);
        channels = node->k;
        pixels = 1;
    }
    node->inner = is_i8(node) ? bc_round_up(channels, 16) / 8 : bc_round_up(channels, 8) / 8;
    bc_status status = bc_weights_octets(model, node, channels, node->inner, error);
    if (status)
        return status;
    const size_t octets = node->groups * node->inner;
    node->pixel_bytes = octets; /* what bytes they are is known when there are kernels */
    node->table_octets = pixels * octets;
    if (bc_ops[node->op].kind != BC_KIND_DENSE)
        bc_row_taps(node, SIZE_MAX);
    if (node->copy.h)
        node->table_octets = node->copy.h * node->copy.w * octets;
    node->pad = bc_model_alloc(model, octets, BC_TABLE_OCTET, error);
    if (!node->pad)
        return error->code;
    if (is_i8(node)) {
        node->prep_bytes = (PIECES + (size_t)node->h * node->w) * sizeof(float);
        node->uses_acc = true;
        node->direct = -1;
    } else { /* whole panels are written: into the value only where they fill its rows exactly */
        bc_node_direct(node, node->group_out % BC_PANEL_FLOAT == 0);
    }
    return bc_window_prepare(model, node, error);
}

typedef struct preparation {
    const bc_run *run;
    const bc_node *node;
    const float *x;
    size_t sample;     /* floats */
    size_t lines;      /* of a sample: rows of the image, or 1 */
    size_t tables, c;  /* of a line: one per pixel and group, or 1; channels of each */
    float *magnitudes; /* PIECES per sample */
    float *factors;    /* per output pixel */
} preparation;

static float *after_tables(const bc_run *run, const bc_node *node) {
    return (float *)(void *)(run->prep +
                             run->n * node->table_octets * octet_bytes(run->kernels, node));
}

static void find_magnitude(const void *context, size_t item, size_t thread) {
    const preparation *p = context;
    const size_t s = item / PIECES, piece = item % PIECES, first = p->sample * piece / PIECES,
                 end = p->sample * (piece + 1) / PIECES;
    (void)thread;
    p->magnitudes[item] = p->run->kernels->abs_max(end - first, p->x + s * p->sample + first);
}

static float magnitude_of(const preparation *p, size_t sample) {
    float largest = SMALLEST;
    for (size_t i = 0; i < PIECES; i++) {
        const float y = p->magnitudes[sample * PIECES + i];
        largest = y > largest ? y : largest;
    }
    return largest;
}

/* Lines, those of a padded copy if the node has one. */
static void make_tables(const void *context, size_t first, size_t end) {
    const preparation *p = context;
    const bc_node *node = p->node;
    const bc_kernels *k = p->run->kernels;
    const size_t octet = octet_bytes(k, node),
                 line_bytes = node->table_octets / p->lines * octet; /* without a copy */
    for (size_t r = first; r < end; r++) {
        size_t line = r; /* of all samples */
        char *to = node->copy.h ? bc_copy_row(p->run, node, octet, r, &line)
                                : p->run->prep + r * line_bytes;
        if (!to)
            continue;
        const float *x = p->x + line * p->tables * p->c;
        if (is_i8(node)) /* samples have scales of their own */
            k->qtable(p->tables, p->c, x, 127.0f / magnitude_of(p, line / p->lines), to);
        else
            k->ttable(p->tables, p->c, x, to);
    }
}

static void product_task(const bc_task *task) {
    const bc_node *node = task->node;
    const bc_kernels *k = task->run->kernels;
    const size_t octet = octet_bytes(k, node), panels = task->panels, ld = task->ld;
    const char *tables = task->run->prep;
    bc_window_pointers(node, tables, task->p0, task->m, task->pointers);
    for (size_t i = 0; i < task->m * node->taps; i++) /* from octets to their bytes */
        if (node->copy.h || task->pointers[i] != node->pad)
            task->pointers[i] = tables + (size_t)((const char *)task->pointers[i] - tables) * octet;
    const uint8_t *w = (const uint8_t *)node->weights + task->panel0 * node->panel_bytes;
    for (size_t g = 0; g < node->groups; g++, w += node->panels * node->panel_bytes) {
        /* panels may reach beyond their group: ascending groups overwrite what the one before left
         * there */
        const size_t at = g * node->group_out;
        if (is_i8(node))
            k->qgemm(task->m, panels, node->taps, node->inner, task->pointers, w, task->acc + at,
                     ld);
        else
            k->tgemm(task->m, panels, node->taps, node->inner, task->pointers, w, task->rows + at,
                     ld);
        bc_next_group(task, g, node->inner * octet);
    }
    if (is_i8(node))
        bc_scaled_epilogue(task, after_tables(task->run, node) + task->run->n * PIECES + task->p0);
    else
        bc_epilogue(task);
}

static void run(const bc_run *run, const bc_node *node) {
    const bc_value *main = &run->model->values[node->input];
    const bool dense = bc_ops[node->op].kind == BC_KIND_DENSE;
    const size_t pixels = node->h * node->w;
    float *after = after_tables(run, node);
    preparation p = {.run = run,
                     .node = node,
                     .x = (const float *)(const void *)run->values[node->input],
                     .sample = main->pixels * main->c,
                     .lines = dense ? 1 : main->h,
                     .tables = dense ? 1 : main->w * node->groups,
                     .c = dense ? node->k : node->group_in,
                     .magnitudes = after,
                     .factors = after + run->n * PIECES};
    if (is_i8(node)) {
        bc_parallel(run->threads, run->n * PIECES, find_magnitude, &p);
        for (size_t i = 0; i < run->n * pixels; i++)
            p.factors[i] = i % pixels ? p.factors[i - 1] : magnitude_of(&p, i / pixels) / 127.0f;
    }
    bc_run_rows(run, run->n * (node->copy.h ? node->copy.h : p.lines), p.tables * p.c,
                TABLE_CHANNELS, make_tables, &p);
    bc_run_tasks(run, node, run->kernels->mr_table, product_task);
}

/* One channel per group is no product of panels. Its sums are the same bits. */
static bc_status prepare_floats(bc_model *model, bc_node *node, bc_error *error) {
    node->depthwise = node->group_in == 1 && node->group_out == 1;
    return node->depthwise ? bc_op_float_product.prepare(model, node, error)
                           : prepare(model, node, error);
}

static void run_floats(const bc_run *context, const bc_node *node) {
    if (node->depthwise)
        bc_op_float_product.run(context, node);
    else
        run(context, node);
}

const bc_op bc_op_weight_product = {prepare_floats, run_floats};
const bc_op bc_op_i8_product = {prepare, run};
