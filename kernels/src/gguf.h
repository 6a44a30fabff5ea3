/* gguf.h: the container: keys and tensors of a GGUF v3 file, found and bounds-checked, nothing
 * copied. */
#ifndef BC_GGUF_H
#define BC_GGUF_H

#include "internal.h"

typedef enum bc_gguf_type {
    BC_GGUF_U8 = 0,
    BC_GGUF_I8,
    BC_GGUF_U16,
    BC_GGUF_I16,
    BC_GGUF_U32,
    BC_GGUF_I32,
    BC_GGUF_F32,
    BC_GGUF_BOOL,
    BC_GGUF_STRING,
    BC_GGUF_ARRAY,
    BC_GGUF_U64,
    BC_GGUF_I64,
    BC_GGUF_F64,
    BC_GGUF_TYPES
} bc_gguf_type;

enum { BC_GGML_F32 = 0, BC_GGML_I8 = 24, BC_GGML_I32 = 26 };

typedef struct bc_text {
    const char *data; /* not terminated */
    size_t size;
} bc_text;

typedef struct bc_kv {
    bc_text key;
    bc_gguf_type type; /* of the elements, where it is an array */
    bool is_array;
    bool used;
    uint64_t count;      /* elements; 1 for a scalar */
    const uint8_t *data; /* first element, no alignment */
    size_t offset;       /* of the key in the file */
} bc_kv;

typedef struct bc_tensor {
    bc_text name;
    uint32_t type;
    bool used;
    size_t elements, bytes;
    const uint8_t *data; /* 64-byte aligned */
    size_t offset;       /* of its description in the file */
} bc_tensor;

typedef struct bc_gguf {
    const uint8_t *data;
    size_t size;
    size_t data_offset; /* where the tensor data begins; it ends with the file */
    bc_kv *kv;          /* sorted by key, keys unique */
    size_t kv_count;
    bc_tensor *tensors; /* sorted by name, names unique */
    size_t tensor_count;
} bc_gguf;

/* Parses the whole container. On failure there is nothing to free. */
bc_status bc_gguf_open(bc_gguf *gguf, const void *data, size_t size, bc_error *error);
void bc_gguf_close(bc_gguf *gguf);

/* NULL if there is none. Marks what it finds as used. */
bc_kv *bc_gguf_find(bc_gguf *gguf, const char *key);
bc_tensor *bc_gguf_tensor(bc_gguf *gguf, const char *name);

/* Element i of a key of strings: element by element from *at, which starts at kv->data. */
bc_text bc_gguf_next_text(const uint8_t **at);

bool bc_text_is(bc_text text, const char *other);
uint32_t bc_read_u32(const uint8_t *p);
uint64_t bc_read_u64(const uint8_t *p);

/* zlib's crc32. */
uint32_t bc_crc32(const uint8_t *data, size_t size);

#endif
