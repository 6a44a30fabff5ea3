/* binary.h: the parts of binary_product.c. */
#ifndef BC_OPS_BINARY_H
#define BC_OPS_BINARY_H

#include "../session.h"

/* binary_border.c: base[class][filter], and the classes of the node's pixels; of the window as the
 * file has it. */
bc_status bc_border_base(bc_model *model, bc_node *node, size_t *class_count, bc_error *error);

/* binary_border.c: limit[class][group][filter of a whole panel]. */
bc_status bc_border_limit(bc_model *model, bc_node *node, size_t class_count, bc_error *error);

/* binary_border.c: where no bit of the results changes, makes base half of it, and the scale of the
 * node's first step twice as large. Changes base, steps, halved. */
bc_status bc_border_halve(bc_model *model, bc_node *node, size_t class_count, bc_error *error);

/* binary_border.c: task->pixel: for every pixel, its class's row of a table of `stride` elements
 * per class. */
void bc_border_rows(const bc_task *task, const int32_t *table, size_t stride);

/* bit_rows.c: where it pays, or groups begin within words: chooses a packed copy of the input.
 * Changes rows, window, inner, tap_bits, pixel_bytes, prep_bytes. */
void bc_bit_rows_choose(const bc_model *model, bc_node *node);

/* bit_rows.c: fills the run's prep memory with that copy. */
void bc_bit_rows_run(const bc_run *run, const bc_node *node);

/* bit_margins.c: where it can, makes each row of the kernel one tap, with copies of what the window
 * sees at the margins. Changes window, inner, joined, inside_*, prep_bytes. */
void bc_bit_margins_choose(bc_node *node);

/* bit_margins.c: fills the run's prep memory with these copies. */
void bc_bit_margins_run(const bc_run *run, const bc_node *node);

/* bit_margins.c: as bc_window_pointers, for nodes with `joined`. */
void bc_bit_pointers(const bc_run *run, const bc_node *node, size_t p0, size_t m,
                     const void **pointers);

/* binary_lists.c: where it pays, lets tasks share lists, once `chunk` is known. Changes listed,
 * list_bytes, list_at, margin_bytes, prep_bytes, and list_bytes of the model. */
void bc_lists_choose(bc_model *model, bc_node *node);

/* binary_lists.c: task->pointers, and task->pixel, which are the pixels' rows of `limit` or else of
 * `base`. They may be shared: not to be changed. Returns how many words the kernel has to skip. */
size_t bc_lists_find(bc_task *task);

/* binary_spread.c: the task's weights in group g in the form of kernels->spread; NULL: none. */
const char *bc_spread_find(const bc_task *task, size_t g);

/* bit_planes.c: what a session keeps for a node whose input its kernels read as planes. */
typedef struct bc_planes {
    bc_plane_image image;
    size_t sample_bytes;           /* of its planes */
    size_t lanes;                  /* from its first output to its last */
    size_t taps, steps;            /* steps of all taps */
    uint32_t *tap_offset, *offset; /* these and what follows: as bc_plane_call has them */
    uint8_t (*tables)[16];
    uint16_t *filter_odd;
    uint8_t *classes;
    bc_plane_limit *limit[2];
    size_t turn;
    uint64_t *pad;
    uint8_t *pad_bytes;
} bc_planes;

/* bit_planes.c: NULL: they do not. */
const bc_planes *bc_planes_find(const bc_run *run, const bc_node *node);

/* plane_product.c: the input of all samples as planes. */
void bc_planes_run(const bc_run *run, const bc_node *node);

/* plane_product.c: how many of the task's m pixels from p on fill a few tiles, and no more. */
size_t bc_planes_whole(const bc_task *task, size_t p, size_t m);

/* plane_product.c: the task's bits, or its sums in acc. */
void bc_planes_product(const bc_task *task);

#endif
