/* model_check.c: does the program make sense? Every value is made once and before it is used; every
 * shape follows from the shapes before it; every tensor has the size that its place asks for; every
 * number is in its range. The same rules as bincompress/lower/check.py. After this, running cannot
 * fail. */
#include "ops.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct checker {
    bc_model *model;
    bc_error *error;
    bool *ready; /* per value: computed by now */
} checker;

static const char *dtype_name(bc_dtype dtype) {
    return dtype == BC_F32 ? "f32" : dtype == BC_U8 ? "u8" : "bits";
}

/* Position of a model-wide key, whose presence model_read.c has seen to. */
static int64_t key_offset(const checker *c, const char *key) {
    const bc_kv *kv = bc_gguf_find(&c->model->gguf, key);
    return kv ? (int64_t)kv->offset : -1;
}

/* A byte of the tensor data is to blame. */
static bc_status refuse_data(const checker *c, const bc_node *node, const void *at,
                             const char *what) {
    return bc_fail(c->error, BC_ERR_VALUE, (const uint8_t *)at - c->model->gguf.data,
                   "node %zu %.40s (%s): %s", (size_t)(node - c->model->nodes), node->name,
                   bc_ops[node->op].name, what);
}

#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
static bc_status refuse(const checker *c, const bc_node *node, bc_status code, const char *format,
                        ...) {
    char text[160];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return bc_fail(c->error, code, (int64_t)node->offset, "node %zu %.40s (%s): %s",
                   (size_t)(node - c->model->nodes), node->name, bc_ops[node->op].name, text);
}

static bc_status check_values(const checker *c) {
    bc_model *model = c->model;
    uint64_t total = 0;
    if (model->input >= model->value_count || model->output >= model->value_count)
        return bc_fail(c->error, BC_ERR_GRAPH, key_offset(c, "bincompress.input"),
                       "input %u or output %u is not one of %u values", model->input, model->output,
                       model->value_count);
    for (size_t i = 0; i < model->value_count; i++) {
        bc_value *v = &model->values[i];
        if (v->c < 1 || v->h < 1 || v->w < 1 || v->c > BC_MAX_SIZE || v->h > BC_MAX_SIZE ||
            v->w > BC_MAX_SIZE || (uint64_t)v->c * v->h > BC_MAX_SIZE ||
            (uint64_t)v->c * v->h * v->w > BC_MAX_SIZE)
            return bc_fail(c->error, BC_ERR_LIMIT, key_offset(c, "bincompress.values.shape"),
                           "value %zu %.60s: shape (%u, %u, %u), expected 1 to %d elements", i,
                           v->name, v->c, v->h, v->w, BC_MAX_SIZE);
        if (v->dtype == BC_U8 && i != model->input)
            return bc_fail(c->error, BC_ERR_TYPE, key_offset(c, "bincompress.values.dtype"),
                           "value %zu %.60s: only the input may be u8", i, v->name);
        v->pixels = (size_t)v->h * v->w;
        v->pixel_bytes = v->dtype == BC_BITS ? 8 * bc_words(v->c)
                         : v->dtype == BC_U8 ? v->c
                                             : 4 * (size_t)v->c;
        v->bytes = v->pixels * v->pixel_bytes;
        total += v->bytes;
    }
    if (total > BC_MAX_VALUES_BYTES)
        return bc_fail(c->error, BC_ERR_LIMIT, key_offset(c, "bincompress.values.shape"),
                       "all values of one sample take %llu bytes, at most %llu",
                       (unsigned long long)total, (unsigned long long)BC_MAX_VALUES_BYTES);
    if (!model->norm_count)
        return BC_OK;
    if (model->norm_count != model->values[model->input].c)
        return bc_fail(c->error, BC_ERR_SHAPE, key_offset(c, "bincompress.normalize.mean"),
                       "normalize has %zu entries for %u input channels", model->norm_count,
                       model->values[model->input].c);
    for (size_t i = 0; i < model->norm_count; i++)
        if (!isfinite(model->mean[i]) || !isfinite(model->std[i]) || !(model->std[i] > 0))
            return bc_fail(c->error, BC_ERR_VALUE, key_offset(c, "bincompress.normalize.mean"),
                           "normalize: mean and std must be finite, std positive");
    return BC_OK;
}

static bc_status check_order(const checker *c, const bc_node *node) {
    const bc_model *model = c->model;
    for (size_t i = 0; i < node->input_count; i++) {
        if (node->inputs[i] >= model->value_count)
            return refuse(c, node, BC_ERR_GRAPH, "reads value %u of %u", node->inputs[i],
                          model->value_count);
        if (!c->ready[node->inputs[i]])
            return refuse(c, node, BC_ERR_GRAPH, "reads value %u %.40s, which is not computed yet",
                          node->inputs[i], model->values[node->inputs[i]].name);
    }
    for (size_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i] >= model->value_count)
            return refuse(c, node, BC_ERR_GRAPH, "writes value %u of %u", node->outputs[i],
                          model->value_count);
        if (c->ready[node->outputs[i]])
            return refuse(c, node, BC_ERR_GRAPH, "writes value %u %.40s, which is written already",
                          node->outputs[i], model->values[node->outputs[i]].name);
        c->ready[node->outputs[i]] = true;
    }
    return BC_OK;
}

static bc_status check_product(const checker *c, const bc_node *node, const bc_value *main,
                               const bc_op_row *op) {
    const bc_window *win = &node->window;
    if (node->groups < 1 || main->c % node->groups || node->filters % node->groups)
        return refuse(c, node, BC_ERR_SHAPE,
                      "%u groups do not divide %u input and %u output channels", node->groups,
                      main->c, node->filters);
    if (node->group_in != main->c / node->groups)
        return refuse(c, node, BC_ERR_SHAPE, "weights for %u channels per group, the input has %u",
                      node->group_in, main->c / node->groups);
    if (op->kind == BC_KIND_DENSE &&
        (win->kh != main->h || win->kw != main->w || win->sh != 1 || win->sw != 1 || win->dh != 1 ||
         win->dw != 1 || win->top || win->left || win->bottom || win->right || node->groups != 1))
        return refuse(c, node, BC_ERR_SHAPE,
                      "a dense product must span the image of %u x %u and have one group", main->h,
                      main->w);
    if (node->pad_value < -1 || node->pad_value > 1 ||
        (node->pad_value && op->inputs != BC_IN_BITS))
        return refuse(c, node, BC_ERR_VALUE, "pad_value %d is not possible", node->pad_value);
    if (op->weight_bits == 32) {
        const float *weights = (const float *)(const void *)node->weight->data;
        for (size_t i = 0; i < node->weight->elements; i++)
            if (!isfinite(weights[i]))
                return refuse_data(c, node, &weights[i], "a weight is not finite");
        return BC_OK;
    }
    uint64_t largest = op->op == &bc_op_i8_product ? 127 : 1;
    if (op->inputs == BC_IN_U8) {
        int64_t offset = node->multiply_offset;
        if (offset < 510 - INT16_MAX || offset > INT16_MAX)
            return refuse(c, node, BC_ERR_VALUE, "offset %d leaves 16 bits", node->multiply_offset);
        largest = bc_max((size_t)(offset < 0 ? -offset : offset),
                         (size_t)(offset > 510 ? offset - 510 : 510 - offset));
    }
    if (node->k * largest >= BC_MAX_EXACT)
        return refuse(c, node, BC_ERR_LIMIT,
                      "sums of %u terms may pass %d and would not be exact in float32", node->k,
                      BC_MAX_EXACT);
    uint32_t per_group = node->filters / node->groups;
    if (node->weight_in_panels &&
        (op->inputs == BC_IN_BITS ? node->group_in % 64 || per_group % BC_PANEL_BINARY
                                  : per_group % BC_PANEL_FLOAT))
        return refuse(c, node, BC_ERR_SHAPE, "the weights do not fit their panel layout");
    const uint32_t channels = op->kind == BC_KIND_DENSE ? node->k : node->group_in;
    if (node->weight_in_octets && (per_group % BC_PANEL_FLOAT || channels % 16))
        return refuse(c, node, BC_ERR_SHAPE, "the weights do not fit their panel layout");
    size_t unused = node->weight->bytes * 8 - (size_t)node->filters * node->k;
    if (unused && (uint8_t)node->weight->data[node->weight->bytes - 1] >> (8 - unused))
        return refuse_data(c, node, node->weight->data + node->weight->bytes - 1,
                           "unused bits of the weights are not 0");
    return BC_OK;
}

static bc_status check_mask(const checker *c, const bc_node *node, const bc_value *main) {
    if (!node->or_mask_bytes)
        return BC_OK;
    if (main->dtype != BC_BITS || node->constant_bytes != (main->c + 7) / 8)
        return refuse(c, node, BC_ERR_SHAPE,
                      "or_mask must have one bit for each of %u channels of bits", main->c);
    if (main->c % 8 && node->or_mask_bytes[main->c / 8] >> main->c % 8)
        return refuse_data(c, node, node->or_mask_bytes + main->c / 8,
                           "unused bits of or_mask are not 0");
    return BC_OK;
}

static bc_status check_factors(const checker *c, const bc_node *node) {
    const float *factors = (const float *)(const void *)node->weight->data;
    uint64_t count = (uint64_t)node->size[0] * node->size[1]; /* each at most 2^26 */
    if (count < 1 || count != node->weight->elements)
        return refuse(c, node, BC_ERR_SHAPE, "%zu factors for %zu x %zu pixels",
                      node->weight->elements, node->size[0], node->size[1]);
    for (size_t i = 0; i < node->weight->elements; i++)
        if (!isfinite(factors[i]))
            return refuse_data(c, node, &factors[i], "a factor is not finite");
    return BC_OK;
}

/* The window's ranges and the shape of what the node accumulates. */
static bc_status check_shape(const checker *c, bc_node *node, const bc_value *main,
                             const bc_op_row *op) {
    bc_window *win = &node->window;
    win->h = main->h;
    win->w = main->w;
    if (win->kh < 1 || win->kw < 1 || win->sh < 1 || win->sw < 1 || win->dh < 1 || win->dw < 1)
        return refuse(c, node, BC_ERR_VALUE, "kernel, stride and dilation must be positive");
    if (op->kind == BC_KIND_POOL &&
        (bc_max(win->top, win->bottom) >= win->kh || bc_max(win->left, win->right) >= win->kw))
        return refuse(c, node, BC_ERR_VALUE, "padding must be smaller than the kernel");
    if (op->kind != BC_KIND_DENSE && (uint64_t)win->kh * win->kw > BC_MAX_TAPS)
        return refuse(c, node, BC_ERR_LIMIT, "kernel of %zu x %zu, at most %d taps", win->kh,
                      win->kw, BC_MAX_TAPS);
    win->oh = bc_window_output(main->h, win->top, win->bottom, win->kh, win->dh, win->sh);
    win->ow = bc_window_output(main->w, win->left, win->right, win->kw, win->dw, win->sw);
    if (!win->oh || !win->ow)
        return refuse(c, node, BC_ERR_SHAPE, "the window does not fit the input of %u x %u",
                      main->h, main->w);
    uint64_t channels = main->c;
    if (op->kind <= BC_KIND_DENSE)
        channels = node->filters;
    else if (node->op == BC_OP_act_scale)
        channels = 1;
    else if (node->op == BC_OP_subsample_pad)
        channels += (uint64_t)node->before + node->after;
    else if (node->op == BC_OP_constant) {
        channels = 1;
        win->oh = node->size[0];
        win->ow = node->size[1];
    } else if (node->op == BC_OP_flatten) {
        channels = main->pixels * main->c;
        win->oh = win->ow = 1;
    }
    if (channels > BC_MAX_SIZE || win->oh * win->ow > BC_MAX_SIZE ||
        channels * win->oh * win->ow > BC_MAX_SIZE)
        return refuse(c, node, BC_ERR_LIMIT, "an output of %llu x %zu x %zu is too large",
                      (unsigned long long)channels, win->oh, win->ow);
    node->c = (uint32_t)channels;
    node->h = (uint32_t)win->oh;
    node->w = (uint32_t)win->ow;
    return BC_OK;
}

static bc_status check_parameters(const checker *c, const bc_node *node, size_t j) {
    const bc_step *step = &node->steps[j];
    for (int i = 0; i < 2; i++) {
        const float *numbers = i ? step->bias : step->scale;
        if (!step->count[i])
            continue;
        if (step->count[i] != node->c)
            return refuse(c, node, BC_ERR_SHAPE, "step %zu has %zu parameters for %u channels", j,
                          step->count[i], node->c);
        for (size_t k = 0; numbers && k < node->c; k++)
            if (!isfinite(numbers[k]))
                return refuse_data(c, node, &numbers[k], "a parameter of a step is not finite");
    }
    return BC_OK;
}

static bc_status check_steps(const checker *c, const bc_node *node, bool integer, bool bits) {
    const bc_model *model = c->model;
    size_t reads = 1, writes = 0;
    for (size_t j = 0; j < node->step_count; j++) {
        const bc_step *step = &node->steps[j];
        bool is_read = step->op == BC_STEP_ADD || step->op == BC_STEP_MUL_MAP,
             is_write = step->op >= BC_STEP_STORE;
        if (step->op == BC_STEP_THRESHOLD && (!integer || node->step_count != 1))
            return refuse(c, node, BC_ERR_GRAPH, "a threshold stands alone, on integer sums");
        if (bits && (step->op != BC_STEP_STORE || node->step_count != 1))
            return refuse(c, node, BC_ERR_GRAPH, "bits can only be stored");
        bc_status status = check_parameters(c, node, j);
        if (status)
            return status;
        if (!is_read && !is_write) {
            if (step->value != -1)
                return refuse(c, node, BC_ERR_GRAPH, "step %zu has a value, but uses none", j);
            continue;
        }
        size_t place = is_read ? reads++ : writes++;
        uint32_t count = is_read ? node->input_count : node->output_count;
        if (place >= count || step->value < 0 ||
            (uint32_t)step->value != (is_read ? node->inputs : node->outputs)[place])
            return refuse(c, node, BC_ERR_GRAPH,
                          "the value of step %zu is not next in inputs or outputs", j);
        const bc_value *v = &model->values[step->value];
        bc_dtype dtype =
            bits || step->op == BC_STEP_SIGN || step->op == BC_STEP_THRESHOLD ? BC_BITS : BC_F32;
        uint32_t channels = step->op == BC_STEP_MUL_MAP ? 1 : node->c;
        if (v->dtype != dtype)
            return refuse(c, node, BC_ERR_TYPE, "step %zu: value %.40s is %s, expected %s", j,
                          v->name, dtype_name(v->dtype), dtype_name(dtype));
        if (v->c != channels || v->h != node->h || v->w != node->w)
            return refuse(c, node, BC_ERR_SHAPE,
                          "step %zu: value %.40s is (%u, %u, %u), expected (%u, %u, %u)", j,
                          v->name, v->c, v->h, v->w, channels, node->h, node->w);
    }
    if (node->steps[node->step_count - 1].op < BC_STEP_STORE)
        return refuse(c, node, BC_ERR_GRAPH, "the last step must write a value");
    if (reads != node->input_count || writes != node->output_count)
        return refuse(c, node, BC_ERR_GRAPH, "inputs or outputs that no step uses");
    return BC_OK;
}

static bc_status check_node(const checker *c, bc_node *node) {
    const bc_op_row *op = &bc_ops[node->op];
    bc_status status = check_order(c, node);
    if (status)
        return status;
    node->input = node->inputs[0];
    const bc_value *main = &c->model->values[node->input];
    if (!(op->inputs & 1u << main->dtype))
        return refuse(c, node, BC_ERR_TYPE, "its input %.40s is %s", main->name,
                      dtype_name(main->dtype));
    if (op->kind <= BC_KIND_DENSE && (status = check_product(c, node, main, op)))
        return status;
    if ((status = check_mask(c, node, main)))
        return status;
    if (node->op == BC_OP_constant && (status = check_factors(c, node)))
        return status;
    if ((status = check_shape(c, node, main, op)))
        return status;
    node->group_out = node->filters / node->groups;
    bool integer = op->weight_bits == 1 && op->inputs != BC_IN_F32;
    return check_steps(c, node, integer, !integer && main->dtype == BC_BITS);
}

bc_status bc_model_check(bc_model *model, bc_error *error) {
    checker c = {model, error, bc_model_alloc(model, model->value_count, sizeof(bool), error)};
    if (!c.ready)
        return error->code;
    bc_status status = check_values(&c);
    if (status)
        return status;
    c.ready[model->input] = true;
    for (size_t n = 0; n < model->node_count; n++)
        if ((status = check_node(&c, &model->nodes[n])))
            return status;
    if (!c.ready[model->output])
        return bc_fail(error, BC_ERR_GRAPH, key_offset(&c, "bincompress.output"),
                       "output %.60s is never computed", model->values[model->output].name);
    return BC_OK;
}
