/* simd.h: the few compiler hints that the vector kernels share. */
#ifndef BC_ISA_SIMD_H
#define BC_ISA_SIMD_H

#if defined(__GNUC__)
#define BC_INLINE inline __attribute__((always_inline))
#define BC_NO_INLINE                                                                               \
    __attribute__((noinline)) /* what is seldom needed, out of the way of the rest */
/* Nothing happens, but the compiler may not reorder sums through it: reassociated accumulators
 * spill. */
#if defined(__aarch64__)
#define BC_KEEP_X(vector) __asm__("" : "+w"(vector))
#else
#define BC_KEEP_X(vector) __asm__("" : "+x"(vector)) /* registers 0 to 15 */
#define BC_KEEP_V(vector) __asm__("" : "+v"(vector)) /* ... to 31 */
#endif
/* The same for a pointer: what was loaded through it is loaded again, not kept. */
#define BC_KEEP_R(pointer) __asm__("" : "+r"(pointer))
/* Brings a line nearer: to be read, or to be written. Any address is harmless. */
#define BC_PREFETCH(address) __builtin_prefetch(address)
#define BC_PREFETCH_TO(address) __builtin_prefetch(address, 1)
/* The same for what is read much later: not into the first cache. */
#define BC_PREFETCH_FAR(address) __builtin_prefetch(address, 0, 1)
#else
#define BC_INLINE inline
#define BC_NO_INLINE
#define BC_KEEP_X(vector) (void)0
#define BC_KEEP_V(vector) (void)0
#define BC_KEEP_R(pointer) (void)0
#define BC_PREFETCH(address) (void)0
#define BC_PREFETCH_TO(address) (void)0
#define BC_PREFETCH_FAR(address) (void)0
#endif

/* BC_UNROLL: before a loop of constant count over registers; BC_UNROLL_4: before any loop whose
 * body is tiny. */
#if defined(__clang__)
#define BC_UNROLL _Pragma("clang loop unroll(full)")
#define BC_UNROLL_4 _Pragma("clang loop unroll_count(4)")
#elif defined(__GNUC__)
#define BC_UNROLL _Pragma("GCC unroll 16")
#define BC_UNROLL_4 _Pragma("GCC unroll 4")
#else
#define BC_UNROLL
#define BC_UNROLL_4
#endif

#endif
