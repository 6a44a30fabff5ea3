/* avx2.h: what the AVX2 files show each other; contracts are in internal.h. */
#ifndef BC_ISA_AVX2_H
#define BC_ISA_AVX2_H

#include "../internal.h"
#include "bgemm_call.h"
#include "simd.h"

BC_BGEMM_KERNELS(avx2);
/* Of a word of K and 32 filters: 16 steps, a byte per filter. */
enum { BC_SPREAD_WORD__AVX2 = 16 * 32 };
void bc_spread__avx2(size_t panels, size_t k_words, const uint64_t *w, void *to);
bool bc_spread_serves__avx2(size_t panels, size_t taps, size_t cw);

enum { BC_PLANE_LANES__AVX2 = 32 };
void bc_plane_rows__avx2(const bc_plane_image *image, size_t rows, const uint64_t *from,
                         uint8_t *to);
void bc_plane_pop__avx2(const bc_plane_call *call);
void bc_plane_tau__avx2(const bc_plane_call *call);

void bc_fgemm__avx2(size_t m, size_t n, size_t taps, size_t cin, const float *const *a,
                    const float *w, float *acc, size_t ld, const bc_ahead *ahead);
void bc_igemm__avx2(size_t m, size_t panels, size_t taps, size_t cin, const int16_t *const *a,
                    const uint16_t *w, int32_t *acc, size_t ld);

/* Bytes of the tables of an octet. */
enum { BC_TTABLE_OCTET__AVX2 = 64, BC_QTABLE_OCTET__AVX2 = 64 };
void bc_ttable__avx2(size_t rows, size_t c, const float *x, void *table);
void bc_tgemm__avx2(size_t m, size_t panels, size_t taps, size_t octets, const void *const *a,
                    const uint8_t *w, float *acc, size_t ld);
float bc_abs_max__avx2(size_t n, const float *x);
void bc_qtable__avx2(size_t rows, size_t c, const float *x, float by, void *table);
void bc_qgemm__avx2(size_t m, size_t panels, size_t taps, size_t octets, const void *const *a,
                    const uint8_t *w, int32_t *acc, size_t ld);

#define BC_TABLES_AVX2                                                                             \
    .ttable_octet = BC_TTABLE_OCTET__AVX2, .qtable_octet = BC_QTABLE_OCTET__AVX2, .mr_table = 6,   \
    .ttable = bc_ttable__avx2, .tgemm = bc_tgemm__avx2, .abs_max = bc_abs_max__avx2,               \
    .qtable = bc_qtable__avx2, .qgemm = bc_qgemm__avx2

#endif
