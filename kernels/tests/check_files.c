/* check_files.c: files that are not sound are refused with the right status at the right byte,
 * whatever is wrong with them; no file makes the library read beyond it. Run it under sanitizers:
 * cmake -DBC_SANITIZE=ON. */
#define _POSIX_C_SOURCE 200809L
#include "gguf_edit.h"
#include "samples.h"

#include <bincompress.h>
#include <string.h>

typedef enum change {
    HEADER, /* 4 bytes of the header at `index` become `number` */
    DROP,   /* the key goes */
    TWICE,  /* the key comes again at the end */
    NUMBER, /* number `index` of the key becomes `number` */
    COUNT,  /* the length of the array becomes `number` */
    TYPE,   /* the type of the key (of its elements) becomes `number` */
    TEXT,   /* `text` is written over the text, `index` bytes after its beginning */
    RETEXT, /* the whole text becomes `text`, of any length */
    T_DROP, /* the tensor's description goes */
    T_TEXT, /* `text` becomes the end of the tensor's name */
    T_DIMS, /* number of dimensions becomes `number` */
    T_SIZE, /* first dimension becomes `number` */
    T_TYPE, /* type becomes `number` */
    T_AT,   /* offset becomes `number` */
    DATA,   /* 4 bytes of the tensor, from byte `index` on, become `number`; checksum put right */
    RAW,    /* the same, but the checksum is left as it was */
    MORE    /* `number` zero bytes at the end of the data */
} change;

typedef struct broken {
    change change;
    const char *name; /* of the key or tensor */
    size_t index;
    uint64_t number;
    const char *text;
    bc_status status;
    const char *at; /* key or tensor whose description is to blame; "data": its data; NULL: free */
} broken;

#define K "bincompress."
#define N(n) "bincompress.node." #n "."

/* Over every_op.gguf; make_samples.py shows the network. */
static const broken cases[] = {
    {HEADER, "", 0, 0x46554748, "", BC_ERR_MAGIC, NULL},
    {HEADER, "", 4, 2, "", BC_ERR_VERSION, NULL},
    {HEADER, "", 4, 0x03000000, "", BC_ERR_VERSION, NULL}, /* big-endian */
    {HEADER, "", 8, 1u << 20, "", BC_ERR_LIMIT, NULL},
    {HEADER, "", 8, 100000, "", BC_ERR_TRUNCATED, NULL},
    {HEADER, "", 12, 1, "", BC_ERR_LIMIT, NULL},
    {HEADER, "", 16, 1u << 30, "", BC_ERR_LIMIT, NULL},
    {HEADER, "", 16, 1u << 20, "", BC_ERR_TRUNCATED, NULL},
    {HEADER, "", 20, 1u << 31, "", BC_ERR_LIMIT, NULL},

    {DROP, "general.architecture", 0, 0, "", BC_ERR_KEY, NULL},
    {TEXT, "general.architecture", 0, 0, "llama......", BC_ERR_VERSION, "general.architecture"},
    {NUMBER, "general.alignment", 0, 32, "", BC_ERR_VALUE, "general.alignment"},
    {NUMBER, K "format_version", 0, 0, "", BC_ERR_VERSION, K "format_version"},
    {NUMBER, K "format_version", 0, 1, "", BC_OK, NULL},
    {NUMBER, K "format_version", 0, 3, "", BC_ERR_VERSION, K "format_version"},
    {DROP, K "format_version", 0, 0, "", BC_ERR_KEY, NULL},
    {DROP, K "values.dtype", 0, 0, "", BC_ERR_KEY, NULL},
    {TYPE, K "values.name", 0, 4, "", BC_ERR_TRUNCATED, NULL},
    {TYPE, K "crc32", 0, 6, "", BC_ERR_TYPE, K "crc32"},
    {TYPE, K "crc32", 0, 77, "", BC_ERR_TYPE, K "crc32"},
    {TWICE, K "crc32", 0, 0, "", BC_ERR_KEY, K "crc32"},
    {TWICE, N(3) "op", 0, 0, "", BC_ERR_KEY, N(3) "op"},
    {NUMBER, K "crc32", 0, 1, "", BC_ERR_CHECKSUM, "data"},
    {RAW, "node.2.weight", 8, 0x3f800000, "", BC_ERR_CHECKSUM, "data"},
    {COUNT, K "values.shape", 0, UINT64_MAX, "", BC_ERR_TRUNCATED, NULL},
    {COUNT, K "values.name", 0, (uint64_t)1 << 61, "", BC_ERR_TRUNCATED, NULL},
    {NUMBER, K "values.shape", 0, 0, "", BC_ERR_LIMIT, K "values.shape"},
    {NUMBER, K "values.shape", 1, UINT32_MAX, "", BC_ERR_LIMIT, K "values.shape"},
    {NUMBER, K "values.shape", 7, 1u << 26, "", BC_ERR_LIMIT, K "values.shape"},
    {NUMBER, K "values.shape", 3, 65, "", BC_ERR_SHAPE, N(0) "op"},
    {NUMBER, K "values.shape", 10, 9, "", BC_ERR_SHAPE, N(2) "op"},
    {NUMBER, K "values.shape", 0, 4, "", BC_ERR_SHAPE, K "normalize.mean"},
    {TEXT, K "values.dtype", 8, 0, "u9", BC_ERR_TYPE, K "values.dtype"},
    {TEXT, K "values.name", 9, 0, "\x01", BC_OK, NULL}, /* names are free */
    {NUMBER, K "input", 0, 40, "", BC_ERR_GRAPH, K "input"},
    {NUMBER, K "output", 0, 1u << 31, "", BC_ERR_GRAPH, K "input"},
    {NUMBER, K "input", 0, 2, "", BC_ERR_TYPE, K "values.dtype"},
    {NUMBER, K "normalize.std", 1, 0, "", BC_ERR_VALUE, K "normalize.mean"},
    {NUMBER, K "normalize.mean", 0, 0x7fc00000, "", BC_ERR_VALUE, K "normalize.mean"},
    {DROP, K "normalize.std", 0, 0, "", BC_ERR_KEY, NULL},
    {NUMBER, K "node_count", 0, 0, "", BC_ERR_LIMIT, K "node_count"},
    {NUMBER, K "node_count", 0, UINT32_MAX, "", BC_ERR_LIMIT, K "node_count"},
    {NUMBER, K "node_count", 0, 18, "", BC_ERR_KEY, NULL},
    {NUMBER, K "node_count", 0, 16, "", BC_ERR_KEY,
     N(16) "dilation"}, /* sorted first of what is left over */

    {TEXT, N(0) "op", 0, 0, "u8_conv3d", BC_ERR_OP, N(0) "op"},
    {TEXT, N(10) "op", 0, 0, "avg_pool", BC_ERR_KEY,
     N(10) "op"}, /* its count_include_pad is missing */
    {TEXT, N(0) "steps", 8, 0, "treshhold", BC_ERR_OP, N(0) "steps"},
    {TEXT, N(2) "weight_layout", 0, 0, "rowz", BC_ERR_OP, N(2) "weight_layout"},
    {TEXT, N(0) "weight_layout", 0, 0, "panel32", BC_ERR_OP, N(0) "weight_layout"},
    {DROP, N(4) "steps", 0, 0, "", BC_ERR_KEY, N(4) "op"},
    {DROP, N(4) "op", 0, 0, "", BC_ERR_KEY, NULL},
    {DROP, N(0) "offset", 0, 0, "", BC_ERR_KEY, N(0) "op"},
    {TYPE, N(0) "offset", 0, 4, "", BC_ERR_TYPE, N(0) "offset"},
    {COUNT, N(0) "padding", 0, 3, "", BC_ERR_TRUNCATED, NULL}, /* what follows is read as keys */
    {NUMBER, N(4) "inputs", 0, 19, "", BC_ERR_GRAPH, N(4) "op"},
    {NUMBER, N(4) "inputs", 0, 4, "", BC_ERR_SHAPE, N(4) "op"},
    {NUMBER, N(4) "inputs", 1, 6, "", BC_ERR_GRAPH, N(4) "op"},  /* reads what it makes */
    {NUMBER, N(4) "inputs", 1, 17, "", BC_ERR_GRAPH, N(4) "op"}, /* reads what a later node makes */
    {NUMBER, N(5) "inputs", 0, 4, "", BC_ERR_TYPE, N(5) "op"},
    {NUMBER, N(2) "outputs", 1, 3, "", BC_ERR_GRAPH, N(2) "op"},
    {NUMBER, N(5) "outputs", 0, 0, "", BC_ERR_GRAPH, N(5) "op"},
    {NUMBER, N(5) "outputs", 0, UINT32_MAX, "", BC_ERR_GRAPH, N(5) "op"},
    {NUMBER, N(5) "step_values", 2, 6, "", BC_ERR_GRAPH, N(5) "op"},
    {NUMBER, N(5) "step_values", 0, 6, "", BC_ERR_GRAPH, N(5) "op"},
    {NUMBER, N(5) "step_values", 2, UINT32_MAX, "", BC_ERR_GRAPH, N(5) "op"},
    {TEXT, N(9) "steps", 33, 0, "relu", BC_ERR_GRAPH, N(9) "op"},
    {NUMBER, N(0) "stride", 0, 0, "", BC_ERR_VALUE, N(0) "op"},
    {NUMBER, N(0) "stride", 1, 2, "", BC_ERR_SHAPE, N(0) "op"},
    {NUMBER, N(0) "dilation", 0, UINT32_MAX, "", BC_ERR_LIMIT, N(0) "dilation"},
    {NUMBER, N(0) "dilation", 0, 1u << 26, "", BC_ERR_SHAPE, N(0) "op"},
    {NUMBER, N(0) "padding", 2, 1u << 26, "", BC_ERR_LIMIT, N(0) "op"},
    {NUMBER, N(0) "padding", 2, 0, "", BC_ERR_SHAPE, N(0) "op"},
    {NUMBER, N(0) "kernel", 0, 5, "", BC_ERR_SHAPE, N(0) "op"},
    {NUMBER, N(3) "kernel", 0, 0, "", BC_ERR_VALUE, N(3) "op"},
    {NUMBER, N(3) "kernel", 0, 1u << 26, "", BC_ERR_LIMIT, N(3) "op"},
    {NUMBER, N(10) "padding", 0, 3, "", BC_ERR_VALUE, N(10) "op"},
    {NUMBER, N(11) "count_include_pad", 0, 2, "", BC_ERR_VALUE, N(11) "op"},
    {NUMBER, N(0) "groups", 0, 0, "", BC_ERR_SHAPE, N(0) "op"},
    {NUMBER, N(7) "groups", 0, 3, "", BC_ERR_SHAPE, N(7) "op"},
    {NUMBER, N(7) "groups", 0, 1, "", BC_ERR_SHAPE, N(7) "op"},
    {NUMBER, N(4) "pad_value", 0, 2, "", BC_ERR_VALUE, N(4) "op"},
    {NUMBER, N(0) "pad_value", 0, 1, "", BC_ERR_VALUE, N(0) "op"},
    {NUMBER, N(0) "offset", 0, 32768, "", BC_ERR_VALUE, N(0) "op"},
    {NUMBER, N(0) "offset", 0, 0x80000000u, "", BC_ERR_VALUE, N(0) "op"},
    {NUMBER, N(8) "after", 0, UINT32_MAX, "", BC_ERR_LIMIT, N(8) "op"},
    {NUMBER, N(8) "before", 0, 1, "", BC_ERR_SHAPE, N(8) "op"},
    {NUMBER, N(0) "weight_shape", 0, 63, "", BC_ERR_LAYOUT, "node.0.weight"},
    {NUMBER, N(0) "weight_shape", 0, 0, "", BC_ERR_LIMIT, N(0) "op"},
    {NUMBER, N(0) "weight_shape", 3, 1u << 25, "", BC_ERR_LIMIT, N(0) "op"},
    {NUMBER, N(2) "weight_shape", 3, 4, "", BC_ERR_LAYOUT, "node.2.weight"},
    {NUMBER, N(13) "padding", 0, 1, "", BC_ERR_SHAPE,
     N(13) "op"}, /* a dense product of less than the image */
    {TEXT, N(16) "weight_layout", 0, 0, "rows", BC_OK, NULL},

    /* layouts that are not the operation's, or that the sizes do not fit */
    {TEXT, N(0) "weight_layout", 0, 0, "octet16", BC_ERR_OP, N(0) "weight_layout"},
    {RETEXT, N(4) "weight_layout", 0, 0, "octet16", BC_ERR_OP, N(4) "weight_layout"},
    {TEXT, N(18) "weight_layout", 0, 0, "panel16", BC_ERR_OP, N(18) "weight_layout"},
    {TEXT, N(19) "weight_layout", 0, 0, "panel16", BC_OK, NULL},
    {RETEXT, N(4) "weight_layout", 0, 0, "panel8", BC_ERR_SHAPE, N(4) "op"},    /* 20 filters */
    {RETEXT, N(9) "weight_layout", 0, 0, "octet16", BC_ERR_SHAPE, N(9) "op"},   /* 24 filters */
    {RETEXT, N(9) "weight_layout", 0, 0, "panel16", BC_ERR_SHAPE, N(9) "op"},   /* 24 filters */
    {RETEXT, N(17) "weight_layout", 0, 0, "octet16", BC_ERR_SHAPE, N(17) "op"}, /* 24 channels */
    {RETEXT, N(18) "weight_layout", 0, 0, "rows", BC_OK, NULL},
    {RETEXT, N(17) "op", 0, 0, "weight_conv2d", BC_OK, NULL},
    {RETEXT, N(19) "op", 0, 0, "i8_conv2d", BC_OK, NULL},
    {RETEXT, N(17) "op", 0, 0, "binary_conv2d", BC_ERR_TYPE, N(17) "op"},
    {NUMBER, N(18) "pad_value", 0, 1, "", BC_ERR_VALUE, N(18) "op"},
    {NUMBER, N(18) "groups", 0, 2, "", BC_ERR_SHAPE, N(18) "op"},
    {NUMBER, N(22) "padding", 0, 1, "", BC_ERR_SHAPE, N(22) "op"},

    {NUMBER, N(20) "size", 0, 0, "", BC_ERR_SHAPE, N(20) "op"},
    {NUMBER, N(20) "size", 0, 3, "", BC_ERR_SHAPE, N(20) "op"},
    {NUMBER, N(20) "size", 1, 1u << 26, "", BC_ERR_SHAPE, N(20) "op"},
    {NUMBER, N(20) "size", 1, UINT32_MAX, "", BC_ERR_LIMIT, N(20) "size"},
    {DROP, N(20) "size", 0, 0, "", BC_ERR_KEY, N(20) "op"},
    {NUMBER, N(20) "inputs", 0, 1, "", BC_ERR_TYPE, N(20) "op"},
    {NUMBER, N(20) "inputs", 0, 2, "", BC_OK, NULL}, /* which value it is does not matter */
    {TEXT, N(20) "steps", 8, 0, "stare", BC_ERR_OP, N(20) "steps"},
    {T_TEXT, "node.20.factors", 0, 0, "fractor", BC_ERR_KEY, N(20) "op"},
    {T_TYPE, "node.20.factors", 0, 26, "", BC_ERR_TYPE, "node.20.factors"},
    {DATA, "node.20.factors", 60, 0x7f800000, "", BC_ERR_VALUE, "data"},
    {DATA, "node.20.factors", 60, 0x3f800000, "", BC_OK, NULL},

    {T_DROP, "node.2.weight", 0, 0, "", BC_ERR_LAYOUT, NULL}, /* its bytes are a gap */
    {T_TEXT, "node.2.weight", 0, 0, "weigth", BC_ERR_KEY, N(2) "op"},
    {T_TEXT, "node.6.or_mask", 0, 0, "or_musk", BC_ERR_KEY, "node.6.or_musk"},
    {T_DIMS, "node.2.weight", 0, 0, "", BC_ERR_LIMIT, "node.2.weight"},
    {T_DIMS, "node.2.weight", 0, 5, "", BC_ERR_LIMIT, "node.2.weight"},
    {T_SIZE, "node.2.weight", 0, 0, "", BC_ERR_LIMIT, "node.2.weight"},
    {T_SIZE, "node.2.weight", 0, UINT64_MAX, "", BC_ERR_LIMIT, "node.2.weight"},
    {T_SIZE, "node.2.weight", 0, (uint64_t)1 << 62, "", BC_ERR_LIMIT, "node.2.weight"},
    {T_SIZE, "node.2.weight", 0, 1u << 20, "", BC_ERR_TRUNCATED, "node.2.weight"},
    {T_TYPE, "node.2.weight", 0, 2, "", BC_ERR_TYPE, "node.2.weight"},
    {T_TYPE, "node.2.weight", 0, 26, "", BC_ERR_TYPE, "node.2.weight"},
    {T_TYPE, "node.0.step.0.tau", 0, 0, "", BC_ERR_TYPE, "node.0.step.0.tau"},
    {T_AT, "node.2.weight", 0, 0, "", BC_ERR_LAYOUT, "node.2.weight"},
    {T_AT, "node.0.step.0.tau", 0, 221, "", BC_ERR_LAYOUT, "node.0.step.0.tau"},
    {T_AT, "node.2.weight", 0, (uint64_t)1 << 63, "", BC_ERR_TRUNCATED, "node.2.weight"},
    {MORE, "", 0, 1, "", BC_ERR_LAYOUT, NULL},
    {MORE, "", 0, 64, "", BC_ERR_LAYOUT, NULL},
    {DATA, "node.2.weight", 4, 0x7f800000, "", BC_ERR_VALUE, "data"},
    {DATA, "node.2.step.0.scale", 4, 0xffc00000, "", BC_ERR_VALUE, "data"},
    {DATA, "node.6.or_mask", 0, 0x10000000, "", BC_OK, NULL}, /* beyond the mask */
    {DATA, "node.6.or_mask", 0, 0x00800000, "", BC_ERR_VALUE, "data"},
    {DATA, "node.2.weight", 4, 0x3f800000, "", BC_OK, NULL},
};

static int failures;

/* Opens a file that must not be touched beyond its end, frees it, returns the status. */
static bc_status try_open(uint8_t *file, size_t size, bc_error *error) {
    bc_model *model = NULL;
    *error = (bc_error){.offset = -2};
    bc_status status = bc_model_open_memory(file, size, &model, error);
    if ((status == BC_OK) != (model != NULL) ||
        (status && (error->code != status || error->offset == -2 || !error->message[0]))) {
        printf("FAIL: status %d, error %d at %lld: %s\n", status, error->code,
               (long long)error->offset, error->message);
        failures++;
    }
    /* what opens must run: no memory beyond what its values explain */
    bc_session *session = NULL;
    if (!status && bc_session_open(model, NULL, &session, NULL) == BC_OK &&
        bc_session_arena_bytes(session) < 1u << 24) {
        bc_value_info in, out;
        bc_model_value(model, bc_model_input(model), &in);
        bc_model_value(model, bc_model_output(model), &out);
        uint8_t *x = calloc((size_t)in.c * in.h * in.w, 4);
        float *y = calloc((size_t)out.c * out.h * out.w, sizeof *y);
        const bc_input input = {x, in.dtype == BC_U8 ? BC_U8 : BC_F32, BC_NCHW};
        if (bc_session_run(session, &input, 1, y, NULL))
            printf("FAIL: a file that opens does not run\n"), failures++;
        free(x);
        free(y);
    }
    bc_session_close(session);
    bc_model_close(model);
    free(file);
    return status;
}

static uint8_t *place_of(parts *p, const broken *b) {
    piece *tensor = find_piece(p->tensors, p->tensor_count, b->name);
    uint64_t at;
    memcpy(&at, tensor->data + tensor->size - 8, 8);
    return p->data.data + at + b->index;
}

static void apply(parts *p, const broken *b) {
    const uint32_t number = (uint32_t)b->number;
    piece *key = b->change >= DROP && b->change <= RETEXT
                     ? find_piece(p->keys, p->key_count, b->name)
                     : NULL;
    piece *tensor = b->change >= T_DROP && b->change <= T_AT
                        ? find_piece(p->tensors, p->tensor_count, b->name)
                        : NULL;
    uint8_t *after_name = tensor ? tensor->data + 8 + strlen(tensor->name) : NULL;
    switch (b->change) {
    case HEADER:
        break; /* once the file is put together */
    case DROP:
        free(key->data);
        memmove(key, key + 1, (size_t)(p->keys + --p->key_count - key) * sizeof *key);
        break;
    case TWICE:
        p->keys[p->key_count] = *key;
        p->keys[p->key_count].data = malloc(key->size);
        memcpy(p->keys[p->key_count++].data, key->data, key->size);
        break;
    case NUMBER:
        memcpy(key->data + value_at(key) + 4 * b->index, &number, 4);
        break;
    case COUNT:
        memcpy(key->data + value_at(key) - 8, &b->number, 8);
        break;
    case TYPE:
        memcpy(key->data + 8 + strlen(key->name) + (key->data[8 + strlen(key->name)] == 9 ? 4 : 0),
               &number, 4);
        break;
    case TEXT: {
        /* a text alone has its length first; in an array `index` counts from the first length on */
        size_t skip = key->data[8 + strlen(key->name)] == 9 ? 0 : 8;
        memcpy(key->data + value_at(key) + skip + b->index, b->text, strlen(b->text));
        break;
    }
    case RETEXT: {
        const size_t at = value_at(key);
        const uint64_t length = strlen(b->text);
        key->size = at + 8 + (size_t)length;
        key->data = realloc(key->data, key->size);
        memcpy(key->data + at, &length, 8);
        memcpy(key->data + at + 8, b->text, (size_t)length);
        break;
    }
    case T_DROP:
        free(tensor->data);
        memmove(tensor, tensor + 1,
                (size_t)(p->tensors + --p->tensor_count - tensor) * sizeof *tensor);
        break;
    case T_TEXT:
        memcpy(after_name - strlen(b->text), b->text, strlen(b->text));
        memcpy(tensor->name + strlen(tensor->name) - strlen(b->text), b->text, strlen(b->text));
        break;
    case T_DIMS:
        memcpy(after_name, &number, 4);
        break;
    case T_SIZE:
        memcpy(after_name + 4, &b->number, 8);
        break;
    case T_TYPE:
        memcpy(tensor->data + tensor->size - 12, &number, 4);
        break;
    case T_AT:
        memcpy(tensor->data + tensor->size - 8, &b->number, 8);
        break;
    case DATA:
    case RAW:
        memcpy(place_of(p, b), &number, 4);
        break;
    case MORE:
        p->data.data = realloc(p->data.data, p->data.size + (size_t)b->number);
        memset(p->data.data + p->data.size, 0, (size_t)b->number);
        p->data.size += (size_t)b->number;
        break;
    }
}

/* Where the case expects the error, -1 if it does not say. */
static int64_t expected_offset(parts *p, const broken *b) {
    if (!b->at)
        return -1;
    if (!strcmp(b->at, "data"))
        return (int64_t)(p->data.offset +
                         (b->change == DATA ? (size_t)(place_of(p, b) - p->data.data) : 0));
    if (b->change == TWICE)
        return (int64_t)p->keys[p->key_count - 1].offset;
    int is_tensor = !strncmp(b->at, "node.", 5);
    piece *found = find_piece(is_tensor ? p->tensors : p->keys,
                              is_tensor ? p->tensor_count : p->key_count, b->at);
    return (int64_t)found->offset;
}

static void check_cases(const uint8_t *sample, size_t sample_size) {
    static parts p; /* large */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const broken *b = &cases[i];
        const uint32_t number = (uint32_t)b->number;
        size_t size;
        bc_error error;
        take_apart(&p, sample, sample_size);
        apply(&p, b);
        int with_checksum =
            b->change != RAW && !(b->change == NUMBER && !strcmp(b->name, K "crc32"));
        uint8_t *file = put_together(&p, with_checksum, &size);
        if (b->change == HEADER)
            memcpy(file + b->index, &number, 4);
        bc_status status = try_open(file, size, &error);
        int64_t offset = expected_offset(&p, b);
        /* some bytes of data are within the 4 that were changed */
        int right_place = offset < 0 || (error.offset >= offset &&
                                         error.offset < offset + (b->change == DATA ? 4 : 1));
        if (status != b->status || (status && !right_place)) {
            printf("FAIL: case %zu (%s %s): status %d at %lld, expected %d at %lld: %s\n", i,
                   b->name, b->text, status, (long long)error.offset, b->status, (long long)offset,
                   error.message);
            failures++;
        }
        free_parts(&p);
    }
    printf("checked %zu broken files\n", sizeof cases / sizeof *cases);
}

/* Cut anywhere, a file is refused. */
static void check_truncation(const uint8_t *sample, size_t sample_size) {
    for (size_t size = 0; size < sample_size; size++) {
        bc_error error;
        uint8_t *file = aligned_bytes(size);
        memcpy(file, sample, size);
        bc_status status = try_open(file, size, &error);
        if (status != BC_ERR_TRUNCATED) {
            printf("FAIL: cut to %zu bytes: status %d: %s\n", size, status, error.message);
            failures++;
        }
    }
    printf("checked %zu cut files\n", sample_size);
}

/* Damaged at random, with and without a checksum that fits, a file is refused or runs; it never
 * crashes. */
static void check_damage(const uint8_t *sample, size_t sample_size, size_t rounds) {
    uint64_t state = 20240229;
    size_t opened = 0;
    static parts p;
    take_apart(&p, sample, sample_size);
    free(put_together(&p, 1, &(size_t){0}));
    for (size_t i = 0; i < rounds; i++) {
        bc_error error;
        uint8_t *file = aligned_bytes(sample_size);
        memcpy(file, sample, sample_size);
        for (int k = 0; k < 1 + (int)(i % 3); k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            size_t at =
                (size_t)(state >> 33) % p.data.offset; /* damage to data is found by the checksum */
            file[at] = (uint8_t)(i % 2 ? state >> 25 : file[at] ^ 1u << (state >> 25 & 7));
        }
        opened += try_open(file, sample_size, &error) == BC_OK;
    }
    free_parts(&p);
    printf("checked %zu damaged files, %zu of them sound\n", rounds, opened);
}

int main(void) {
    for (size_t i = 0; i < sizeof sample_names / sizeof *sample_names; i++) {
        size_t size;
        uint8_t *sample = read_sample(sample_names[i], "gguf", &size);
        if (i == 0)
            check_cases(sample, size);
        check_truncation(sample, size);
        check_damage(sample, size, 20000);
        free(sample);
    }
    bc_model *model = (bc_model *)&failures;
    if (bc_model_open_file("/nonexistent/model.gguf", &model, NULL) != BC_ERR_IO || model) {
        printf("FAIL: a file that is not there\n");
        failures++;
    }
    if (bc_model_open_file("/", &model, NULL) != BC_ERR_IO || model) {
        printf("FAIL: a directory\n");
        failures++;
    }
    if (bc_model_open_memory("", 1, NULL, NULL) != BC_ERR_ARGUMENT ||
        bc_model_open_memory(NULL, 1, &model, NULL) != BC_ERR_ARGUMENT) {
        printf("FAIL: NULL\n");
        failures++;
    }
    printf("%s: %d failures\n", failures ? "FAIL" : "ok", failures);
    return failures != 0;
}
