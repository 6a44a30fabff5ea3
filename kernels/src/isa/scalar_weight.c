/* scalar_weight.c: the judge of products of 1-bit weights with floats and 8-bit integers. Its
 * "tables" are the activations themselves. */
#include "scalar_weight.h"

#include <string.h>

enum { OCTET = 8, NR = BC_PANEL_FLOAT };

void bc_ttable__scalar(size_t rows, size_t c, const float *x, void *table) {
    const size_t padded = bc_round_up(c, OCTET);
    float *to = table;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < padded; i++)
            to[r * padded + i] = i < c ? x[r * c + i] : 0;
}

void bc_tgemm__scalar(size_t m, size_t panels, size_t taps, size_t octets, const void *const *a,
                      const uint8_t *w, float *acc, size_t ld) {
    for (size_t p = 0; p < m; p++)
        for (size_t f = 0; f < panels * NR; f++) {
            const uint8_t *wf = w + f / NR * taps * octets * NR + f % NR;
            float y = 0;
            for (size_t t = 0; t < taps; t++) {
                const float *x = a[p * taps + t];
                for (size_t i = 0; i < octets * OCTET; i += 4) {
                    float s[4];
                    for (size_t j = 0; j < 4; j++) {
                        const unsigned bits = wf[(t * octets + i / OCTET) * NR];
                        s[j] = bits >> (i + j) % OCTET & 1 ? -x[i + j] : x[i + j];
                    }
                    const float first = s[0] + s[1], second = s[2] + s[3];
                    const float group = first + second;
                    y = y + group;
                }
            }
            acc[p * ld + f] = y;
        }
}

float bc_abs_max__scalar(size_t n, const float *x) {
    float y = 0;
    for (size_t i = 0; i < n; i++)
        y = fabsf(x[i]) > y ? fabsf(x[i]) : y;
    return y;
}

void bc_qtable__scalar(size_t rows, size_t c, const float *x, float by, void *table) {
    const size_t padded = bc_round_up(c, 2 * OCTET);
    int8_t *to = table;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < padded; i++)
            to[r * padded + i] = i < c ? bc_quantize(x[r * c + i], by) : 0;
}

void bc_qgemm__scalar(size_t m, size_t panels, size_t taps, size_t octets, const void *const *a,
                      const uint8_t *w, int32_t *acc, size_t ld) {
    for (size_t p = 0; p < m; p++)
        for (size_t f = 0; f < panels * NR; f++) {
            const uint8_t *wf = w + f / NR * taps * octets * NR + f % NR;
            int32_t y = 0;
            for (size_t t = 0; t < taps; t++) {
                const int8_t *q = a[p * taps + t];
                for (size_t i = 0; i < octets * OCTET; i++)
                    y += wf[(t * octets + i / OCTET) * NR] >> i % OCTET & 1 ? -q[i] : q[i];
            }
            acc[p * ld + f] = y;
        }
}
