/* keys.c: finding keys of the type and length that the format asks for, with a message where they
 * are not. */
#include "keys.h"

#include <stdio.h>
#include <string.h>

static const char *const type_names[BC_GGUF_TYPES] = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "text", "array", "u64", "i64", "f64"};
/* The key prefix + name, or NULL with *error filled. */
const bc_kv *bc_key(const bc_reader *r, const char *name, bool is_array, bc_gguf_type type) {
    char key[80];
    (void)snprintf(key, sizeof key, "%s%s", r->prefix, name);
    const bc_kv *kv = bc_gguf_find(&r->model->gguf, key);
    if (!kv) {
        bc_fail(r->error, BC_ERR_KEY, (int64_t)r->at, "key %s is missing", key);
        return NULL;
    }
    if (kv->type != type || kv->is_array != is_array) {
        bc_fail(r->error, BC_ERR_TYPE, (int64_t)kv->offset, "key %s is %s%s, expected %s%s", key,
                kv->is_array ? "an array of " : "", type_names[kv->type],
                is_array ? "an array of " : "", type_names[type]);
        return NULL;
    }
    return kv;
}

/* The same for an array that must have between `least` and `most` entries. */
const bc_kv *bc_key_list(const bc_reader *r, const char *name, bc_gguf_type type, size_t least,
                         size_t most) {
    const bc_kv *kv = bc_key(r, name, true, type);
    if (kv && (kv->count < least || kv->count > most)) {
        bc_fail(r->error, BC_ERR_LIMIT, (int64_t)kv->offset,
                "key %s%s has %llu entries, expected %zu to %zu", r->prefix, name,
                (unsigned long long)kv->count, least, most);
        return NULL;
    }
    return kv;
}

bc_status bc_key_number(const bc_reader *r, const char *name, bc_gguf_type type, void *out) {
    const bc_kv *kv = bc_key(r, name, false, type);
    if (!kv)
        return r->error->code;
    memcpy(out, kv->data, 4);
    return BC_OK;
}

bc_status bc_key_sizes(const bc_reader *r, const char *name, size_t count, size_t *out) {
    const bc_kv *kv = bc_key_list(r, name, BC_GGUF_U32, count, count);
    if (!kv)
        return r->error->code;
    for (size_t i = 0; i < count; i++) {
        out[i] = bc_read_u32(kv->data + 4 * i);
        if (out[i] > BC_MAX_SIZE)
            return bc_fail(r->error, BC_ERR_LIMIT, (int64_t)kv->offset,
                           "key %s%s: %zu is beyond %d", r->prefix, name, out[i], BC_MAX_SIZE);
    }
    return BC_OK;
}

const void *bc_key_copy(const bc_reader *r, const bc_kv *kv) {
    void *copy = bc_model_alloc(r->model, (size_t)kv->count, 4, r->error);
    if (copy)
        memcpy(copy, kv->data, 4 * (size_t)kv->count);
    return copy;
}

bc_status bc_text_copy(const bc_reader *r, bc_text text, size_t offset, const char **out) {
    if (text.size && memchr(text.data, 0, text.size))
        return bc_fail(r->error, BC_ERR_VALUE, (int64_t)offset, "a text holds a zero byte");
    char *copy = bc_model_alloc(r->model, text.size + 1, 1, r->error);
    if (!copy)
        return r->error->code;
    memcpy(copy, text.data, text.size);
    *out = copy;
    return BC_OK;
}

/* Position of the text in `names`, -1 if it is not there. */
int bc_text_lookup(bc_text text, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (bc_text_is(text, names[i]))
            return (int)i;
    return -1;
}
