/* cpu.c: what this CPU can do, and whether the operating system saves the registers for it.
 * A CPU with AVX-512 under a system (or hypervisor) that does not save ZMM registers counts as one
 * without. */
#include "internal.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <cpuid.h>

/* Extended control register 0: which register states the operating system saves. Needs OSXSAVE. */
static uint64_t xcr0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

uint32_t bc_cpu_features(void) {
    enum { XMM_YMM = 0x06, OPMASK_ZMM = 0xe0 };
    uint32_t a, b, c, d, features = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 0;
    const uint32_t leaf1_c = c;
    if (leaf1_c & bit_POPCNT)
        features |= BC_CPU_POPCNT;
    if (leaf1_c & bit_SSE4_2)
        features |= BC_CPU_SSE42;
    if (!(leaf1_c & bit_OSXSAVE) || !(leaf1_c & bit_AVX))
        return features;
    const uint64_t saved = xcr0();
    if ((saved & XMM_YMM) != XMM_YMM)
        return features;
    if (leaf1_c & bit_FMA)
        features |= BC_CPU_FMA;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return features;
    if (b & bit_AVX2)
        features |= BC_CPU_AVX2;
    if ((saved & OPMASK_ZMM) != OPMASK_ZMM || !(b & bit_AVX512F))
        return features;
    features |= BC_CPU_AVX512F;
    if (b & bit_AVX512BW)
        features |= BC_CPU_AVX512BW;
    if (b & bit_AVX512VL)
        features |= BC_CPU_AVX512VL;
    if (c & bit_AVX512VPOPCNTDQ)
        features |= BC_CPU_AVX512VPOPCNTDQ;
    return features;
}

/* The highest level of a list of caches; Intel's and AMD's leaves are of one form. */
static size_t last_cache(uint32_t leaf) {
    uint32_t a, b, c, d;
    size_t bytes = 0, level = 0;
    for (uint32_t i = 0; i < 8 && __get_cpuid_count(leaf, i, &a, &b, &c, &d) && (a & 31); i++) {
        const size_t ways = (b >> 22) + 1, partitions = (b >> 12 & 1023) + 1, line = (b & 4095) + 1;
        if ((a >> 5 & 7) < level)
            continue;
        level = a >> 5 & 7;
        bytes = ways * partitions * line * ((size_t)c + 1);
    }
    return bytes;
}

size_t bc_cache_bytes(void) {
    enum { INTEL = 4, AMD = 0x8000001d };
    const size_t bytes = last_cache(INTEL);
    return bytes ? bytes : last_cache(AMD);
}

#elif defined(__aarch64__)

#if defined(__linux__)
#include <sys/auxv.h>
#endif

/* NEON is part of the base architecture; the kernel tells about the rest. Where it is not asked
 * (macOS), what the compiler takes for granted counts: every Apple CPU with 64-bit macOS has it. */
uint32_t bc_cpu_features(void) {
    uint32_t features = BC_CPU_NEON;
#if defined(__linux__)
    enum { HWCAP_DOTPROD = 1 << 20 }; /* HWCAP_ASIMDDP, which old headers lack */
    if (getauxval(AT_HWCAP) & HWCAP_DOTPROD)
        features |= BC_CPU_DOTPROD;
#elif defined(__ARM_FEATURE_DOTPROD)
    features |= BC_CPU_DOTPROD;
#endif
    return features;
}

size_t bc_cache_bytes(void) {
    return 0;
}

#else

uint32_t bc_cpu_features(void) {
    return 0;
}

size_t bc_cache_bytes(void) {
    return 0;
}

#endif
