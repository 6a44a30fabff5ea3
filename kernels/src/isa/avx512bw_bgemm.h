/* avx512bw_bgemm.h: the two ways of the binary product on AVX-512 without its popcount. */
#ifndef BC_ISA_AVX512BW_BGEMM_H
#define BC_ISA_AVX512BW_BGEMM_H

#include "avx512.h"
#include "bgemm_call.h"

/* avx512bw_bgemm_pairs.c: by table look-up; false: not for few pixels or filters, a very large K or
 * hundreds of taps, and nothing is done. */
bool bc_bgemm_pairs__avx512bw(const bc_bgemm_call *call);

/* avx512bw_bgemm.c: the kernels of the table. */
enum { BC_SPREAD_WORD__AVX512BW = 16 * 64 };
void bc_spread__avx512bw(size_t panels, size_t k_words, const uint64_t *w, void *to);
bool bc_spread_serves__avx512bw(size_t panels, size_t taps, size_t cw);
BC_BGEMM_KERNELS(avx512bw);

/* avx512bw_planes.c */
enum { BC_PLANE_LANES__AVX512BW = 64 };
void bc_plane_rows__avx512bw(const bc_plane_image *image, size_t rows, const uint64_t *from,
                             uint8_t *to);
void bc_plane_pop__avx512bw(const bc_plane_call *call);
void bc_plane_tau__avx512bw(const bc_plane_call *call);

#endif
