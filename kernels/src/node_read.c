/* node_read.c: the keys and tensors of one node. */
#include "keys.h"

#include <stdio.h>
#include <string.h>

static const char *const step_names[BC_STEP_OPS] = {
    "affine", "relu", "hardtanh", "prelu", "add", "mul_map", "store", "sign", "threshold"};

/* A tensor of this node, which must have this type and number of elements. */
static const bc_tensor *find_tensor(const bc_reader *r, size_t n, const char *name, uint32_t type,
                                    size_t elements) {
    char full[80];
    (void)snprintf(full, sizeof full, "node.%zu.%s", n, name);
    const bc_tensor *tensor = bc_gguf_tensor(&r->model->gguf, full);
    if (!tensor) {
        bc_fail(r->error, BC_ERR_KEY, (int64_t)r->at, "tensor %s is missing", full);
        return NULL;
    }
    if (tensor->type != type) {
        bc_fail(r->error, BC_ERR_TYPE, (int64_t)tensor->offset,
                "tensor %s has type %u, expected %u", full, tensor->type, type);
        return NULL;
    }
    if (elements && tensor->elements != elements) {
        bc_fail(r->error, BC_ERR_LAYOUT, (int64_t)tensor->offset,
                "tensor %s has %zu elements, expected %zu", full, tensor->elements, elements);
        return NULL;
    }
    return tensor;
}

static bc_status read_window(const bc_reader *r, bc_node *node, const bc_op_row *op) {
    bc_window *win = &node->window;
    size_t kernel[2] = {1, 1}, stride[2], padding[4] = {0}, dilation[2] = {1, 1};
    bc_status status = bc_key_sizes(r, "stride", 2, stride);
    if (!status && op->kind != BC_KIND_MAP)
        status = bc_key_sizes(r, "kernel", 2, kernel);
    if (!status && op->kind != BC_KIND_MAP)
        status = bc_key_sizes(r, "padding", 4, padding);
    if (!status && op->kind <= BC_KIND_DENSE)
        status = bc_key_sizes(r, "dilation", 2, dilation);
    *win = (bc_window){.kh = kernel[0],
                       .kw = kernel[1],
                       .sh = stride[0],
                       .sw = stride[1],
                       .dh = dilation[0],
                       .dw = dilation[1],
                       .top = padding[0],
                       .left = padding[1],
                       .bottom = padding[2],
                       .right = padding[3]};
    return status;
}

static bc_status read_weight(const bc_reader *r, size_t n, bc_node *node, const bc_op_row *op) {
    size_t shape[4];
    bc_status status = bc_key_sizes(r, "weight_shape", 4, shape);
    if (status)
        return status;
    uint64_t count = 1;
    for (int i = 0; i < 4; i++) {
        count *= shape[i]; /* each at most 2^26, count at most 2^32 before */
        if (count == 0 || count > (uint64_t)1 << 32)
            return bc_fail(r->error, BC_ERR_LIMIT, (int64_t)r->at,
                           "key %sweight_shape: impossible size", r->prefix);
    }
    if (shape[1] != node->window.kh || shape[2] != node->window.kw)
        return bc_fail(r->error, BC_ERR_SHAPE, (int64_t)r->at,
                       "key %sweight_shape does not agree with kernel", r->prefix);
    node->filters = (uint32_t)shape[0];
    node->group_in = (uint32_t)shape[3];
    if (count / shape[0] >= BC_MAX_EXACT)
        return bc_fail(r->error, BC_ERR_LIMIT, (int64_t)r->at,
                       "key %sweight_shape: filters of more than %d weights", r->prefix,
                       BC_MAX_EXACT - 1);
    node->k = (uint32_t)(count / shape[0]);
    const bc_kv *layout = bc_key(r, "weight_layout", false, BC_GGUF_STRING);
    if (!layout)
        return r->error->code;
    const uint8_t *at = layout->data;
    bc_text text = bc_gguf_next_text(&at);
    node->weight_in_panels = op->weight_bits == 1 && op->op != &bc_op_i8_product &&
                             bc_text_is(text, op->inputs == BC_IN_BITS ? "panel8" : "panel16");
    node->weight_in_octets =
        op->weight_bits == 1 && op->inputs == BC_IN_F32 && bc_text_is(text, "octet16");
    if (!node->weight_in_panels && !node->weight_in_octets && !bc_text_is(text, "rows"))
        return bc_fail(r->error, BC_ERR_OP, (int64_t)layout->offset,
                       "key %sweight_layout: %.*s is not a layout of this op", r->prefix,
                       (int)bc_min(text.size, 40), text.data);
    if (op->weight_bits == 32)
        node->weight = find_tensor(r, n, "weight", BC_GGML_F32, (size_t)count);
    else
        node->weight = find_tensor(r, n, "weight", BC_GGML_I8, (size_t)((count + 7) / 8));
    if (!node->weight)
        return r->error->code;
    node->weight_bytes = node->weight->bytes;
    return BC_OK;
}

static bc_status read_attributes(const bc_reader *r, size_t n, bc_node *node, const bc_op_row *op) {
    bc_status status = BC_OK;
    node->groups = 1;
    if (op->kind != BC_KIND_MAP || node->op == BC_OP_subsample_pad)
        status = read_window(r, node, op);
    else
        node->window = (bc_window){.kh = 1, .kw = 1, .sh = 1, .sw = 1, .dh = 1, .dw = 1};
    if (status)
        return status;
    if (op->kind <= BC_KIND_DENSE) {
        status = bc_key_number(r, "groups", BC_GGUF_U32, &node->groups);
        if (!status)
            status = bc_key_number(r, "pad_value", BC_GGUF_I32, &node->pad_value);
        if (!status && op->inputs == BC_IN_U8)
            status = bc_key_number(r, "offset", BC_GGUF_I32, &node->multiply_offset);
        if (!status)
            status = read_weight(r, n, node, op);
    } else if (node->op == BC_OP_avg_pool) {
        uint32_t flag = 0;
        status = bc_key_number(r, "count_include_pad", BC_GGUF_U32, &flag);
        if (!status && flag > 1)
            status = bc_fail(r->error, BC_ERR_VALUE, (int64_t)r->at,
                             "key %scount_include_pad must be 0 or 1", r->prefix);
        node->count_include_pad = flag == 1;
    } else if (node->op == BC_OP_subsample_pad) {
        status = bc_key_number(r, "before", BC_GGUF_U32, &node->before);
        if (!status)
            status = bc_key_number(r, "after", BC_GGUF_U32, &node->after);
    } else if (node->op == BC_OP_constant) {
        status = bc_key_sizes(r, "size", 2, node->size);
        if (status)
            return status;
        node->weight = find_tensor(r, n, "factors", BC_GGML_F32, 0);
        if (!node->weight)
            return r->error->code;
        node->constant_bytes = node->weight->bytes;
    } else if (node->op == BC_OP_max_pool) {
        char name[40];
        (void)snprintf(name, sizeof name, "node.%zu.or_mask", n);
        if (bc_gguf_tensor(&r->model->gguf, name)) {
            const bc_tensor *mask = find_tensor(r, n, "or_mask", BC_GGML_I8, 0);
            if (!mask)
                return r->error->code;
            node->or_mask_bytes = mask->data;
            node->constant_bytes = mask->bytes;
        }
    }
    return status;
}

/* The parameters of one step. How many entries they must have is known only to model_check.c: it
 * looks at the counts. */
static bc_status read_step(const bc_reader *r, size_t n, size_t j, bc_node *node) {
    static const char *const wanted[BC_STEP_OPS][2] = {[BC_STEP_AFFINE] = {"scale", "bias"},
                                                       [BC_STEP_PRELU] = {"slope"},
                                                       [BC_STEP_THRESHOLD] = {"tau"}};
    bc_step *step = &node->steps[j];
    for (int i = 0; i < 2 && wanted[step->op][i]; i++) {
        char name[40];
        (void)snprintf(name, sizeof name, "step.%zu.%s", j, wanted[step->op][i]);
        const bc_tensor *tensor =
            find_tensor(r, n, name, step->op == BC_STEP_THRESHOLD ? BC_GGML_I32 : BC_GGML_F32, 0);
        if (!tensor)
            return r->error->code;
        if (step->op == BC_STEP_THRESHOLD)
            step->tau = (const int32_t *)(const void *)tensor->data;
        else if (i == 0)
            step->scale = (const float *)(const void *)tensor->data;
        else
            step->bias = (const float *)(const void *)tensor->data;
        step->count[i] = tensor->elements;
        node->constant_bytes += tensor->bytes;
    }
    return BC_OK;
}

static bc_status read_steps(const bc_reader *r, size_t n, bc_node *node) {
    const bc_kv *steps = bc_key_list(r, "steps", BC_GGUF_STRING, 1, BC_MAX_STEPS);
    if (!steps)
        return r->error->code;
    const bc_kv *values =
        bc_key_list(r, "step_values", BC_GGUF_I32, (size_t)steps->count, (size_t)steps->count);
    if (!values)
        return r->error->code;
    node->step_count = (uint32_t)steps->count;
    node->steps = bc_model_alloc(r->model, node->step_count, sizeof *node->steps, r->error);
    if (!node->steps)
        return r->error->code;
    const uint8_t *at = steps->data;
    for (size_t j = 0; j < node->step_count; j++) {
        bc_text text = bc_gguf_next_text(&at);
        int op = bc_text_lookup(text, step_names, BC_STEP_OPS);
        if (op < 0)
            return bc_fail(r->error, BC_ERR_OP, (int64_t)steps->offset,
                           "key %ssteps: unknown step %.*s", r->prefix, (int)bc_min(text.size, 40),
                           text.data);
        node->steps[j].op = (bc_step_op)op;
        node->steps[j].value = (int32_t)bc_read_u32(values->data + 4 * j);
        bc_status status = read_step(r, n, j, node);
        if (status)
            return status;
    }
    return BC_OK;
}

bc_status bc_node_read(bc_reader *r, size_t n) {
    bc_node *node = &r->model->nodes[n];
    (void)snprintf(r->prefix, sizeof r->prefix, "bincompress.node.%zu.", n);
    const bc_kv *name = bc_key(r, "name", false, BC_GGUF_STRING),
                *op = name ? bc_key(r, "op", false, BC_GGUF_STRING) : NULL;
    if (!op)
        return r->error->code;
    const uint8_t *at = name->data;
    node->offset = r->at = op->offset;
    bc_status status = bc_text_copy(r, bc_gguf_next_text(&at), name->offset, &node->name);
    if (status)
        return status;
    at = op->data;
    bc_text text = bc_gguf_next_text(&at);
    while (node->op < BC_OP_COUNT && !bc_text_is(text, bc_ops[node->op].name))
        node->op++;
    if (node->op == BC_OP_COUNT)
        return bc_fail(r->error, BC_ERR_OP, (int64_t)op->offset, "node %zu %.60s: unknown op %.*s",
                       n, node->name, (int)bc_min(text.size, 40), text.data);
    const bc_kv *inputs = bc_key_list(r, "inputs", BC_GGUF_U32, 1, BC_MAX_STEPS + 1);
    if (!inputs)
        return r->error->code;
    const bc_kv *outputs = bc_key_list(r, "outputs", BC_GGUF_U32, 1, BC_MAX_STEPS);
    if (!outputs)
        return r->error->code;
    node->inputs = bc_key_copy(r, inputs);
    node->outputs = node->inputs ? bc_key_copy(r, outputs) : NULL;
    if (!node->outputs)
        return r->error->code;
    node->input_count = (uint32_t)inputs->count;
    node->output_count = (uint32_t)outputs->count;
    status = read_attributes(r, n, node, &bc_ops[node->op]);
    return status ? status : read_steps(r, n, node);
}
