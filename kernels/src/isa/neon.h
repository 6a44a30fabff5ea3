/* neon.h: what the NEON files show each other; contracts are in internal.h.
 *
 * NEON (Advanced SIMD) is part of every 64-bit ARM CPU, so these files raise no target; only the
 * instances that use DOTPROD do. */
#ifndef BC_ISA_NEON_H
#define BC_ISA_NEON_H

#include "../internal.h"
#include "simd.h"

#include <arm_neon.h>

/* Hints that GCC needs and clang does not. BC_IN_ORDER: loads stay where they are written;
 * scheduled earlier, they need more registers than there are. BC_OPAQUE: a lane of this vector is
 * used by lane each time, not doubled once for several uses. */
#if defined(__clang__)
#define BC_IN_ORDER (void)0
#define BC_OPAQUE(vector) (void)0
#else
#define BC_IN_ORDER __asm__ volatile("" ::: "memory")
#define BC_OPAQUE(vector) BC_KEEP_X(vector)
#endif

/* clang and GCC name the extension differently. */
#if defined(__clang__)
#define BC_TARGET_DOT "dotprod"
#else
#define BC_TARGET_DOT "arch=armv8.2-a+dotprod"
#endif

/* acc lane i += the sum of bytes 4i .. 4i + 3. In assembler, as older compilers have the intrinsic
 * only where the whole file is built for DOTPROD; use between BC_TARGET_BEGIN(BC_TARGET_DOT) and
 * BC_TARGET_END. */
static BC_INLINE uint32x4_t bc_add_bytes(uint32x4_t acc, uint8x16_t bytes, uint8x16_t ones) {
    __asm__("udot %0.4s, %1.16b, %2.16b" : "+w"(acc) : "w"(bytes), "w"(ones));
    return acc;
}

void bc_bgemm__neon(size_t m, size_t panels, size_t taps, size_t cw, const uint64_t *const *a,
                    size_t skip, const uint64_t *w, int32_t *pop, size_t ld);
void bc_bgemm_tau__neon(size_t m, size_t panels, size_t taps, size_t cw, const uint64_t *const *a,
                        size_t skip, const uint64_t *w, const int32_t *const *limit, uint8_t *out,
                        size_t out_stride);
void bc_bgemm__neondot(size_t m, size_t panels, size_t taps, size_t cw, const uint64_t *const *a,
                       size_t skip, const uint64_t *w, int32_t *pop, size_t ld);
void bc_bgemm_tau__neondot(size_t m, size_t panels, size_t taps, size_t cw,
                           const uint64_t *const *a, size_t skip, const uint64_t *w,
                           const int32_t *const *limit, uint8_t *out, size_t out_stride);
void bc_fgemm__neon(size_t m, size_t n, size_t taps, size_t cin, const float *const *a,
                    const float *w, float *acc, size_t ld, const bc_ahead *ahead);
void bc_igemm__neon(size_t m, size_t panels, size_t taps, size_t cin, const int16_t *const *a,
                    const uint16_t *w, int32_t *acc, size_t ld);

enum { BC_TTABLE_OCTET__NEON = 64 };
void bc_ttable__neon(size_t rows, size_t c, const float *x, void *table);
void bc_tgemm__neon(size_t m, size_t panels, size_t taps, size_t octets, const void *const *a,
                    const uint8_t *w, float *acc, size_t ld);

#endif
