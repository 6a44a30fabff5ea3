/* scalar.c: the slow, readable twin of every kernel; the judge of all other files in this
 * directory. No intrinsics, no tiles, no tricks: each function is the sentence in internal.h.
 * Contracts are there. */
#include "bgemm_steps.h"
#include "scalar.h"

#include <math.h>
#include <string.h>

static void bgemm__scalar(size_t m, size_t panels, size_t taps, size_t cw, const uint64_t *const *a,
                          size_t skip, const uint64_t *w, int32_t *pop, size_t ld) {
    for (size_t p = 0; p < m; p++)
        for (size_t f = 0; f < panels * BC_PANEL_BINARY; f++) {
            const uint64_t *wf = w + f / 8 * taps * cw * 8 + f % 8;
            uint32_t x = 0;
            for (size_t t = 0; t < taps; t++)
                for (size_t i = 0; i < cw; i++)
                    x += bc_popcount64(a[p * taps + t][skip + i] ^ wf[(t * cw + i) * 8]);
            pop[p * ld + f] = (int32_t)x;
        }
}

static void bgemm_tau__scalar(size_t m, size_t panels, size_t taps, size_t cw,
                              const uint64_t *const *a, size_t skip, const uint64_t *w,
                              const int32_t *const *limit, uint8_t *out, size_t out_stride) {
    for (size_t p = 0; p < m; p++)
        for (size_t q = 0; q < panels; q++) {
            int32_t pop[BC_PANEL_BINARY];
            bgemm__scalar(1, 1, taps, cw, a + p * taps, skip, w + q * taps * cw * 8, pop,
                          BC_PANEL_BINARY);
            unsigned bits = 0;
            for (size_t f = 0; f < BC_PANEL_BINARY; f++)
                bits |= (unsigned)(pop[f] > limit[p][q * 8 + f]) << f;
            out[p * out_stride + q] = (uint8_t)bits;
        }
}

void bc_fgemm__scalar(size_t m, size_t n, size_t taps, size_t cin, const float *const *a,
                      const float *w, float *acc, size_t ld, const bc_ahead *ahead) {
    (void)ahead;
    for (size_t p = 0; p < m; p++)
        for (size_t f = 0; f < bc_round_up(n, 8); f++) {
            const float *wf = w + f / 16 * taps * cin * 16 + f % 16;
            float y = 0;
            for (size_t t = 0; t < taps; t++)
                for (size_t i = 0; i < cin; i++)
                    y = fmaf(a[p * taps + t][i], wf[(t * cin + i) * 16], y);
            acc[p * ld + f] = y;
        }
}

void bc_igemm__scalar(size_t m, size_t panels, size_t taps, size_t cin, const int16_t *const *a,
                      const uint16_t *w, int32_t *acc, size_t ld) {
    for (size_t p = 0; p < m; p++)
        for (size_t f = 0; f < panels * BC_PANEL_FLOAT; f++) {
            const uint16_t *wf = w + f / 16 * taps * cin;
            int32_t y = 0;
            for (size_t t = 0; t < taps; t++)
                for (size_t i = 0; i < cin; i++) {
                    int32_t x = a[p * taps + t][i];
                    y += wf[t * cin + i] >> f % 16 & 1 ? -x : x;
                }
            acc[p * ld + f] = y;
        }
}

static void fdepthwise__scalar(size_t m, size_t c, size_t taps, const float *const *a,
                               const float *w, float *y, size_t ld) {
    for (size_t p = 0; p < m; p++)
        for (size_t i = 0; i < c; i++) {
            float acc = 0;
            for (size_t t = 0; t < taps; t++)
                acc = fmaf(a[p * taps + t][i], w[t * c + i], acc);
            y[p * ld + i] = acc;
        }
}

static void steps__scalar(size_t m, size_t c, const bc_row_step *list, size_t count) {
    for (size_t p = 0; p < m; p++)
        for (size_t i = 0; i < c; i++) {
            float y = 0;
            for (const bc_row_step *s = list; s < list + count; s++) {
                const size_t at = p * s->ld + i;
                const float *x = s->x;
                const int32_t *integers = s->x;
                uint8_t *bits;
                switch (s->op) {
                case BC_ROW_LOAD:
                    y = x[at];
                    break;
                case BC_ROW_I32:
                    y = (float)integers[at];
                    break;
                case BC_ROW_POP:
                    y = (float)(s->base[p][i] - 2 * integers[at]);
                    break;
                case BC_ROW_HALF:
                    y = (float)(s->base[p][i] - integers[at]);
                    break;
                case BC_ROW_AFFINE:
                    y = y * s->scale[i];
                    y = y + s->bias[i];
                    break;
                case BC_ROW_RELU:
                    y = y > 0 ? y : 0;
                    break;
                case BC_ROW_HARDTANH:
                    y = y > -1 ? y : -1;
                    y = y < 1 ? y : 1;
                    break;
                case BC_ROW_PRELU:
                    y = y >= 0 ? y : y * s->scale[i];
                    break;
                case BC_ROW_ADD:
                    y = y + x[at];
                    break;
                case BC_ROW_MUL_MAP:
                    y = y * x[p];
                    break;
                case BC_ROW_STORE:
                    ((float *)s->to)[at] = y;
                    break;
                case BC_ROW_SIGN:
                    bits = (uint8_t *)s->to + p * s->ld + i / 8;
                    *bits = (uint8_t)((i % 8 ? *bits : 0) | (y < 0) << i % 8);
                    break;
                }
            }
        }
}

BC_BGEMM_STEPS(bgemm_steps__scalar, bgemm__scalar, steps__scalar)

static void i32_to_bits__scalar(size_t m, size_t c, const int32_t *acc, size_t ld,
                                const int32_t *tau, uint8_t *out, size_t out_stride) {
    for (size_t p = 0; p < m; p++) {
        memset(out + p * out_stride, 0, (c + 7) / 8);
        for (size_t i = 0; i < c; i++)
            out[p * out_stride + i / 8] |= (uint8_t)((acc[p * ld + i] < tau[i]) << i % 8);
    }
}

static void max_pool__scalar(size_t m, size_t c, size_t taps, const float *const *a, float *y,
                             size_t ld) {
    for (size_t p = 0; p < m; p++)
        for (size_t i = 0; i < c; i++) {
            float best = a[p * taps][i];
            for (size_t t = 1; t < taps; t++)
                best = a[p * taps + t][i] > best ? a[p * taps + t][i] : best;
            y[p * ld + i] = best;
        }
}

static void avg_pool__scalar(size_t m, size_t c, size_t taps, const float *const *a,
                             const float *divisor, float *y, size_t ld) {
    for (size_t p = 0; p < m; p++)
        for (size_t i = 0; i < c; i++) {
            float sum = 0;
            for (size_t t = 0; t < taps; t++)
                sum += a[p * taps + t][i];
            y[p * ld + i] = sum / divisor[p];
        }
}

static void bit_pool__scalar(size_t m, size_t cw, size_t taps, const uint64_t *const *a,
                             const uint64_t *or_mask, uint64_t *y) {
    for (size_t p = 0; p < m; p++)
        for (size_t i = 0; i < cw; i++) {
            uint64_t all = a[p * taps][i], any = all;
            for (size_t t = 1; t < taps; t++) {
                all &= a[p * taps + t][i];
                any |= a[p * taps + t][i];
            }
            y[p * cw + i] = (all & ~or_mask[i]) | (any & or_mask[i]);
        }
}

static void abs_mean__scalar(size_t m, size_t c, const float *x, size_t ld, float inv, float *y) {
    for (size_t p = 0; p < m; p++) {
        float lane[16] = {0};
        for (size_t i = 0; i < c; i++)
            lane[i % 16] += fabsf(x[p * ld + i]);
        for (size_t half = 8; half > 0; half /= 2)
            for (size_t j = 0; j < half; j++)
                lane[j] += lane[j + half];
        y[p] = lane[0] * inv;
    }
}

static void ltable__scalar(size_t groups, const float *x, size_t ld, float *table) {
    for (size_t g = 0; g < groups; g++)
        for (unsigned b = 0; b < 16; b++)
            for (size_t j = 0; j < 16; j++) {
                float s[4];
                for (size_t i = 0; i < 4; i++) {
                    const float v = x[(4 * g + i) * ld + j];
                    s[i] = b >> i & 1 ? -v : v;
                }
                const float first = s[0] + s[1], second = s[2] + s[3];
                table[(16 * g + b) * 16 + j] = first + second;
            }
}

static void lgemm__scalar(size_t m, size_t taps, size_t octets, const uint8_t *const *bits,
                          size_t stride, size_t skip, size_t step, const float *table, float *acc,
                          size_t ld) {
    for (size_t p = 0; p < m; p++)
        for (size_t t = 0; t < taps; t++)
            for (size_t g = 0; g < 2 * octets; g++) {
                const unsigned byte = bits[p * stride + t][skip + g / 2 * step],
                               b = g % 2 ? byte >> 4 : byte & 15;
                const float *from = table + ((2 * octets * t + g) * 16 + b) * 16;
                for (size_t j = 0; j < 16; j++)
                    acc[p * ld + j] = acc[p * ld + j] + from[j];
            }
}

static void pack_taps__scalar(size_t n, size_t taps, size_t channels, size_t stride, size_t step,
                              const uint64_t *from, uint64_t *to) {
    const size_t words = bc_words(taps * channels);
    memset(to, 0, n * words * sizeof *to);
    for (size_t x = 0; x < n; x++, to += words)
        for (size_t t = 0, at = 0; t < taps; t++)
            for (size_t i = 0; i < channels; i++, at++)
                to[at / 64] |= (from[x * stride + t * step] >> i & 1) << at % 64;
}

static void turn_bits__scalar(size_t octets, const uint8_t *low, const uint8_t *high, uint8_t *to) {
    memset(to, 0, octets * 16);
    for (size_t i = 0; i < octets * 8; i++)
        for (size_t f = 0; f < 8; f++) {
            to[i / 8 * 16 + f] |= (uint8_t)((low[i] >> f & 1) << i % 8);
            to[i / 8 * 16 + 8 + f] |= (uint8_t)((high[i] >> f & 1) << i % 8);
        }
}

static void center_sums__scalar(size_t m, size_t c, const float *x, const float *dy,
                                const float *center, float *sums) {
    memset(sums, 0, 2 * c * sizeof *sums);
    for (size_t p = 0; p < m; p++)
        for (size_t i = 0; i < c; i++) {
            const float v = x[p * c + i] - center[i], u = dy ? dy[p * c + i] : v;
            sums[i] += u;
            sums[c + i] += u * v;
        }
}

static void through_sign__scalar(size_t m, size_t c, bc_estimator estimator, const float *x,
                                 const float *input, const float *center, float *dx, float *sums) {
    for (size_t p = 0; p < m; p++)
        for (size_t i = 0; i < c; i++) {
            const float z = x[p * c + i] * input[i] + input[c + i], slope = 2 - 2 * fabsf(z);
            float *to = dx + p * c + i;
            if (estimator == BC_STE)
                *to = 1 - fabsf(z) >= 0 ? *to : 0;
            else if (estimator == BC_APPROXSIGN)
                *to *= slope > 0 ? slope : 0;
        }
    center_sums__scalar(m, c, x, dx, center, sums);
}

/* One chain per kind is enough here: this peak is that of plain C, not of the machine. */
static uint64_t peak__scalar(bc_peak kind, uint64_t rounds, uint64_t *sink) {
    const bool bits = kind == BC_PEAK_BINARY || kind == BC_PEAK_COUNT;
    uint64_t x = *sink | 1, sum = 0;
    float y[4] = {1, 2, 3, 4};
    for (uint64_t r = 0; r < rounds; r++)
        for (int i = 0; i < 64; i++)
            if (bits) {
                sum += bc_popcount64(x ^ sum);
            } else if (kind == BC_PEAK_F32) {
                for (int j = 0; j < 4; j++)
                    y[j] = fmaf(y[j], 0.5f, 1.0f);
            } else if (kind == BC_PEAK_WEIGHT) {
                for (int j = 0; j < 4; j++)
                    y[j] = x >> j & 1 ? 1.0f - y[j] : 1.0f + y[j];
            } else {
                sum += (x ^ sum) >> (i & 63) & 1 ? (uint64_t)i : ~(uint64_t)i;
            }
    *sink = sum + (y[0] + y[1] + y[2] + y[3] > 0);
    return rounds * 64 * (bits ? 64u : kind == BC_PEAK_F32 || kind == BC_PEAK_WEIGHT ? 4u : 1u);
}

const bc_kernels bc_kernels_scalar = {
    .name = "scalar",
    .cpu_needs = 0,
    .mr_binary = 1,
    .mr_float = 1,
    .bgemm = bgemm__scalar,
    .bgemm_tau = bgemm_tau__scalar,
    .bgemm_steps = bgemm_steps__scalar,
    BC_PRODUCTS_SCALAR,
    .fdepthwise = fdepthwise__scalar,
    .steps = steps__scalar,
    .i32_to_bits = i32_to_bits__scalar,
    .max_pool = max_pool__scalar,
    .avg_pool = avg_pool__scalar,
    .bit_pool = bit_pool__scalar,
    .abs_mean = abs_mean__scalar,
    .pack_taps = pack_taps__scalar,
    .turn_bits = turn_bits__scalar,
    .ltable = ltable__scalar,
    .lgemm = lgemm__scalar,
    .center_sums = center_sums__scalar,
    .through_sign = through_sign__scalar,
    BC_TABLES_SCALAR,
    .peak = peak__scalar,
};
