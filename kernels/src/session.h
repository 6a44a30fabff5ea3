/* session.h: what runs: memory for values, threads, and how a node's work is cut into tasks. */
#ifndef BC_SESSION_H
#define BC_SESSION_H

#include "ops.h"

typedef struct bc_threads bc_threads;

/* threads.c: starts count - 1 threads; NULL on failure. */
bc_threads *bc_threads_open(size_t count);
void bc_threads_close(bc_threads *threads);

/* Calls work(context, item, thread) for all items; returns when all are done. thread < count; NULL
 * threads: only this one. */
typedef void bc_work(const void *context, size_t item, size_t thread);
void bc_parallel(bc_threads *threads, size_t items, bc_work *work, const void *context);

/* What is fetched from memory while a node computes. */
typedef struct bc_plan_ahead {
    const bc_node *during; /* NULL: nothing */
    bc_ahead *parts;
    size_t count, bytes; /* parts; in all of them */
} bc_plan_ahead;

struct bc_run {
    const bc_model *model;
    const bc_kernels *kernels;
    bc_threads *threads; /* NULL: only the calling thread */
    size_t thread_count;
    size_t n;             /* samples now */
    char *const *values;  /* memory of each value, n samples after each other */
    char *prep;           /* converted copy of a node's main input */
    char *lists;          /* of pointers, that binary nodes made when the session was opened */
    char *scratch;        /* per thread */
    size_t scratch_bytes; /* of one thread */
    bc_plan_ahead ahead;
    bool bands;            /* pooling may be done with the convolution in front of it */
    const bc_node *loaded; /* the node whose copy samples are loaded into, past the input value */
    char **spread;         /* per node: weights as kernels->spread makes them, or NULL */
    const struct bc_planes **planes; /* per node: what bit_planes.c keeps of it, or NULL */
    uint8_t *plane_memory;           /* the planes of a node's input */
};

/* A rectangle of a node's output: m pixels from p0 on, panels of filters. */
typedef struct bc_task {
    const bc_run *run;
    const bc_node *node;
    size_t p0, m;
    size_t panel0, panels; /* of products of one group, else all */
    size_t c0, c;          /* the channels that those are */
    size_t item, items;    /* its number among the tasks of the node */
    const void **pointers; /* chunk * taps */
    const int32_t **pixel; /* chunk */
    int32_t *acc;          /* chunk * ld, if the node uses_acc */
    float *rows;           /* for the float rows: scratch memory, or the value itself */
    size_t ld;             /* of acc and rows */
} bc_task;

/* tasks.c: scratch memory that one thread needs for the node. */
size_t bc_task_bytes(const bc_node *node);

/* tasks.c: cuts the output of the node into tasks and runs them on all threads. mr: pixels of a
 * kernel's tile. */
typedef void bc_task_work(const bc_task *task);
void bc_run_tasks(const bc_run *run, const bc_node *node, size_t mr, bc_task_work *work);

/* tasks.c: the same for pixels [first, end) of the output. */
void bc_run_some_tasks(const bc_run *run, const bc_node *node, size_t mr, size_t first, size_t end,
                       bc_task_work *work);

/* bands.c: whether the next node is a max-pooling of what this convolution of floats makes. */
bool bc_pooled(const bc_model *model, const bc_node *node);

/* bands.c: if so, and if it pays, runs both; and whether it has done so for the pooling. */
bool bc_run_pooled(const bc_run *run, const bc_node *node, size_t mr, bc_task_work *work);
bool bc_is_pooled(const bc_run *run, const bc_node *pool);

/* pool.c: a task of max_pool. */
void bc_max_pool_task(const bc_task *task);

/* tasks.c: calls work(context, first, end) for all rows, as many at a time as there are `size`
 * elements in, at least one; a row has row_size >= 1 of them. */
typedef void bc_rows_work(const void *context, size_t first, size_t end);
void bc_run_rows(const bc_run *run, size_t rows, size_t row_size, size_t size, bc_rows_work *work,
                 const void *context);

/* ahead.c: fills run->ahead for samples in groups of `batch` and a last cache of so many bytes. */
bc_status bc_ahead_plan(bc_run *run, size_t batch, size_t cache_bytes, bc_error *error);

/* ahead.c: the part of it that is the task's; of 0 bytes: none. */
bc_ahead bc_ahead_of(const bc_task *task);

/* ops/binary_spread.c: bytes of a node's weights in the form of kernels->spread, 0: not wanted, as
 * is known once run->planes are; makes them. */
size_t bc_spread_bytes(const bc_run *run, const bc_node *node, size_t batch);
void bc_spread(const bc_run *run, const bc_node *node, char *to);

/* ops/bit_planes.c: bytes that a session keeps for a node whose input its kernels read as planes,
 * 0: they do not; the bytes of the planes of a sample; makes what is kept, in zeroed memory. Such
 * nodes keep their lists and the room for other copies, as other sessions of the model need them.
 */
size_t bc_planes_bytes(const bc_run *run, const bc_node *node, size_t *sample_bytes);
void bc_planes_make(const bc_run *run, const bc_node *node, char *to);

/* ops/binary_lists.c: makes the lists of a node that has any, of pointers into the session's
 * memory, which stays where it is. */
void bc_lists_make(const bc_run *run, const bc_node *node);

/* epilogue.c: sends the task's rows, which `source` (a BC_ROW_ source) finds, through the steps of
 * the node. */
void bc_epilogue_from(const bc_task *task, bc_row_step source);

/* epilogue.c: that as a list, for kernels that take one. Returns its length. */
enum { BC_MOST_LINKS = 2 + BC_MAX_STEPS };
size_t bc_epilogue_list(const bc_task *task, bc_row_step source, bc_row_step list[BC_MOST_LINKS]);

/* epilogue.c: the same for rows of floats: task->rows, task->ld. */
void bc_epilogue(const bc_task *task);

/* epilogue.c: the same for rows of integers: task->acc, task->ld; here a threshold is a step too.
 */
void bc_integer_epilogue(const bc_task *task);

/* epilogue.c: the same for rows of integers, task->acc, each times the factor of its pixel. */
void bc_scaled_epilogue(const bc_task *task, const float *factors);

/* tasks.c: moves the pointers of the task from group g to the next one, if there is one. */
void bc_next_group(const bc_task *task, size_t g, size_t bytes);

/* epilogue.c: first byte of the task's first pixel in a value of bits; *stride: bytes to the next
 * pixel. */
uint8_t *bc_task_bits(const bc_task *task, int32_t value, size_t *stride);

/* epilogue.c: sets the bytes after the last channel's byte to 0, if the task has the last channel;
 * call it before anything is written to these pixels. */
void bc_zero_tail(const bc_task *task, uint8_t *bits, size_t stride);

/* arena.c: offset of every value in one block of memory, and the size of the block. */
bc_status bc_plan_arena(const bc_model *model, size_t batch, bool keep_all, size_t *offsets,
                        size_t *bytes, bc_error *error);

struct bc_session {
    bc_run run;
    const bc_model *model;
    uint32_t batch, flags;
    char *memory; /* the block that all pointers point into; `arena` is its aligned start */
    char *arena;
    size_t arena_bytes;
    char **values;
    char *list_memory;   /* what run.lists points into */
    char *spread_memory; /* what run.spread points into */
    char *plane_memory;  /* what run.planes and run.plane_memory point into */
    float *pixel_table;  /* [c][256]: what a raw pixel is to a network with float input */
    uint64_t *node_ns;
};

/* input.c: the caller's samples -> the input value. */
bc_status bc_input_load(bc_session *session, const bc_input *input, size_t first, size_t n,
                        bc_error *error);
bc_status bc_input_prepare(bc_session *session, const bc_input *input, bc_error *error);

/* input.c: the first node, if it alone reads the input value, and reads a copy of the same numbers;
 * else NULL. */
const bc_node *bc_input_copied(const bc_model *model);

/* input.c: a value -> floats, (n, H, W, C) or (n, C, H, W). */
void bc_value_read(const bc_value *value, const char *memory, size_t n, bool channels_last,
                   float *out);

/* input.c: (n, H, W, C) floats -> a value; bits are x < 0, raw pixels rounded and clamped. */
void bc_value_write(const bc_value *value, char *memory, size_t n, const float *nhwc);

uint64_t bc_now_ns(void);

#endif
