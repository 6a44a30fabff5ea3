/* gather.h: 16-bit activations of a few pixels laid side by side, for kernels that take two k at
 * once. */
#ifndef BC_ISA_GATHER_H
#define BC_ISA_GATHER_H

#include "../internal.h"

#include <string.h>

/* memcpy of a few elements without a call: four at a time, the last four overlapping others. */
static inline void bc_copy16(int16_t *to, const int16_t *from, size_t n) {
    if (n < 4) {
        for (size_t i = 0; i < n; i++)
            to[i] = from[i];
        return;
    }
    for (size_t i = 0; i + 4 < n; i += 4)
        memcpy(to + i, from + i, 4 * sizeof *to);
    memcpy(to + n - 4, from + n - 4, 4 * sizeof *to);
}

/* Row r of `to` (`stride` apart) gets values [k0, k0 + n) of pixel r's K = taps * cin, and a zero
 * after an odd n. */
static inline void bc_gather16(int16_t *to, size_t stride, size_t m, size_t taps, size_t cin,
                               const int16_t *const *a, size_t k0, size_t n) {
    const size_t first_tap = k0 / cin, first_element = k0 % cin;
    for (size_t r = 0; r < m; r++, to += stride) {
        size_t t = first_tap, i = first_element;
        for (size_t k = 0, count; k < n; k += count, t++, i = 0) {
            count = bc_min(cin - i, n - k);
            const int16_t *from = a[r * taps + t] + i;
            if (count <= 64)
                bc_copy16(to + k, from, count);
            else
                memcpy(to + k, from, count * sizeof *to);
        }
        if (n % 2)
            to[n] = 0;
    }
}

#endif
