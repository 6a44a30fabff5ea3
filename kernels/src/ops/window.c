/* window.c: where the taps of an output pixel lie. Used by everything that has a kernel. */
#include "../ops.h"

enum { CHUNK_PIXELS = 64, CHUNK_POINTERS = 1 << 16, CHUNK_BYTES = 1 << 20 };

size_t bc_window_output(size_t size, size_t before, size_t after, size_t kernel, size_t dilation,
                        size_t stride) {
    size_t extent = (kernel - 1) * dilation + 1, padded = size + before + after;
    return padded < extent ? 0 : (padded - extent) / stride + 1;
}

void bc_window_inside(size_t o, size_t size, size_t before, size_t kernel, size_t dilation,
                      size_t stride, size_t *first, size_t *count) {
    size_t start = o * stride; /* in padded coordinates, where the image begins at `before` */
    size_t skip = start < before ? (before - start + dilation - 1) / dilation : 0;
    size_t end = before + size > start ? (before + size - start + dilation - 1) / dilation : 0;
    end = bc_min(end, kernel);
    *first = bc_min(skip, end);
    *count = end - *first;
}

bc_status bc_window_prepare(bc_model *model, bc_node *node, bc_error *error) {
    const bc_window *win = &node->window;
    node->taps = win->kh * win->kw;
    size_t *offset = bc_model_alloc(model, node->taps, sizeof *offset, error);
    if (!offset)
        return error->code;
    for (size_t t = 0; t < node->taps; t++)
        offset[t] = (t / win->kw * win->dh * win->w + t % win->kw * win->dw) * node->pixel_bytes;
    node->tap_offset = offset;
    bc_node_chunk(node);
    return BC_OK;
}

void bc_node_chunk(bc_node *node) {
    node->ld = bc_round_up(node->c, 16) +
               16; /* the panels of the last group may reach 15 filters beyond c */
    if (!node->panels) {
        node->panels = 1;
        node->panel = node->c;
    }
    node->chunk = bc_min(CHUNK_PIXELS, CHUNK_POINTERS / node->taps);
    node->chunk = bc_max(1, bc_min(node->chunk, CHUNK_BYTES / (4 * node->ld)));
}

void bc_window_flatten(bc_node *node) {
    const bc_window *win = &node->window;
    node->pixel_bytes *= win->h * win->w;
    node->inner *= win->h * win->w;
    node->window = (bc_window){
        .h = 1, .w = 1, .oh = 1, .ow = 1, .kh = 1, .kw = 1, .sh = 1, .sw = 1, .dh = 1, .dw = 1};
}

static void pointers_at_border(const bc_node *node, const char *sample, size_t oh, size_t ow,
                               const void **out) {
    const bc_window *win = &node->window;
    for (size_t i = 0; i < win->kh; i++) {
        /* wraps around above the image, so that one comparison is enough */
        size_t y = oh * win->sh + i * win->dh - win->top;
        for (size_t j = 0; j < win->kw; j++) {
            size_t x = ow * win->sw + j * win->dw - win->left;
            bool inside = y < win->h && x < win->w;
            *out++ = inside ? sample + (y * win->w + x) * node->pixel_bytes : node->pad;
        }
    }
}

void bc_window_inside_columns(const bc_window *win, size_t *first, size_t *end) {
    const size_t reach = (win->kw - 1) * win->dw + 1, padded = win->left + win->w;
    *first = bc_min((win->left + win->sw - 1) / win->sw, win->ow);
    *end = padded < reach ? 0 : bc_min((padded - reach) / win->sw + 1, win->ow);
    *end = bc_max(*first, *end);
}

static inline void pointers_of(const size_t taps, const size_t *offset, size_t step,
                               const char *origin, size_t count, const void **out) {
    for (size_t i = 0; i < count; i++, origin += step, out += taps)
        for (size_t t = 0; t < taps; t++)
            out[t] = origin + offset[t];
}

/* Pixels of one row, all taps inside. */
static void pointers_inside(const bc_node *node, const char *origin, size_t count,
                            const void **out) {
    const size_t taps = node->taps, step = node->window.sw * node->pixel_bytes;
    if (taps == 3) /* instances of usual sizes, whose offsets stay in registers */
        pointers_of(3, node->tap_offset, step, origin, count, out);
    else if (taps == 5)
        pointers_of(5, node->tap_offset, step, origin, count, out);
    else if (taps == 9)
        pointers_of(9, node->tap_offset, step, origin, count, out);
    else
        pointers_of(taps, node->tap_offset, step, origin, count, out);
}

void bc_window_pointers(const bc_node *node, const void *source, size_t p0, size_t m,
                        const void **pointers) {
    const bc_window *win = &node->window;
    const size_t reach = (win->kh - 1) * win->dh, image = win->h * win->w * node->pixel_bytes;
    size_t ow = p0 % win->ow, oh = p0 / win->ow % win->oh, first, end;
    const char *sample = (const char *)source + p0 / (win->ow * win->oh) * image;
    bc_window_inside_columns(win, &first, &end);
    for (size_t n; m; m -= n, pointers += n * node->taps) {
        const size_t y = oh * win->sh;
        const bool row_inside = y >= win->top && y + reach < win->top + win->h;
        if (row_inside && ow >= first && ow < end) {
            n = bc_min(m, end - ow);
            const size_t at = (y - win->top) * win->w + (ow * win->sw - win->left);
            pointers_inside(node, sample + at * node->pixel_bytes, n, pointers);
        } else {
            n = 1;
            pointers_at_border(node, sample, oh, ow, pointers);
        }
        ow += n;
        if (ow < win->ow)
            continue;
        ow = 0;
        if (++oh < win->oh)
            continue;
        oh = 0;
        sample += image;
    }
}
