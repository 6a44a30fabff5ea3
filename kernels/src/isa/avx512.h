/* avx512.h: what the AVX-512 files show each other; contracts are in internal.h.
 * -DBC_SIMDE builds them on SIMDe's emulation of the intrinsics, to test them on a CPU without
 * AVX-512. */
#ifndef BC_ISA_AVX512_H
#define BC_ISA_AVX512_H

#include "../internal.h"
#include "simd.h"

#ifdef BC_SIMDE
#include "../../tests/emulate_avx512.h"
#else
#include <immintrin.h>
#endif

void bc_bgemm__avx512vpopcntdq(size_t m, size_t panels, size_t taps, size_t cw,
                               const uint64_t *const *a, size_t skip, const uint64_t *w,
                               int32_t *pop, size_t ld);
void bc_bgemm_tau__avx512vpopcntdq(size_t m, size_t panels, size_t taps, size_t cw,
                                   const uint64_t *const *a, size_t skip, const uint64_t *w,
                                   const int32_t *const *limit, uint8_t *out, size_t out_stride);
void bc_bgemm_steps__avx512vpopcntdq(size_t m, size_t c, size_t taps, size_t cw,
                                     const uint64_t *const *a, size_t skip, const uint64_t *w,
                                     int32_t *pop, size_t ld, const bc_row_step *list,
                                     size_t count);
void bc_fgemm__avx512(size_t m, size_t n, size_t taps, size_t cin, const float *const *a,
                      const float *w, float *acc, size_t ld, const bc_ahead *ahead);
void bc_igemm__avx512(size_t m, size_t panels, size_t taps, size_t cin, const int16_t *const *a,
                      const uint16_t *w, int32_t *acc, size_t ld);

/* Bytes of the tables of an octet. */
enum { BC_TTABLE_OCTET__AVX512 = 128, BC_QTABLE_OCTET__AVX512 = 64 };
void bc_ttable__avx512(size_t rows, size_t c, const float *x, void *table);
void bc_tgemm__avx512(size_t m, size_t panels, size_t taps, size_t octets, const void *const *a,
                      const uint8_t *w, float *acc, size_t ld);
float bc_abs_max__avx512(size_t n, const float *x);
void bc_qtable__avx512(size_t rows, size_t c, const float *x, float by, void *table);
void bc_qgemm__avx512(size_t m, size_t panels, size_t taps, size_t octets, const void *const *a,
                      const uint8_t *w, int32_t *acc, size_t ld);

#define BC_TABLES_AVX512                                                                           \
    .ttable_octet = BC_TTABLE_OCTET__AVX512, .qtable_octet = BC_QTABLE_OCTET__AVX512,              \
    .mr_table = 6, .ttable = bc_ttable__avx512, .tgemm = bc_tgemm__avx512,                         \
    .abs_max = bc_abs_max__avx512, .qtable = bc_qtable__avx512, .qgemm = bc_qgemm__avx512

#endif
