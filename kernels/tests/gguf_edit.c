/* gguf_edit.c: see gguf_edit.h. Trusts what it reads: only sound files are taken apart. */
#define _POSIX_C_SOURCE 200809L
#include "gguf_edit.h"

#include "../src/gguf.h"
#include "samples.h"

#include <string.h>

static const uint8_t *take(piece *out, const uint8_t *from, const uint8_t *to) {
    size_t name = (size_t)bc_read_u64(from);
    if (name >= sizeof out->name)
        exit(2);
    memcpy(out->name, from + 8, name);
    out->size = (size_t)(to - from);
    out->data = malloc(out->size);
    memcpy(out->data, from, out->size);
    return to;
}

static const uint8_t *skip_value(const uint8_t *at, uint32_t type) {
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type == BC_GGUF_STRING ? at + 8 + bc_read_u64(at) : at + bytes[type];
}

static const uint8_t *skip_key(const uint8_t *at) {
    at += 8 + bc_read_u64(at);
    uint32_t type = bc_read_u32(at);
    uint64_t count = 1;
    at += 4;
    if (type == BC_GGUF_ARRAY) {
        type = bc_read_u32(at);
        count = bc_read_u64(at + 4);
        at += 12;
    }
    while (count--)
        at = skip_value(at, type);
    return at;
}

static const uint8_t *skip_tensor(const uint8_t *at) {
    at += 8 + bc_read_u64(at);
    return at + 4 + 8 * bc_read_u32(at) + 4 + 8;
}

void take_apart(parts *p, const uint8_t *file, size_t size) {
    memset(p, 0, sizeof *p);
    memcpy(p->header, file, sizeof p->header);
    p->tensor_count = (size_t)bc_read_u64(file + 8);
    p->key_count = (size_t)bc_read_u64(file + 16);
    if (p->tensor_count >= PIECES || p->key_count >= PIECES)
        exit(2);
    const uint8_t *at = file + sizeof p->header;
    for (size_t i = 0; i < p->key_count; i++)
        at = take(&p->keys[i], at, skip_key(at));
    for (size_t i = 0; i < p->tensor_count; i++)
        at = take(&p->tensors[i], at, skip_tensor(at));
    size_t begin = bc_round_up((size_t)(at - file), 64);
    p->data.size = size - begin;
    p->data.data = malloc(p->data.size);
    memcpy(p->data.data, file + begin, p->data.size);
}

void free_parts(parts *p) {
    for (size_t i = 0; i < p->key_count; i++)
        free(p->keys[i].data);
    for (size_t i = 0; i < p->tensor_count; i++)
        free(p->tensors[i].data);
    free(p->data.data);
}

piece *find_piece(piece *pieces, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if (!strcmp(pieces[i].name, name))
            return &pieces[i];
    printf("there is no %s in the sample\n", name);
    exit(2);
}

size_t value_at(const piece *key) {
    size_t at = 8 + (size_t)bc_read_u64(key->data);
    return at + (bc_read_u32(key->data + at) == BC_GGUF_ARRAY ? 16 : 4);
}

static uint8_t *put(uint8_t *to, const uint8_t *file, piece *piece) {
    piece->offset = (size_t)(to - file);
    memcpy(to, piece->data, piece->size);
    return to + piece->size;
}

uint8_t *put_together(parts *p, int with_checksum, size_t *size) {
    size_t head = sizeof p->header;
    const uint64_t counts[2] = {p->tensor_count, p->key_count};
    for (size_t i = 0; i < p->key_count; i++)
        head += p->keys[i].size;
    for (size_t i = 0; i < p->tensor_count; i++)
        head += p->tensors[i].size;
    *size = bc_round_up(head, 64) + p->data.size;
    if (with_checksum) {
        uint32_t crc = bc_crc32(p->data.data, p->data.size);
        piece *key = find_piece(p->keys, p->key_count, "bincompress.crc32");
        memcpy(key->data + value_at(key), &crc, 4);
    }
    uint8_t *file = aligned_bytes(*size), *at = file + sizeof p->header;
    memset(file, 0, *size);
    memcpy(file, p->header, sizeof p->header);
    memcpy(file + 8, counts, sizeof counts);
    for (size_t i = 0; i < p->key_count; i++)
        at = put(at, file, &p->keys[i]);
    for (size_t i = 0; i < p->tensor_count; i++)
        at = put(at, file, &p->tensors[i]);
    p->data.offset = bc_round_up(head, 64);
    memcpy(file + p->data.offset, p->data.data, p->data.size);
    return file;
}
