/* tasks.c: how the output of a node is cut among threads: by pixels, and where there are too few of
 * them (dense products of few samples), by panels of filters too. */
#include "session.h"

#include <string.h>

typedef struct split {
    const bc_run *run;
    const bc_node *node;
    bc_task_work *work;
    size_t pixels, m;   /* in all; per task */
    size_t parts, part; /* of the panels; panels per part */
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
    bc_task task = {.run = run, .node = node, .p0 = item / s->parts * s->m};
    task.m = bc_min(s->m, s->pixels - task.p0);
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

void bc_run_tasks(const bc_run *run, const bc_node *node, size_t mr, bc_task_work *work) {
    split s = {run, node, work, run->n * node->h * node->w, 0, 1, node->panels};
    /* four tasks per thread even out their speeds; none smaller than a tile, and all but the last a
     * multiple of it */
    size_t wanted = run->thread_count > 1 ? s.pixels / (4 * run->thread_count) + 1 : s.pixels;
    s.m = bc_min(bc_round_up(wanted, mr), node->chunk > mr ? node->chunk / mr * mr : node->chunk);
    size_t chunks = (s.pixels + s.m - 1) / s.m;
    if (chunks < run->thread_count && node->groups == 1 && node->panels > 1) {
        s.part = (node->panels + run->thread_count - 1) / run->thread_count;
        s.parts = (node->panels + s.part - 1) / s.part;
    }
    bc_parallel(run->threads, chunks * s.parts, run_task, &s);
}

void bc_next_group(const bc_task *task, size_t g, size_t bytes) {
    if (g + 1 == task->node->groups)
        return;
    for (size_t i = 0; i < task->m * task->node->taps; i++)
        task->pointers[i] = (const char *)task->pointers[i] + bytes;
}
