/* tasks.c: how the output of a node is cut among threads: by pixels, and where there are too few of
 * them (dense products of few samples), by panels of filters too; and copies, by rows. */
#include "session.h"

#include <string.h>

enum {
    TASKS_PER_THREAD = 4, /* evens out the speeds of threads */
    LEAST_PANELS = 4,     /* of a task: what the widest tile takes */
    LEAST_TILES = 4       /* of a task, as long as there are enough tasks */
};

typedef struct split {
    const bc_run *run;
    const bc_node *node;
    bc_task_work *work;
    size_t first;       /* pixel */
    size_t pixels, m;   /* in all; per task */
    size_t parts, part; /* of the panels; panels per part */
    size_t items;       /* tasks of the whole node, as far as these tell */
    size_t before;      /* and those before these */
} split;

static size_t align64(size_t bytes) {
    return bc_round_up(bytes, 64);
}

size_t bc_task_bytes(const bc_node *node) {
    return align64(node->chunk * node->taps * sizeof(void *)) +
           align64(node->chunk * sizeof(void *)) +
           (node->uses_acc ? align64(node->chunk * node->ld * 4) : 0) +
           (node->uses_rows ? align64(node->chunk * node->ld * 4) : 0);
}

static void run_task(const void *context, size_t item, size_t thread) {
    const split *s = context;
    const bc_run *run = s->run;
    const bc_node *node = s->node;
    char *scratch = run->scratch + thread * run->scratch_bytes;
    bc_task task = {.run = run,
                    .node = node,
                    .p0 = s->first + item / s->parts * s->m,
                    .item = s->before + item,
                    .items = s->items};
    task.m = bc_min(s->m, s->first + s->pixels - task.p0);
    task.panel0 = item % s->parts * s->part;
    task.panels = s->parts == 1 ? node->panels : bc_min(s->part, node->panels - task.panel0);
    task.c0 = task.panel0 * node->panel;
    task.c = s->parts == 1 ? node->c : bc_min(task.panels * node->panel, node->c - task.c0);

    task.pointers = (const void **)(void *)scratch;
    scratch += align64(node->chunk * node->taps * sizeof(void *));
    task.pixel = (const int32_t **)(void *)scratch;
    scratch += align64(node->chunk * sizeof(void *));
    task.acc = (int32_t *)(void *)scratch;
    if (node->uses_acc)
        scratch += align64(node->chunk * node->ld * 4);
    task.rows = (float *)(void *)scratch;
    task.ld = node->ld;
    if (node->direct >= 0) {
        task.ld = node->c;
        task.rows = (float *)(void *)run->values[node->direct] + task.p0 * node->c + task.c0;
    }
    s->work(&task);
}

static size_t ceil_div(size_t a, size_t b) {
    return (a + b - 1) / b;
}

/* Pixels per task for about `chunks` tasks: whole tiles, as far as there is more than one task and
 * scratch memory. */
static size_t pixels_per_task(const bc_node *node, size_t pixels, size_t chunks, size_t mr) {
    const size_t m = ceil_div(pixels, chunks), whole = bc_round_up(m, mr);
    if (chunks == 1 || node->chunk < mr)
        return bc_min(m, node->chunk);
    return whole <= node->chunk ? whole : node->chunk / mr * mr;
}

void bc_run_tasks(const bc_run *run, const bc_node *node, size_t mr, bc_task_work *work) {
    bc_run_some_tasks(run, node, mr, 0, run->n * node->h * node->w, work);
}

void bc_run_some_tasks(const bc_run *run, const bc_node *node, size_t mr, size_t first, size_t end,
                       bc_task_work *work) {
    if (first == end)
        return;
    split s = {.run = run,
               .node = node,
               .work = work,
               .first = first,
               .pixels = end - first,
               .parts = 1,
               .part = node->panels};
    const size_t threads = run->thread_count, wanted = threads > 1 ? TASKS_PER_THREAD * threads : 1;
    size_t chunks = ceil_div(s.pixels, node->chunk);
    /* Where the image is small, panels are cut and not pixels: a kernel prepares its weights anew
     * for every call, and that should serve many pixels. */
    if (chunks < wanted && node->groups == 1 && node->panels >= 2 * LEAST_PANELS) {
        s.parts = bc_min(ceil_div(wanted, chunks), node->panels / LEAST_PANELS);
        s.part = bc_round_up(ceil_div(node->panels, s.parts), LEAST_PANELS);
        s.parts = ceil_div(node->panels, s.part);
    }
    /* Then pixels after all, to some tiles each, or to one before a thread has nothing to do. */
    if (chunks * s.parts < wanted) {
        const size_t most = bc_max(s.pixels / (LEAST_TILES * mr), bc_min(threads, s.pixels / mr));
        chunks = bc_max(chunks, bc_min(ceil_div(wanted, s.parts), most));
    }
    s.m = pixels_per_task(node, s.pixels, chunks, mr);
    chunks = ceil_div(s.pixels, s.m);
    s.items = run->n * node->h * node->w * chunks / s.pixels * s.parts;
    s.before = first * chunks / s.pixels * s.parts;
    bc_parallel(run->threads, chunks * s.parts, run_task, &s);
}

typedef struct stretches {
    bc_rows_work *work;
    const void *context;
    size_t rows, together;
} stretches;

static void run_rows(const void *context, size_t item, size_t thread) {
    const stretches *s = context;
    (void)thread;
    s->work(s->context, item * s->together, bc_min((item + 1) * s->together, s->rows));
}

void bc_run_rows(const bc_run *run, size_t rows, size_t row_size, size_t size, bc_rows_work *work,
                 const void *context) {
    const stretches s = {work, context, rows, size / bc_min(size, row_size)};
    bc_parallel(run->threads, ceil_div(rows, s.together), run_rows, &s);
}

void bc_next_group(const bc_task *task, size_t g, size_t bytes) {
    if (g + 1 == task->node->groups)
        return;
    for (size_t i = 0; i < task->m * task->node->taps; i++)
        task->pointers[i] = (const char *)task->pointers[i] + bytes;
}
