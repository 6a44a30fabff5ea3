/* gather.h: 16-bit activations of a few pixels laid side by side, for kernels that take two k at
 * once. */
#ifndef BC_ISA_GATHER_H
#define BC_ISA_GATHER_H

#include "../internal.h"

#include <string.h>

/* Row r of `to` (`stride` apart) gets values [k0, k0 + n) of pixel r's K = taps * cin, and a zero
 * after an odd n. */
static inline void bc_gather16(int16_t *to, size_t stride, size_t m, size_t taps, size_t cin,
                               const int16_t *const *a, size_t k0, size_t n) {
    for (size_t r = 0; r < m; r++, to += stride) {
        size_t t = k0 / cin, i = k0 % cin;
        for (size_t k = 0, count; k < n; k += count, t++, i = 0) {
            count = bc_min(cin - i, n - k);
            const int16_t *from = a[r * taps + t] + i;
            if (count == 3) { /* first layers read three channels: no call for that */
                to[k] = from[0];
                to[k + 1] = from[1];
                to[k + 2] = from[2];
            } else {
                memcpy(to + k, from, count * sizeof *to);
            }
        }
        if (n % 2)
            to[n] = 0;
    }
}

#endif
