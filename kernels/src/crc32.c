/* crc32.c: the checksum of the tensor data. */
#include "gguf.h"

#include <string.h>

/* Little-endian, as everything here; a call per word would cost as much as the word. */
static inline uint32_t word(const uint8_t *data) {
    uint32_t x;
    memcpy(&x, data, sizeof x);
    return x;
}

/* Eight tables, eight bytes a step; they are made on the stack, so there is no state. */
uint32_t bc_crc32(const uint8_t *data, size_t size) {
    uint32_t table[8][256], crc = 0xffffffffu;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t x = i;
        for (int bit = 0; bit < 8; bit++)
            x = x & 1 ? x >> 1 ^ 0xedb88320u : x >> 1;
        table[0][i] = x;
    }
    for (int t = 1; t < 8; t++)
        for (int i = 0; i < 256; i++)
            table[t][i] = table[t - 1][i] >> 8 ^ table[0][table[t - 1][i] & 255];
    for (; size >= 8; data += 8, size -= 8) {
        uint32_t low = word(data) ^ crc, high = word(data + 4);
        crc = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^
              table[4][low >> 24] ^ table[3][high & 255] ^ table[2][high >> 8 & 255] ^
              table[1][high >> 16 & 255] ^ table[0][high >> 24];
    }
    for (; size; data++, size--)
        crc = crc >> 8 ^ table[0][(crc ^ *data) & 255];
    return ~crc;
}
