/* gguf.c: parses the container. Every length is compared with what is left of the file before it is
 * used, and no count can ask for more memory than a small multiple of the file's size. */
#include "gguf.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_KEYS = 1 << 20,
    MAX_TENSORS = 1 << 18,
    MAX_KEY_BYTES = 1 << 16,
    MAX_DIMS = 4,
    ALIGNMENT = 64
};
enum { MIN_KEY_BYTES = 8 + 4 + 1, MIN_TENSOR_BYTES = 8 + 4 + 8 + 4 + 8 };

typedef struct cursor {
    const uint8_t *data;
    size_t size, at;
    bc_error *error;
} cursor;

static bool has(const cursor *c, uint64_t bytes) {
    return bytes <= c->size - c->at;
}

static bc_status truncated(const cursor *c, const char *what) {
    return bc_fail(c->error, BC_ERR_TRUNCATED, (int64_t)c->at, "the file ends within %s", what);
}

uint32_t bc_read_u32(const uint8_t *p) {
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

uint64_t bc_read_u64(const uint8_t *p) {
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

bool bc_text_is(bc_text text, const char *other) {
    return text.size == strlen(other) && memcmp(text.data, other, text.size) == 0;
}

bc_text bc_gguf_next_text(const uint8_t **at) {
    bc_text text = {(const char *)*at + 8, (size_t)bc_read_u64(*at)};
    *at += 8 + text.size;
    return text;
}

static bc_status read_u32(cursor *c, uint32_t *x, const char *what) {
    if (!has(c, 4))
        return truncated(c, what);
    *x = bc_read_u32(c->data + c->at);
    c->at += 4;
    return BC_OK;
}

static bc_status read_u64(cursor *c, uint64_t *x, const char *what) {
    if (!has(c, 8))
        return truncated(c, what);
    *x = bc_read_u64(c->data + c->at);
    c->at += 8;
    return BC_OK;
}

static bc_status read_text(cursor *c, bc_text *text, const char *what) {
    uint64_t size = 0;
    bc_status status = read_u64(c, &size, what);
    if (status)
        return status;
    if (!has(c, size))
        return truncated(c, what);
    *text = (bc_text){(const char *)c->data + c->at, (size_t)size};
    c->at += (size_t)size;
    return BC_OK;
}

static size_t element_bytes(uint32_t type) {
    static const uint8_t bytes[BC_GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return bytes[type];
}

static bc_status read_elements(cursor *c, bc_kv *kv) {
    kv->data = c->data + c->at;
    if (kv->type == BC_GGUF_STRING) {
        bc_text skipped;
        for (uint64_t i = 0; i < kv->count; i++) {
            bc_status status = read_text(c, &skipped, "a text");
            if (status)
                return status;
        }
        return BC_OK;
    }
    size_t bytes = element_bytes(kv->type);
    if (kv->count > (c->size - c->at) / bytes)
        return truncated(c, "the value of a key");
    c->at += (size_t)kv->count * bytes;
    return BC_OK;
}

static bc_status read_kv(cursor *c, bc_kv *kv) {
    uint32_t type = 0;
    *kv = (bc_kv){.offset = c->at, .count = 1};
    bc_status status = read_text(c, &kv->key, "a key");
    if (status)
        return status;
    if (kv->key.size == 0 || kv->key.size >= MAX_KEY_BYTES)
        return bc_fail(c->error, BC_ERR_LIMIT, (int64_t)kv->offset, "a key of %zu bytes",
                       kv->key.size);
    if ((status = read_u32(c, &type, "the type of a key")))
        return status;
    if (type == BC_GGUF_ARRAY) {
        kv->is_array = true;
        if ((status = read_u32(c, &type, "the type of an array")))
            return status;
        if ((status = read_u64(c, &kv->count, "the length of an array")))
            return status;
    }
    if (type >= BC_GGUF_TYPES || type == BC_GGUF_ARRAY)
        return bc_fail(c->error, BC_ERR_TYPE, (int64_t)kv->offset,
                       "key of unknown or nested type %u", type);
    kv->type = (bc_gguf_type)type;
    return read_elements(c, kv);
}

static int compare_text(bc_text a, bc_text b) {
    int order = memcmp(a.data, b.data, bc_min(a.size, b.size));
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* The position breaks ties, so that of two equal keys the later one is reported. */
static int compare_kv(const void *left, const void *right) {
    const bc_kv *a = left, *b = right;
    int order = compare_text(a->key, b->key);
    return order ? order : (a->offset > b->offset) - (a->offset < b->offset);
}

static int compare_tensor(const void *left, const void *right) {
    const bc_tensor *a = left, *b = right;
    int order = compare_text(a->name, b->name);
    return order ? order : (a->offset > b->offset) - (a->offset < b->offset);
}

static bc_status read_keys(cursor *c, bc_gguf *gguf, uint64_t count) {
    gguf->kv = calloc((size_t)count + 1, sizeof *gguf->kv);
    if (!gguf->kv)
        return bc_fail(c->error, BC_ERR_MEMORY, -1, "no memory for %llu keys",
                       (unsigned long long)count);
    for (; gguf->kv_count < count; gguf->kv_count++) {
        bc_status status = read_kv(c, &gguf->kv[gguf->kv_count]);
        if (status)
            return status;
    }
    qsort(gguf->kv, gguf->kv_count, sizeof *gguf->kv, compare_kv);
    for (size_t i = 1; i < gguf->kv_count; i++)
        if (compare_text(gguf->kv[i - 1].key, gguf->kv[i].key) == 0)
            return bc_fail(c->error, BC_ERR_KEY, (int64_t)gguf->kv[i].offset,
                           "key %.*s is there twice", (int)bc_min(gguf->kv[i].key.size, 100),
                           gguf->kv[i].key.data);
    return BC_OK;
}

static bc_status read_tensor(cursor *c, bc_tensor *tensor, uint64_t *place) {
    uint32_t dims = 0;
    uint64_t size = 0, elements = 1;
    *tensor = (bc_tensor){.offset = c->at};
    int64_t at = (int64_t)c->at;
    bc_status status = read_text(c, &tensor->name, "the name of a tensor");
    if (status)
        return status;
    int shown = (int)bc_min(tensor->name.size, 100);
    if ((status = read_u32(c, &dims, "the description of a tensor")))
        return status;
    if (dims < 1 || dims > MAX_DIMS)
        return bc_fail(c->error, BC_ERR_LIMIT, at, "tensor %.*s: %u dimensions", shown,
                       tensor->name.data, dims);
    for (uint32_t i = 0; i < dims; i++) {
        if ((status = read_u64(c, &size, "the description of a tensor")))
            return status;
        /* 2^60 elements of 4 bytes do not overflow, and are more than any file holds */
        if (size == 0 || elements > ((uint64_t)1 << 60) / size)
            return bc_fail(c->error, BC_ERR_LIMIT, at, "tensor %.*s: impossible size", shown,
                           tensor->name.data);
        elements *= size;
    }
    if ((status = read_u32(c, &tensor->type, "the description of a tensor")))
        return status;
    if (tensor->type != BC_GGML_F32 && tensor->type != BC_GGML_I32 && tensor->type != BC_GGML_I8)
        return bc_fail(c->error, BC_ERR_TYPE, at, "tensor %.*s: type %u is not F32, I32 or I8",
                       shown, tensor->name.data, tensor->type);
    if ((status = read_u64(c, place, "the description of a tensor")))
        return status;
    uint64_t bytes = elements * (tensor->type == BC_GGML_I8 ? 1 : 4);
    if (bytes > c->size || *place > c->size)
        return bc_fail(c->error, BC_ERR_TRUNCATED, at, "tensor %.*s lies outside the file", shown,
                       tensor->name.data);
    tensor->elements = (size_t)elements;
    tensor->bytes = (size_t)bytes;
    return BC_OK;
}

/* Tensors follow each other in the order of their descriptions, each at the next multiple of 64: no
 * gaps, no overlaps. */
static bc_status read_tensors(cursor *c, bc_gguf *gguf, uint64_t count) {
    uint64_t expected = 0, place = 0;
    gguf->tensors = calloc((size_t)count + 1, sizeof *gguf->tensors);
    if (!gguf->tensors)
        return bc_fail(c->error, BC_ERR_MEMORY, -1, "no memory for %llu tensors",
                       (unsigned long long)count);
    for (; gguf->tensor_count < count; gguf->tensor_count++) {
        bc_tensor *tensor = &gguf->tensors[gguf->tensor_count];
        bc_status status = read_tensor(c, tensor, &place);
        if (status)
            return status;
        if (place != expected)
            return bc_fail(c->error, BC_ERR_LAYOUT, (int64_t)tensor->offset,
                           "tensor %.*s: %s, at %llu of the data, expected %llu",
                           (int)bc_min(tensor->name.size, 100), tensor->name.data,
                           place % ALIGNMENT  ? "unaligned"
                           : place < expected ? "overlaps"
                                              : "leaves a gap",
                           (unsigned long long)place, (unsigned long long)expected);
        expected = bc_round_up(place + tensor->bytes, ALIGNMENT);
    }
    gguf->data_offset = bc_round_up(c->at, ALIGNMENT);
    if (gguf->data_offset > c->size || expected > c->size - gguf->data_offset)
        return bc_fail(c->error, BC_ERR_TRUNCATED, (int64_t)c->size,
                       "the file ends within its tensor data");
    if (expected < c->size - gguf->data_offset)
        return bc_fail(c->error, BC_ERR_LAYOUT, (int64_t)(gguf->data_offset + expected),
                       "bytes after the last tensor");
    for (; c->at < gguf->data_offset; c->at++)
        if (c->data[c->at])
            return bc_fail(c->error, BC_ERR_LAYOUT, (int64_t)c->at,
                           "padding before the tensor data is not 0");
    expected = gguf->data_offset;
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        gguf->tensors[i].data = c->data + expected;
        expected = bc_round_up(expected + gguf->tensors[i].bytes, ALIGNMENT);
    }
    qsort(gguf->tensors, gguf->tensor_count, sizeof *gguf->tensors, compare_tensor);
    for (size_t i = 1; i < gguf->tensor_count; i++)
        if (compare_text(gguf->tensors[i - 1].name, gguf->tensors[i].name) == 0)
            return bc_fail(c->error, BC_ERR_KEY, (int64_t)gguf->tensors[i].offset,
                           "tensor %.*s is there twice",
                           (int)bc_min(gguf->tensors[i].name.size, 100),
                           gguf->tensors[i].name.data);
    return BC_OK;
}

static bc_status parse(cursor *c, bc_gguf *gguf) {
    uint32_t magic = 0, version = 0;
    uint64_t tensors = 0, keys = 0;
    bc_status status = read_u32(c, &magic, "the magic");
    if (status)
        return status;
    if (magic != 0x46554747u) /* "GGUF" */
        return bc_fail(c->error, BC_ERR_MAGIC, 0, "not a GGUF file: it begins with %08x", magic);
    if ((status = read_u32(c, &version, "the version")))
        return status;
    if (version != 3)
        return bc_fail(c->error, BC_ERR_VERSION, 4, "GGUF version %u, this library reads 3",
                       version);
    if ((status = read_u64(c, &tensors, "the number of tensors")))
        return status;
    if ((status = read_u64(c, &keys, "the number of keys")))
        return status;
    if (tensors > MAX_TENSORS)
        return bc_fail(c->error, BC_ERR_LIMIT, 8, "%llu tensors, at most %d",
                       (unsigned long long)tensors, MAX_TENSORS);
    if (keys > MAX_KEYS)
        return bc_fail(c->error, BC_ERR_LIMIT, 16, "%llu keys, at most %d",
                       (unsigned long long)keys, MAX_KEYS);
    if (keys * MIN_KEY_BYTES + tensors * MIN_TENSOR_BYTES > c->size - c->at)
        return bc_fail(c->error, BC_ERR_TRUNCATED, (int64_t)c->size,
                       "the file is too short for its keys and tensors");
    if ((status = read_keys(c, gguf, keys)))
        return status;
    return read_tensors(c, gguf, tensors);
}

bc_status bc_gguf_open(bc_gguf *gguf, const void *data, size_t size, bc_error *error) {
    cursor c = {data, size, 0, error};
    *gguf = (bc_gguf){.data = data, .size = size};
    bc_status status = parse(&c, gguf);
    if (status)
        bc_gguf_close(gguf);
    return status;
}

void bc_gguf_close(bc_gguf *gguf) {
    free(gguf->kv);
    free(gguf->tensors);
    *gguf = (bc_gguf){0};
}

bc_kv *bc_gguf_find(bc_gguf *gguf, const char *key) {
    size_t low = 0, high = gguf->kv_count;
    bc_text wanted = {key, strlen(key)};
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_text(gguf->kv[middle].key, wanted);
        if (order == 0) {
            gguf->kv[middle].used = true;
            return &gguf->kv[middle];
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

bc_tensor *bc_gguf_tensor(bc_gguf *gguf, const char *name) {
    size_t low = 0, high = gguf->tensor_count;
    bc_text wanted = {name, strlen(name)};
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_text(gguf->tensors[middle].name, wanted);
        if (order == 0) {
            gguf->tensors[middle].used = true;
            return &gguf->tensors[middle];
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
