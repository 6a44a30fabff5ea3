/* samples.h: reading the files of tests/data. */
#ifndef BC_TEST_SAMPLES_H
#define BC_TEST_SAMPLES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef BC_TEST_DATA
#error "BC_TEST_DATA must name the directory tests/data"
#endif

static const char *const sample_names[] = {"every_op", "small_cnn"};

/* `size` bytes at a multiple of 64 that end where the allocation ends, so that a sanitizer sees the
 * first byte too many. */
static inline void *aligned_bytes(size_t size) {
    void *memory = NULL;
    if (posix_memalign(&memory, 64, size ? size : 1) != 0)
        exit(2);
    return memory;
}

/* A whole file, to be freed. */
static inline uint8_t *read_sample(const char *name, const char *suffix, size_t *size) {
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s.%s", BC_TEST_DATA, name, suffix);
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) {
        perror(path);
        exit(2);
    }
    *size = (size_t)ftell(file);
    uint8_t *data = aligned_bytes(*size);
    rewind(file);
    if (fread(data, 1, *size, file) != *size)
        exit(2);
    fclose(file);
    return data;
}

#endif
