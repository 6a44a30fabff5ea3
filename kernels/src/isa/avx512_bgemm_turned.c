/* avx512_bgemm_turned.c: binary products to bits, by the tile of avx512_bgemm_turned.h. */
#include "avx512_bgemm_turned.h"

BC_TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512vpopcntdq")

typedef struct sink {
    const int32_t *const *limit;
    size_t first; /* column of the tile in the rows of limit */
    uint8_t *out;
    size_t out_stride;
} sink;

static BC_INLINE void tiles(const int mr, const int nq, size_t count, const turned *with,
                            const uint64_t *const *a, const sink *first) {
    sink next = *first, *to = &next;
    for (; count; count--, a += (size_t)mr * with->taps) {
        __m512i sum[MR][2];
        accumulate_turned(mr, nq, with, a, sum);
        BC_KEEP_R(to);
        const int32_t *const *limits = to->limit;
        const size_t column = to->first, out_stride = to->out_stride;
        uint8_t *out = to->out;
        BC_UNROLL
        for (int r = 0; r < mr; r++, out += out_stride) {
            const int32_t *limit = limits[r] + column;
            BC_UNROLL
            for (int q = 0; q < nq; q++) {
                const __mmask16 above = _mm512_cmpgt_epi32_mask(
                    sum[r][q], _mm512_loadu_si512((const void *)(limit + q * TURNED_NR)));
                memcpy(out + 2 * q, &above, sizeof above);
            }
        }
        to->limit += mr;
        to->out = out;
    }
}

#define TILE(mr, nq)                                                                               \
    static void tau##mr##x##nq(size_t count, const turned *with, const uint64_t *const *a,         \
                               const sink *to) {                                                   \
        tiles(mr, nq, count, with, a, to);                                                         \
    }
TILE(6, 1)
TILE(6, 2)
TILE(7, 1)
TILE(7, 2)

size_t bc_bgemm_tau_turned(size_t m, size_t panels, size_t taps, size_t cw,
                           const uint64_t *const *a, size_t skip, const uint64_t *w,
                           const int32_t *const *limit, uint8_t *out, size_t out_stride) {
    _Alignas(64) uint32_t memory[2 * TURNED_WORDS * 2 * TURNED_NR];
    const size_t words = taps * cw, cuts = (m + MR - 1) / MR, higher = m - cuts * (MR - 1),
                 lower = cuts - higher;
    const turned with = {taps, 2 * skip, 2 * (skip + cw), memory};
    size_t q = 0;
    for (; q + 2 <= panels; q += panels - q >= 4 ? 4 : 2) {
        const bool wide = panels - q >= 4;
        const uint64_t *from = w + q * words * NR;
        const sink to = {limit, q * NR, out + q, out_stride};
        if (wide)
            turn(2, words, from, memory);
        else
            turn(1, words, from, memory);
        if (higher)
            (wide ? tau7x2 : tau7x1)(higher, &with, a, &to);
        if (lower) {
            const size_t done = higher * MR;
            const sink rest = {limit + done, q * NR, out + q + done * out_stride, out_stride};
            (wide ? tau6x2 : tau6x1)(lower, &with, a + done * taps, &rest);
        }
    }
    return q;
}

BC_TARGET_END
