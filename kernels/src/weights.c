/* weights.c: from the layouts of the file to the panels that kernels read; panels in the file are
 * used in place. Filters that fill up a last panel are all 0; what they give is never looked at. */
#include "ops.h"

#include <string.h>

bool bc_weight_bit(const bc_node *node, size_t filter, size_t k) {
    const uint8_t *data = node->weight->data;
    size_t bit;
    if (node->weight_in_octets) { /* [filter / 16][k / 8][filter % 16] bytes */
        bit = ((filter / 16 * (node->k / 8) + k / 8) * 16 + filter % 16) * 8 + k % 8;
    } else if (!node->weight_in_panels) {
        bit = filter * node->k + k;
    } else if (bc_ops[node->op].inputs ==
               BC_IN_BITS) { /* [filter / 8][tap][c / 64][filter % 8][c % 64] */
        size_t words = node->k / 64, word = k / 64;
        bit = ((filter / 8 * words + word) * 8 + filter % 8) * 64 + k % 64;
    } else { /* [filter / 16][k][filter % 16] */
        bit = (filter / 16 * node->k + k) * 16 + filter % 16;
    }
    return data[bit / 8] >> bit % 8 & 1;
}

/* The words of panels are counted whole: bit by bit this is most of what opening a file takes. */
size_t bc_weight_minus(const bc_node *node, size_t filter, size_t k, size_t count) {
    size_t minus = 0;
    if (node->weight_in_panels && bc_ops[node->op].inputs == BC_IN_BITS) {
        const uint64_t *words = (const uint64_t *)(const void *)node->weight->data;
        words += filter / 8 * (node->k / 64) * 8 + filter % 8;
        for (size_t i = k / 64; i < (k + count) / 64; i++)
            minus += bc_popcount64(words[i * 8]);
        return minus;
    }
    for (size_t i = k; i < k + count; i++)
        minus += bc_weight_bit(node, filter, i);
    return minus;
}

/* Memory for all panels of a node. */
static void *alloc_panels(bc_model *model, bc_node *node, size_t panel, size_t panel_bytes,
                          bool in_place, bc_error *error) {
    node->panel = panel;
    node->panels = (node->group_out + panel - 1) / panel;
    node->panel_bytes = panel_bytes;
    if (in_place)
        return NULL;
    void *memory = bc_model_alloc(model, node->groups * node->panels, panel_bytes, error);
    node->weights = memory;
    return memory;
}

/* The file's own panels. Those of a large dense layer stream from memory once per sample, which
 * page walks would slow down: they move to large pages. */
static bc_status use_in_place(bc_model *model, bc_node *node, bc_error *error) {
    node->weights = node->weight->data;
    const size_t bytes = node->groups * node->panels * node->panel_bytes;
    if (bc_ops[node->op].kind != BC_KIND_DENSE || bytes < BC_LARGE_PAGE)
        return BC_OK;
    void *copy = bc_model_alloc(model, bytes, 1, error);
    if (!copy)
        return error->code;
    node->weights = memcpy(copy, node->weight->data, bytes);
    return BC_OK;
}

bc_status bc_weights_binary(bc_model *model, bc_node *node, bc_error *error) {
    size_t taps = node->k / node->tap_bits, words = bc_words(node->tap_bits);
    uint64_t *out = alloc_panels(model, node, BC_PANEL_BINARY, taps * words * BC_PANEL_BINARY * 8,
                                 node->weight_in_panels, error);
    if (node->weight_in_panels)
        return use_in_place(model, node, error);
    if (!out)
        return error->code;
    for (size_t f = 0; f < node->filters; f++) {
        size_t g = f / node->group_out, i = f % node->group_out;
        uint64_t *panel = out + (g * node->panels + i / 8) * taps * words * 8 + i % 8;
        for (size_t k = 0; k < node->k; k++) {
            size_t t = k / node->tap_bits, c = k % node->tap_bits;
            panel[(t * words + c / 64) * 8] |= (uint64_t)bc_weight_bit(node, f, k) << c % 64;
        }
    }
    return BC_OK;
}

bc_status bc_weights_16(bc_model *model, bc_node *node, bc_error *error) {
    uint16_t *out = alloc_panels(model, node, BC_PANEL_FLOAT, (size_t)node->k * 2,
                                 node->weight_in_panels, error);
    if (node->weight_in_panels)
        return use_in_place(model, node, error);
    if (!out)
        return error->code;
    for (size_t f = 0; f < node->filters; f++) {
        size_t g = f / node->group_out, i = f % node->group_out;
        uint16_t *panel = out + (g * node->panels + i / 16) * node->k;
        for (size_t k = 0; k < node->k; k++)
            panel[k] = (uint16_t)(panel[k] | (unsigned)bc_weight_bit(node, f, k) << i % 16);
    }
    return BC_OK;
}

bc_status bc_weights_octets(bc_model *model, bc_node *node, size_t channels, size_t octets,
                            bc_error *error) {
    const size_t taps = node->k / channels;
    uint8_t *out = alloc_panels(model, node, BC_PANEL_FLOAT, taps * octets * BC_PANEL_FLOAT,
                                node->weight_in_octets, error);
    if (node->weight_in_octets)
        return use_in_place(model, node, error);
    if (!out)
        return error->code;
    for (size_t f = 0; f < node->filters; f++) {
        const size_t g = f / node->group_out, i = f % node->group_out;
        uint8_t *panel = out + (g * node->panels + i / 16) * node->panel_bytes + i % 16;
        for (size_t k = 0; k < node->k; k++) {
            const size_t t = k / channels, c = k % channels;
            uint8_t *octet = panel + (t * octets + c / 8) * BC_PANEL_FLOAT;
            *octet = (uint8_t)(*octet | (unsigned)bc_weight_bit(node, f, k) << c % 8);
        }
    }
    return BC_OK;
}

static float weight_value(const bc_node *node, size_t f, size_t k) {
    if (bc_ops[node->op].weight_bits == 1)
        return bc_weight_bit(node, f, k) ? -1.0f : 1.0f;
    return ((const float *)(const void *)node->weight->data)[f * node->k + k];
}

bc_status bc_weights_float(bc_model *model, bc_node *node, bc_error *error) {
    if (node->depthwise) { /* [tap][channel] */
        float *flat = bc_model_alloc(model, node->filters, (size_t)node->k * sizeof *flat, error);
        if (!flat)
            return error->code;
        for (size_t f = 0; f < node->filters; f++)
            for (size_t k = 0; k < node->k; k++)
                flat[k * node->filters + f] = weight_value(node, f, k);
        node->weights = flat;
        return BC_OK;
    }
    float *out = alloc_panels(model, node, BC_PANEL_FLOAT,
                              (size_t)node->k * BC_PANEL_FLOAT * sizeof *out, false, error);
    if (!out)
        return error->code;
    for (size_t f = 0; f < node->filters; f++) {
        size_t g = f / node->group_out, i = f % node->group_out;
        float *panel = out + (g * node->panels + i / 16) * node->k * 16 + i % 16;
        for (size_t k = 0; k < node->k; k++)
            panel[k * 16] = weight_value(node, f, k);
    }
    return BC_OK;
}
