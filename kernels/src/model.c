/* model.c: opening, closing and describing a model. */
#define _POSIX_C_SOURCE 200809L
#include "ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__unix__) || defined(__APPLE__)
#define BC_HAS_MMAP 1
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

static bc_status prepare_nodes(bc_model *model, bc_error *error) {
    for (size_t n = 0; n < model->node_count; n++) {
        bc_node *node = &model->nodes[n];
        bc_status status = bc_ops[node->op].op->prepare(model, node, error);
        if (status)
            return status;
        node->weight = NULL; /* these point into the container, which is closed now */
        node->or_mask_bytes = NULL;
    }
    return BC_OK;
}

static bc_status open_memory(bc_model *model, const void *data, size_t size, bc_error *error) {
    bc_status status = bc_gguf_open(&model->gguf, data, size, error);
    if (!status)
        status = bc_model_read(model, error);
    if (!status)
        status = bc_model_check(model, error);
    if (!status)
        status = prepare_nodes(model, error);
    bc_gguf_close(&model->gguf);
    return status;
}

static void unmap(const void *data, size_t size, bool mapped) {
#ifdef BC_HAS_MMAP
    if (mapped) {
        (void)munmap((void *)(uintptr_t)data, size);
        return;
    }
#endif
    (void)size;
    (void)mapped;
    free((void *)(uintptr_t)data);
}

/* Data is borrowed if `owned` is false, else the model's, and freed with it or on failure. */
static bc_status open_data(const void *data, size_t size, bool owned, bool mapped, bc_model **out,
                           bc_error *error) {
    bc_model *model = calloc(1, sizeof *model);
    bc_status status = BC_ERR_MEMORY;
    if (model)
        status = open_memory(model, data, size, error);
    else
        bc_fail(error, status, -1, "no memory for a model");
    if (!status) {
        model->mapping = owned ? data : NULL;
        model->mapping_size = size;
        model->mapped = mapped;
        *out = model;
        return BC_OK;
    }
    bc_model_close(model);
    if (owned)
        unmap(data, size, mapped);
    return status;
}

bc_status bc_model_open_memory(const void *data, size_t size, bc_model **model, bc_error *error) {
    bc_error ignored;
    if (!error)
        error = &ignored;
    if (!model)
        return bc_fail(error, BC_ERR_ARGUMENT, -1, "bc_model_open_memory: model is NULL");
    *model = NULL;
    if (!data)
        return bc_fail(error, BC_ERR_ARGUMENT, -1, "bc_model_open_memory: data is NULL");
    if ((uintptr_t)data % 64)
        return bc_fail(error, BC_ERR_ARGUMENT, -1,
                       "bc_model_open_memory: data is not 64-byte aligned");
    return open_data(data, size, false, false, model, error);
}

#ifdef BC_HAS_MMAP
static bc_status map_file(const char *path, const void **data, size_t *size, bc_error *error) {
    struct stat info;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return bc_fail(error, BC_ERR_IO, -1, "the file cannot be opened");
    if (fstat(file, &info) || !S_ISREG(info.st_mode)) {
        (void)close(file);
        return bc_fail(error, BC_ERR_IO, -1, "not a regular file");
    }
    if (info.st_size == 0 || (uintmax_t)info.st_size > SIZE_MAX) {
        (void)close(file);
        return info.st_size ? bc_fail(error, BC_ERR_LIMIT, -1, "the file is too large")
                            : bc_fail(error, BC_ERR_TRUNCATED, 0, "the file is empty");
    }
    *size = (size_t)info.st_size;
    *data = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, file, 0);
    (void)close(file);
    return *data == MAP_FAILED ? bc_fail(error, BC_ERR_IO, -1, "the file cannot be mapped") : BC_OK;
}
#else
static bc_status map_file(const char *path, const void **data, size_t *size, bc_error *error) {
    FILE *file = fopen(path, "rb");
    long end = -1;
    if (!file)
        return bc_fail(error, BC_ERR_IO, -1, "the file cannot be opened");
    if (!fseek(file, 0, SEEK_END))
        end = ftell(file);
    void *copy = end > 0 && !fseek(file, 0, SEEK_SET)
                     ? aligned_alloc(64, bc_round_up((size_t)end, 64))
                     : NULL;
    bool good = copy && fread(copy, 1, (size_t)end, file) == (size_t)end;
    fclose(file);
    if (!good) {
        free(copy);
        return end == 0 ? bc_fail(error, BC_ERR_TRUNCATED, 0, "the file is empty")
                        : bc_fail(error, BC_ERR_IO, -1, "the file cannot be read");
    }
    *data = copy;
    *size = (size_t)end;
    return BC_OK;
}
#endif

bc_status bc_model_open_file(const char *path, bc_model **model, bc_error *error) {
    const void *data = NULL;
    size_t size = 0;
    bc_error ignored;
    if (!error)
        error = &ignored;
    if (!model)
        return bc_fail(error, BC_ERR_ARGUMENT, -1, "bc_model_open_file: model is NULL");
    *model = NULL;
    if (!path)
        return bc_fail(error, BC_ERR_ARGUMENT, -1, "bc_model_open_file: path is NULL");
    bc_status status = map_file(path, &data, &size, error);
    if (status)
        return status;
#ifdef BC_HAS_MMAP
    return open_data(data, size, true, true, model, error);
#else
    return open_data(data, size, true, false, model, error);
#endif
}

void bc_model_close(bc_model *model) {
    if (!model)
        return;
    bc_model_free_all(model);
    if (model->mapping)
        unmap(model->mapping, model->mapping_size, model->mapped);
    free(model);
}

size_t bc_model_value_count(const bc_model *model) {
    return model ? model->value_count : 0;
}
size_t bc_model_node_count(const bc_model *model) {
    return model ? model->node_count : 0;
}
size_t bc_model_input(const bc_model *model) {
    return model ? model->input : 0;
}
size_t bc_model_output(const bc_model *model) {
    return model ? model->output : 0;
}
size_t bc_model_class_count(const bc_model *model) {
    return model ? model->class_count : 0;
}

const char *bc_model_class(const bc_model *model, size_t i) {
    return model && i < model->class_count ? model->classes[i] : NULL;
}

bc_status bc_model_value(const bc_model *model, size_t i, bc_value_info *info) {
    if (!model || !info || i >= model->value_count)
        return BC_ERR_ARGUMENT;
    const bc_value *v = &model->values[i];
    *info = (bc_value_info){v->name, v->dtype, v->c, v->h, v->w};
    return BC_OK;
}

bc_status bc_model_node(const bc_model *model, size_t i, bc_node_info *info) {
    if (!model || !info || i >= model->node_count)
        return BC_ERR_ARGUMENT;
    const bc_node *node = &model->nodes[i];
    *info = (bc_node_info){
        .name = node->name,
        .op = bc_ops[node->op].name,
        .macs = (uint64_t)node->filters * node->k * node->h * node->w,
        .weights = (uint64_t)node->filters * node->k,
        .weight_bits = bc_ops[node->op].weight_bits,
        .weight_bytes = node->weight_bytes,
        .constant_bytes = node->constant_bytes,
        .input = node->input,
        .output = node->outputs[0],
        .output_count = node->output_count,
    };
    return BC_OK;
}

bc_status bc_model_normalize(const bc_model *model, size_t *n, const float **mean,
                             const float **std) {
    if (!model || !n || !mean || !std)
        return BC_ERR_ARGUMENT;
    *n = model->norm_count;
    *mean = model->mean;
    *std = model->std;
    return BC_OK;
}

const char *bc_model_meta(const bc_model *model, const char *key) {
    for (size_t i = 0; model && key && i < model->meta_count; i++)
        if (!strcmp(model->meta[2 * i], key))
            return model->meta[2 * i + 1];
    return NULL;
}
