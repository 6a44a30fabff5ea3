/* model_read.c: keys and tensors of the file -> values, nodes, steps. Looks at presence and types
 * only; whether the numbers make sense together is the business of model_check.c. */
#include "keys.h"

#include <stdio.h>
#include <string.h>

static const char *const dtype_names[] = {"f32", "u8", "bits"};

static bc_status read_values(bc_reader *r) {
    bc_model *model = r->model;
    const bc_kv *names = bc_key_list(r, "values.name", BC_GGUF_STRING, 1, BC_MAX_VALUES);
    if (!names)
        return r->error->code;
    size_t count = (size_t)names->count;
    const bc_kv *dtypes = bc_key_list(r, "values.dtype", BC_GGUF_STRING, count, count);
    if (!dtypes)
        return r->error->code;
    const bc_kv *shapes = bc_key_list(r, "values.shape", BC_GGUF_U32, 3 * count, 3 * count);
    if (!shapes)
        return r->error->code;
    model->values = bc_model_alloc(model, count, sizeof *model->values, r->error);
    if (!model->values)
        return r->error->code;
    const uint8_t *name_at = names->data, *dtype_at = dtypes->data;
    for (size_t i = 0; i < count; i++, model->value_count++) {
        bc_value *value = &model->values[i];
        bc_status status =
            bc_text_copy(r, bc_gguf_next_text(&name_at), names->offset, &value->name);
        if (status)
            return status;
        bc_text text = bc_gguf_next_text(&dtype_at);
        int dtype = bc_text_lookup(text, dtype_names, 3);
        if (dtype < 0)
            return bc_fail(r->error, BC_ERR_TYPE, (int64_t)dtypes->offset,
                           "value %zu: unknown element type %.*s", i, (int)bc_min(text.size, 40),
                           text.data);
        value->dtype = (bc_dtype)dtype;
        value->c = bc_read_u32(shapes->data + 12 * i);
        value->h = bc_read_u32(shapes->data + 12 * i + 4);
        value->w = bc_read_u32(shapes->data + 12 * i + 8);
    }
    return BC_OK;
}

static bc_status read_normalize(bc_reader *r) {
    bc_model *model = r->model;
    if (!bc_gguf_find(&model->gguf, "bincompress.normalize.mean") &&
        !bc_gguf_find(&model->gguf, "bincompress.normalize.std"))
        return BC_OK;
    const bc_kv *mean = bc_key_list(r, "normalize.mean", BC_GGUF_F32, 1, BC_MAX_SIZE);
    if (!mean)
        return r->error->code;
    const bc_kv *std =
        bc_key_list(r, "normalize.std", BC_GGUF_F32, (size_t)mean->count, (size_t)mean->count);
    if (!std)
        return r->error->code;
    model->mean = bc_key_copy(r, mean);
    model->std = model->mean ? bc_key_copy(r, std) : NULL;
    if (!model->std)
        return r->error->code;
    model->norm_count = (size_t)mean->count;
    return BC_OK;
}

static bc_status read_classes(bc_reader *r) {
    bc_model *model = r->model;
    if (!bc_gguf_find(&model->gguf, "bincompress.classes"))
        return BC_OK;
    const bc_kv *kv = bc_key_list(r, "classes", BC_GGUF_STRING, 1, BC_MAX_SIZE);
    if (!kv)
        return r->error->code;
    model->classes = bc_model_alloc(model, (size_t)kv->count, sizeof *model->classes, r->error);
    if (!model->classes)
        return r->error->code;
    const uint8_t *at = kv->data;
    for (; model->class_count < kv->count; model->class_count++) {
        bc_status status = bc_text_copy(r, bc_gguf_next_text(&at), kv->offset,
                                        &model->classes[model->class_count]);
        if (status)
            return status;
    }
    return BC_OK;
}

/* Keys are sorted in the container, so these are. */
static bc_status read_meta(bc_reader *r) {
    bc_model *model = r->model;
    size_t count = 0;
    for (size_t i = 0; i < model->gguf.kv_count; i++)
        count += model->gguf.kv[i].type == BC_GGUF_STRING && !model->gguf.kv[i].is_array &&
                 !model->gguf.kv[i].used;
    model->meta = bc_model_alloc(model, count + 1, 2 * sizeof *model->meta, r->error);
    if (!model->meta)
        return r->error->code;
    for (size_t i = 0; i < model->gguf.kv_count; i++) {
        const bc_kv *kv = &model->gguf.kv[i];
        if (kv->type != BC_GGUF_STRING || kv->is_array || kv->used)
            continue;
        const uint8_t *at = kv->data;
        bc_status status =
            bc_text_copy(r, kv->key, kv->offset, &model->meta[2 * model->meta_count]);
        if (!status)
            status = bc_text_copy(r, bc_gguf_next_text(&at), kv->offset,
                                  &model->meta[2 * model->meta_count + 1]);
        if (status)
            return status;
        model->meta_count++;
    }
    return BC_OK;
}

/* A key or tensor that this bc_reader does not know may change the meaning of the others. */
static bc_status refuse_unknown(const bc_reader *r) {
    static const char node[] = "bincompress.node.", values[] = "bincompress.values.";
    const bc_gguf *gguf = &r->model->gguf;
    for (size_t i = 0; i < gguf->kv_count; i++) {
        bc_text key = gguf->kv[i].key;
        bool ours = (key.size >= sizeof node - 1 && !memcmp(key.data, node, sizeof node - 1)) ||
                    (key.size >= sizeof values - 1 && !memcmp(key.data, values, sizeof values - 1));
        if (ours && !gguf->kv[i].used)
            return bc_fail(r->error, BC_ERR_KEY, (int64_t)gguf->kv[i].offset, "unknown key %.*s",
                           (int)bc_min(key.size, 100), key.data);
    }
    for (size_t i = 0; i < gguf->tensor_count; i++)
        if (!gguf->tensors[i].used)
            return bc_fail(r->error, BC_ERR_KEY, (int64_t)gguf->tensors[i].offset,
                           "unknown tensor %.*s", (int)bc_min(gguf->tensors[i].name.size, 100),
                           gguf->tensors[i].name.data);
    return BC_OK;
}

/* A key whose value must lie in a range. */
static bc_status expect(const bc_reader *r, const char *name, uint32_t least, uint32_t most,
                        bc_status status) {
    const bc_kv *kv = bc_key(r, name, false, BC_GGUF_U32);
    if (!kv)
        return r->error->code;
    uint32_t found = bc_read_u32(kv->data);
    if (found >= least && found <= most)
        return BC_OK;
    return bc_fail(r->error, status, (int64_t)kv->offset, "%s is %u, this library reads %s%u", name,
                   found, least < most ? "up to " : "", most);
}

static bc_status read_versions(const bc_reader *r) {
    uint32_t crc = 0;
    const bc_gguf *gguf = &r->model->gguf;
    const bc_kv *architecture = bc_key(r, "general.architecture", false, BC_GGUF_STRING);
    if (!architecture)
        return r->error->code;
    const uint8_t *at = architecture->data;
    bc_text text = bc_gguf_next_text(&at);
    if (!bc_text_is(text, "bincompress"))
        return bc_fail(r->error, BC_ERR_VERSION, (int64_t)architecture->offset,
                       "a GGUF file for %.*s, not for bincompress", (int)bc_min(text.size, 40),
                       text.data);
    bc_status status = expect(r, "general.alignment", 64, 64, BC_ERR_VALUE);
    if (!status)
        status = expect(r, "bincompress.format_version", 1, BC_FORMAT_VERSION, BC_ERR_VERSION);
    if (!status)
        status = bc_key_number(r, "bincompress.crc32", BC_GGUF_U32, &crc);
    if (status)
        return status;
    uint32_t found = bc_crc32(gguf->data + gguf->data_offset, gguf->size - gguf->data_offset);
    if (found != crc)
        return bc_fail(r->error, BC_ERR_CHECKSUM, (int64_t)gguf->data_offset,
                       "tensor data has crc32 %08x, expected %08x: the file is damaged", found,
                       crc);
    return BC_OK;
}

bc_status bc_model_read(bc_model *model, bc_error *error) {
    bc_reader r = {.model = model, .error = error, .prefix = ""};
    bc_status status = read_versions(&r);
    if (status)
        return status;
    (void)snprintf(r.prefix, sizeof r.prefix, "bincompress.");
    status = read_values(&r);
    if (!status)
        status = bc_key_number(&r, "input", BC_GGUF_U32, &model->input);
    if (!status)
        status = bc_key_number(&r, "output", BC_GGUF_U32, &model->output);
    if (!status)
        status = bc_key_number(&r, "node_count", BC_GGUF_U32, &model->node_count);
    if (!status)
        status = read_normalize(&r);
    if (!status)
        status = read_classes(&r);
    if (status)
        return status;
    if (model->node_count < 1 || model->node_count > BC_MAX_NODES)
        return bc_fail(error, BC_ERR_LIMIT,
                       (int64_t)bc_gguf_find(&model->gguf, "bincompress.node_count")->offset,
                       "%u nodes, expected 1 to %d", model->node_count, BC_MAX_NODES);
    model->nodes = bc_model_alloc(model, model->node_count, sizeof *model->nodes, error);
    if (!model->nodes)
        return error->code;
    for (size_t n = 0; n < model->node_count; n++)
        if ((status = bc_node_read(&r, n)))
            return status;
    if ((status = read_meta(&r)))
        return status;
    return refuse_unknown(&r);
}
