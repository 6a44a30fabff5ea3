/* ops.h: what an operation is: a row of ops.def and an implementation in src/ops/. */
#ifndef BC_OPS_H
#define BC_OPS_H

#include "model.h"

#define BC_IN_F32 (1u << BC_F32)
#define BC_IN_U8 (1u << BC_U8)
#define BC_IN_BITS (1u << BC_BITS)

typedef struct bc_run bc_run; /* session.h */

typedef struct bc_op {
    /* Fills the "made by" part of a checked node. */
    bc_status (*prepare)(bc_model *model, bc_node *node, bc_error *error);
    /* Computes all outputs for the samples of the run. */
    void (*run)(const bc_run *run, const bc_node *node);
} bc_op;

typedef struct bc_op_row {
    const char *name;
    bc_op_kind kind;
    uint32_t inputs; /* BC_IN_* */
    uint32_t weight_bits;
    const bc_op *op;
} bc_op_row;

enum bc_op_id {
#define X(name, kind, inputs, bits, op) BC_OP_##name,
#include "ops.def"
#undef X
    BC_OP_COUNT
};

extern const bc_op bc_op_float_product, bc_op_weight_product, bc_op_i8_product,
    bc_op_binary_product, bc_op_u8_product, bc_op_max_pool, bc_op_avg_pool, bc_op_act_scale,
    bc_op_subsample_pad, bc_op_elementwise, bc_op_flatten, bc_op_constant;

/* ops.c: the table, rows in the order of ops.def. */
extern const bc_op_row bc_ops[BC_OP_COUNT];

/* window.c: output size of one axis; 0 where the window does not fit. */
size_t bc_window_output(size_t size, size_t before, size_t after, size_t kernel, size_t dilation,
                        size_t stride);

/* window.c: tap_offset, taps, chunk of a node whose window looks at pixels of node->pixel_bytes. */
bc_status bc_window_prepare(bc_model *model, bc_node *node, bc_error *error);

/* window.c: ld and chunk of a node, from its channels and taps. */
void bc_node_chunk(bc_node *node);

/* window.c: makes the whole image one pixel under one tap, which is what a dense product sees. */
void bc_window_flatten(bc_node *node);

/* row_taps.c: where there are no more channels than these, and the padding is not too large, makes
 * each row of the kernel one tap, of a padded copy of the input: changes window, inner and copy. */
enum { BC_FEW_CHANNELS = 15 }; /* of numbers: more make loops that are long enough without */
void bc_row_taps(bc_node *node, size_t most_channels);

/* row_taps.c: fills the run's prep memory with the node's copy. convert: `count` elements of the
 * input to those of the copy. */
typedef void bc_convert(const bc_node *node, const void *from, void *to, size_t count);
void bc_copy_input(const bc_run *run, const bc_node *node, bc_convert *convert);

/* row_taps.c: row r of that copy, the padding around it set to 0; `unit`: bytes of what pixel_bytes
 * counts. Returns where the image's row goes, and sets *of to its number among the rows of all
 * samples; NULL: all of it is padding. */
char *bc_copy_row(const bc_run *run, const bc_node *node, size_t unit, size_t r, size_t *of);

/* window.c: pointers of output pixels p0 .. p0 + m - 1 (p counts samples, rows, columns) into
 * `source`. */
void bc_window_pointers(const bc_node *node, const void *source, size_t p0, size_t m,
                        const void **pointers);

/* window.c: output columns [first, end) have all their taps inside, as far as columns go. */
void bc_window_inside_columns(const bc_window *win, size_t *first, size_t *end);

/* window.c: how many taps of output index o lie inside, and the first of them, on one axis. */
void bc_window_inside(size_t o, size_t size, size_t before, size_t kernel, size_t dilation,
                      size_t stride, size_t *first, size_t *count);

/* epilogue.c: for operations that make float rows: chooses the value whose memory can hold them, if
 * `allowed`; sets uses_rows. */
void bc_node_direct(bc_node *node, bool allowed);

/* weights.c: a 1-bit weight of the file, true = -1. */
bool bc_weight_bit(const bc_node *node, size_t filter, size_t k);

/* weights.c: how many of the weights [k, k + count) of a filter are -1. In panels of bits, whole
 * channels of a tap are whole words. */
size_t bc_weight_minus(const bc_node *node, size_t filter, size_t k, size_t count);

/* weights.c: repack to the kernels' panels, or use the file's in place. Sets weights and panel*. */
bc_status bc_weights_binary(bc_model *model, bc_node *node, bc_error *error);
bc_status bc_weights_16(bc_model *model, bc_node *node, bc_error *error);

/* weights.c: the same for `channels` under each tap, in `octets`. */
bc_status bc_weights_octets(bc_model *model, bc_node *node, size_t channels, size_t octets,
                            bc_error *error);
bc_status bc_weights_float(bc_model *model, bc_node *node, bc_error *error);

#endif
