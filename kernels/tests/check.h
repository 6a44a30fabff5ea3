/* check.h: what the kernel checks share: operands that end at a guard page, fills, and the list of
 * kernel tables. */
#ifndef BC_CHECK_H
#define BC_CHECK_H

#include "../src/internal.h"

/* The five fills every operand goes through. */
typedef enum fill { FILL_ZERO, FILL_ONE, FILL_SINGLE, FILL_PERIOD_251, FILL_RANDOM, FILLS } fill;
extern const char *const fill_names[FILLS];

/* A buffer whose last byte lies before an unmapped page (up to the rounding that `align` asks for),
 * full of 0xa5, as are the CANARY bytes before it; so they must be after a kernel wherever it may
 * not write. */
enum { CANARY = 64 };
void *guarded(size_t bytes, size_t align);
void release_all(void);

uint64_t random64(void);
void seed_random(uint64_t seed);

void fill_bytes(uint8_t *to, size_t n, fill how);
void fill_words(uint64_t *to, size_t n, fill how);
void fill_u16(uint16_t *to, size_t n, fill how);
void fill_i16(int16_t *to, size_t n, fill how);                /* |x| <= 510 */
void fill_i32(int32_t *to, size_t n, fill how, int32_t limit); /* |x| <= limit */
void fill_f32(float *to, size_t n, fill how); /* finite; subnormals, -0.0 and many exponents */

/* m * taps pointers into `rows` rows of `row_bytes`, in a guarded array; the last pointer is to the
 * last row. */
const void **indirection(size_t m, size_t taps, const void *base, size_t rows, size_t row_bytes);

/* Compares two guarded buffers with their canaries and, if different, prints the table's name and
 * `what` (printf-style). Returns 1 if different. */
#if defined(__GNUC__)
__attribute__((format(printf, 5, 6)))
#endif
int differs(const void *want, const void *got, size_t bytes, const bc_kernels *row,
            const char *what, ...);

/* The tables to check against scalar: those this CPU has. */
extern const bc_kernels *tables[];
extern size_t tables_count;

/* Each returns the number of failures. */
int check_products(void);
int check_images(void);
int check_planes(void);
int check_weights(void);
int check_rows(void);

#endif
