/* simd.h: the few compiler hints that the vector kernels share. */
#ifndef BC_ISA_SIMD_H
#define BC_ISA_SIMD_H

#if defined(__GNUC__)
#define BC_INLINE inline __attribute__((always_inline))
/* Nothing happens, but the compiler may not reorder sums through it: reassociated accumulators spill. */
#define BC_KEEP_X(vector) __asm__("" : "+x"(vector))
#define BC_KEEP_V(vector) __asm__("" : "+v"(vector))
#else
#define BC_INLINE inline
#define BC_KEEP_X(vector) (void)0
#define BC_KEEP_V(vector) (void)0
#endif

/* Before a loop of constant count over registers. */
#if defined(__clang__)
#define BC_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define BC_UNROLL _Pragma("GCC unroll 16")
#else
#define BC_UNROLL
#endif

#endif
