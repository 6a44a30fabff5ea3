/* check_ahead.c: which weights a session fetches ahead, and that the tasks that fetch them share
 * them out without gaps. */
#include "../src/session.h"

#include <stdio.h>
#include <stdlib.h>

enum { CONV, POOL, FIRST, SECOND, SMALL, NODES, CACHE = 32 << 20, FEW_ITEMS = 16 };

static int failures;

static void expect(bool right, const char *what, size_t got) {
    if (right)
        return;
    printf("FAIL: %s (%zu)\n", what, got);
    failures++;
}

static bc_node product(uint32_t op, size_t side, uint32_t filters, uint32_t k, size_t panel,
                       size_t panel_bytes, const char *weights) {
    return (bc_node){.op = op,
                     .groups = 1,
                     .filters = filters,
                     .k = k,
                     .h = (uint32_t)side,
                     .w = (uint32_t)side,
                     .panel = panel,
                     .panels = (filters + panel - 1) / panel,
                     .panel_bytes = panel_bytes,
                     .weights = weights};
}

/* A stem, and three dense layers of 2 MiB of bits, 4 MiB of floats and few bytes. */
static void make(bc_node nodes[NODES]) {
    const char *at = (const char *)(uintptr_t)(1 << 30); /* never read */
    nodes[CONV] = product(BC_OP_conv2d, 56, 96, 363, 16, 363 * 64, at);
    nodes[POOL] = (bc_node){.op = BC_OP_max_pool, .groups = 1, .h = 28, .w = 28, .panels = 1};
    nodes[FIRST] = product(BC_OP_binary_dense, 1, 4096, 4096, 8, 4096, at + (1 << 24));
    nodes[SECOND] = product(BC_OP_dense, 1, 1024, 1024, 16, 65536, at + (1 << 25));
    nodes[SMALL] = product(BC_OP_dense, 1, 10, 64, 16, 4096, at + (1 << 26));
}

static bc_plan_ahead plan(bc_node nodes[NODES], size_t batch, size_t cache) {
    const bc_model model = {.nodes = nodes, .node_count = NODES};
    bc_run run = {.model = &model, .n = batch};
    expect(bc_ahead_plan(&run, batch, cache, NULL) == BC_OK, "a plan", batch);
    return run.ahead;
}

static void check_plans(void) {
    bc_node nodes[NODES];
    make(nodes);
    bc_plan_ahead found = plan(nodes, 1, CACHE);
    expect(found.during == &nodes[CONV] && found.count == 2 && found.bytes == 6 << 20,
           "large dense layers are fetched during the convolution", found.bytes);
    expect(found.count == 2 && found.parts[0].at == nodes[FIRST].weights &&
               found.parts[1].at == nodes[SECOND].weights,
           "in their order", found.count);
    free(found.parts);

    found = plan(nodes, 1, 12 << 20);
    expect(found.count == 2 && found.bytes == 3 << 20, "no more than the cache's share",
           found.bytes);
    free(found.parts);
    found = plan(nodes, 1, 0);
    expect(!found.during, "nothing where the cache is unknown", found.bytes);
    free(found.parts);
    found = plan(nodes, 64, CACHE);
    expect(!found.during, "nothing where many samples share the weights", found.bytes);
    free(found.parts);

    nodes[CONV].groups = 2;
    found = plan(nodes, 1, CACHE);
    expect(!found.during, "nothing where no layer has the time", found.bytes);
    free(found.parts);
}

/* All tasks of the convolution: what they fetch must be the parts, each from its start to its end.
 */
static void check_tasks(size_t items) {
    bc_node nodes[NODES];
    make(nodes);
    const bc_model model = {.nodes = nodes, .node_count = NODES};
    bc_run run = {.model = &model, .n = 1};
    expect(bc_ahead_plan(&run, 1, CACHE, NULL) == BC_OK, "a plan", items);
    const bool few = items < FEW_ITEMS; /* then a part may have less than a task of its own */
    size_t part = 0, at = 0;
    for (size_t item = 0; item < items; item++) {
        const bc_task task = {.run = &run, .node = &nodes[CONV], .item = item, .items = items};
        const bc_ahead share = bc_ahead_of(&task);
        if (!share.bytes)
            continue;
        if (at == run.ahead.parts[part].bytes)
            part++, at = 0;
        if (few && !at && part < run.ahead.count && share.at != run.ahead.parts[part].at)
            part++;
        expect(part < run.ahead.count && share.at == run.ahead.parts[part].at + at,
               "a task goes on where the one before it ended", item);
        at += share.bytes;
        expect(part >= run.ahead.count || at <= run.ahead.parts[part].bytes, "nor further", item);
    }
    expect(part + 1 == run.ahead.count && at == run.ahead.parts[part].bytes, "all of it", items);
    const bc_task other = {.run = &run, .node = &nodes[SECOND], .item = items - 1, .items = items};
    expect(!bc_ahead_of(&other).bytes, "other layers fetch nothing", items);
    free(run.ahead.parts);
}

int main(void) {
    check_plans();
    for (size_t items = 2; items <= 300; items++)
        check_tasks(items);
    printf("%s: %d failures\n", failures ? "FAIL" : "ok", failures);
    return failures != 0;
}
