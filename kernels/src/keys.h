/* keys.h: what model_read.c and node_read.c read the file with. In all of it r->error is not NULL,
 * and holds the status of whatever returned NULL. */
#ifndef BC_KEYS_H
#define BC_KEYS_H

#include "ops.h"

typedef struct bc_reader {
    bc_model *model;
    bc_error *error;
    char prefix[40]; /* of all keys asked for: "bincompress.node.12." */
    size_t at;       /* offset for messages about missing keys */
} bc_reader;

/* The key of this type, or NULL. */
const bc_kv *bc_key(const bc_reader *r, const char *name, bool is_array, bc_gguf_type type);

/* An array that must have between `least` and `most` entries, or NULL. */
const bc_kv *bc_key_list(const bc_reader *r, const char *name, bc_gguf_type type, size_t least,
                         size_t most);

/* A number of 4 bytes. */
bc_status bc_key_number(const bc_reader *r, const char *name, bc_gguf_type type, void *out);

/* `count` sizes, none larger than any value may be: sums and products of two fit 64 bits. */
bc_status bc_key_sizes(const bc_reader *r, const char *name, size_t count, size_t *out);

/* The numbers, 4 bytes each, in aligned memory of the model; or NULL. */
const void *bc_key_copy(const bc_reader *r, const bc_kv *kv);

/* The text with a zero byte behind it, in memory of the model. */
bc_status bc_text_copy(const bc_reader *r, bc_text text, size_t offset, const char **out);

/* Position of the text in `names`, -1 if it is not there. */
int bc_text_lookup(bc_text text, const char *const *names, size_t count);

/* node_read.c: node n; sets the prefix. */
bc_status bc_node_read(bc_reader *r, size_t n);

#endif
