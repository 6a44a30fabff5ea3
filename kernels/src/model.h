/* model.h: an opened model: values, nodes, and the tables that make a node ready to run. Immutable
 * once open. */
#ifndef BC_MODEL_H
#define BC_MODEL_H

#include "gguf.h"

/* Limits: generous for networks, small enough that no file makes the library ask for absurd memory.
 * How long a network runs is its own affair. */
enum {
    BC_MAX_VALUES = 1 << 14,
    BC_MAX_NODES = 1 << 13,
    BC_MAX_STEPS = 64,
    BC_MAX_SIZE = 1 << 26, /* elements of one value, also the largest C, H, W and padding */
    BC_MAX_TAPS = 1 << 16,
    BC_MAX_EXACT = 1 << 24, /* integers below it are exact in float32 */
};
#define BC_MAX_MODEL_BYTES ((size_t)1 << 31)    /* of tables and repacked weights */
#define BC_MAX_VALUES_BYTES ((uint64_t)1 << 32) /* of all values of one sample */

typedef struct bc_value {
    const char *name;
    bc_dtype dtype;
    uint32_t c, h, w;
    size_t pixels;      /* h * w */
    size_t pixel_bytes; /* bits: 8 * ceil(c / 64) */
    size_t bytes;       /* of one sample */
} bc_value;

typedef enum bc_step_op {
    BC_STEP_AFFINE,
    BC_STEP_RELU,
    BC_STEP_HARDTANH,
    BC_STEP_PRELU,
    BC_STEP_ADD,
    BC_STEP_MUL_MAP,
    BC_STEP_STORE,
    BC_STEP_SIGN,
    BC_STEP_THRESHOLD,
    BC_STEP_OPS
} bc_step_op;

typedef struct bc_step {
    bc_step_op op;
    int32_t value;      /* -1: none */
    const float *scale; /* affine; the slope of prelu */
    const float *bias;
    const int32_t *tau;
    size_t count[2]; /* entries of the parameters */
} bc_step;

typedef enum bc_op_kind { BC_KIND_PRODUCT, BC_KIND_DENSE, BC_KIND_POOL, BC_KIND_MAP } bc_op_kind;

/* Where the window of each output pixel lies, in units that every pixel size shares. */
typedef struct bc_window {
    size_t h, w;   /* of the input */
    size_t oh, ow; /* of the output */
    size_t kh, kw, sh, sw, dh, dw;
    size_t top, left, bottom, right;
} bc_window;

/* A copy of a node's main input in the session's `prep` memory: converted, or with zeros around. */
typedef struct bc_copy {
    size_t h, w, top, left; /* size with the zeros; where the image begins */
    size_t pixel_bytes;
} bc_copy;

/* A copy of bits with several taps side by side: output columns of a row, the taps of each, and the
 * words of a column. */
typedef struct bc_bit_rows {
    size_t columns, taps, stride, dilation, left, words;
} bc_bit_rows;

typedef struct bc_node {
    const char *name;
    uint32_t op;   /* position in ops.def */
    size_t offset; /* of its first key in the file, for messages */
    bc_window window;
    uint32_t groups, before, after;
    size_t size[2];                     /* of constant: height, width */
    int32_t pad_value, multiply_offset; /* the latter: `offset` of u8 ops */
    bool count_include_pad;

    uint32_t filters, k;          /* C_out and the reduction length; 0 without weights */
    uint32_t group_in, group_out; /* channels per group */
    const bc_tensor *weight;      /* only while opening */
    const uint8_t *or_mask_bytes; /* only while opening */
    size_t weight_bytes, constant_bytes;
    bool weight_in_panels; /* layout panel8 or panel16 */
    bool weight_in_octets; /* layout octet16 */

    uint32_t input, input_count, output_count;
    const uint32_t *inputs, *outputs;
    bc_step *steps;
    uint32_t step_count;
    uint32_t c, h, w; /* shape of all that it stores */

    /* Made by bc_op.prepare */
    size_t taps;        /* pointers per output pixel */
    size_t inner;       /* words or elements per pointer and group */
    size_t ld;          /* elements per row of accumulators, multiple of 16 */
    size_t chunk;       /* most pixels of a task */
    size_t pixel_bytes; /* of the main input as the kernel reads it */
    size_t tap_bits;    /* of binary ops: bits per pointer and group */
    bc_window image;    /* ... and the window as the file has it */
    bc_bit_rows rows;   /* of binary ops: a copy with prep_bytes, if it has columns */
    size_t joined;      /* of binary ops: pixels per tap, a row of the kernel; 0: not rows */
    size_t inside_left, inside_first, inside_end; /* ... padding before them; columns without any */
    bc_copy copy;        /* of the main input, if the node makes one by bc_copy_input */
    size_t margin_bytes; /* from the copied margins of one row of the input to the next; 0: none */
    size_t listed, list_bytes; /* of binary ops: pixels whose pointers tasks share, memory for it */
    uint64_t list_at;          /* ... its place in the memory for all lists of a session */
    size_t prep_bytes;   /* memory per sample for a converted copy of the main input, 0: none */
    size_t table_octets; /* tables per sample, of eight channels each, made of the main input */
    const void *pad;     /* one padding pixel */
    const void *weights; /* in the kernels' layout */
    size_t panel_bytes;  /* of one panel of them */
    size_t panels;       /* per group */
    size_t panel;        /* filters per panel */
    bool depthwise;      /* one input and one output channel per group: no panels */
    bool uses_acc;       /* needs rows of integers in the scratch memory */
    bool uses_rows;      /* needs rows of floats there */
    const size_t *tap_offset; /* bytes from the window's first pixel to each tap */
    const uint64_t *or_mask;  /* words of one pixel */
    /* Binary ops: border classes. Class of a pixel = row_class[oh] * col_classes + col_class[ow] */
    const uint32_t *row_class, *col_class;
    const uint32_t *col_run; /* how many columns from ow on have one class */
    size_t col_classes;
    int32_t *base;        /* [class][filters]: acc = base - 2 * pop */
    bool halved;          /* ... base and acc are half of what they say, the affine has the 2 */
    const int32_t *limit; /* [class][groups][panels * 8]: bit = pop > limit; NULL: base is used */
    size_t limit_stride;  /* elements per class */
    int32_t direct;       /* value id whose rows can hold the accumulators themselves, -1: none */
} bc_node;

typedef struct bc_block bc_block;

struct bc_model {
    const void *mapping; /* NULL: borrowed memory */
    size_t mapping_size;
    bool mapped;  /* by mmap, else by malloc */
    bc_gguf gguf; /* only while opening */
    bc_block *blocks;
    size_t owned_bytes;

    bc_value *values;
    bc_node *nodes;
    uint32_t value_count, node_count, input, output;
    uint64_t list_bytes; /* of all nodes */
    size_t norm_count;
    const float *mean, *std;
    size_t class_count;
    const char **classes;
    size_t meta_count;
    const char **meta; /* key, text, key, text ... sorted by key */
};

/* memory.c: a block of `bytes` begins at a multiple of a cache line, or, if it is large, of a large
 * page, and takes whole ones. */
#define BC_LARGE_PAGE ((size_t)2 << 20)
static inline size_t bc_block_align(size_t bytes) {
    return bytes < BC_LARGE_PAGE ? BC_LINE : BC_LARGE_PAGE;
}
/* What must be asked for, so that it holds one. */
static inline size_t bc_block_room(size_t bytes) {
    return bc_round_up(bytes, bc_block_align(bytes)) + bc_block_align(bytes);
}

/* memory.c: the block's place in `memory`, which has bc_block_room(bytes), is zeroed and fresh;
 * asks the system for large pages there. */
void *bc_align_block(void *memory, size_t bytes);

/* memory.c: zeroed, 64-byte aligned memory that lives as long as the model. NULL sets *error. */
void *bc_model_alloc(bc_model *model, size_t count, size_t size, bc_error *error);
void bc_model_free_all(bc_model *model);

/* model_read.c: keys -> values, nodes, steps; types and presence only. */
bc_status bc_model_read(bc_model *model, bc_error *error);

/* model_check.c: order, shapes, sizes of tensors, ranges of everything. */
bc_status bc_model_check(bc_model *model, bc_error *error);

#endif
