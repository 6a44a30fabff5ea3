/* gguf_edit.h: takes a sound packed file apart, so that a test can break one thing and put the rest
 * together again. */
#ifndef BC_TEST_GGUF_EDIT_H
#define BC_TEST_GGUF_EDIT_H

#include <stddef.h>
#include <stdint.h>

enum { PIECES = 1024 };

typedef struct piece {
    uint8_t *data; /* owned */
    size_t size;
    char name[80];
    size_t offset; /* in the file last assembled */
} piece;

typedef struct parts {
    uint8_t header[24];
    piece keys[PIECES]; /* name, type, value */
    size_t key_count;
    piece tensors[PIECES]; /* name, dimensions, type, offset */
    size_t tensor_count;
    piece data;
} parts;

void take_apart(parts *p, const uint8_t *file, size_t size);
void free_parts(parts *p);

/* The file with the counts, the alignment and, if wanted, the checksum put right. Owned by the
 * caller, 64-byte aligned, ending where its allocation ends. */
uint8_t *put_together(parts *p, int with_checksum, size_t *size);

piece *find_piece(piece *pieces, size_t count, const char *name);
size_t value_at(const piece *key); /* index of the first byte of its value (of the first element) */

#endif
