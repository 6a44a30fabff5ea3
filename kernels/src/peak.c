/* peak.c: the roofline: how fast this machine runs the inner loop of a product when nothing has to
 * be loaded. */
#if !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200809L /* clock_gettime under -std=c11 */
#endif
#include "internal.h"

#include <time.h>

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The best of many short runs: a peak is what nothing disturbed. The first run also finds how many
 * rounds make a run long enough for the clock, and lets the CPU reach its frequency for wide
 * registers. */
bc_status bc_measure_peak(const char *isa, bc_peak kind, double *gmacs) {
    enum { RUNS = 40 };
    const double run_s = 250e-6;
    if (!gmacs)
        return BC_ERR_ARGUMENT;
    *gmacs = 0;
    if ((unsigned)kind > BC_PEAK_COUNT)
        return BC_ERR_ARGUMENT;
    const bc_kernels *kernels = bc_dispatch(isa);
    if (!kernels)
        return BC_ERR_ISA;

    uint64_t sink = 0x123456789abcdef, rounds = 16;
    for (;; rounds *= 2) {
        const double start = seconds();
        if (kernels->peak(kind, rounds, &sink) == 0)
            return BC_ERR_ARGUMENT;
        if (seconds() - start >= run_s)
            break;
    }
    double best = 0;
    for (int run = 0; run < RUNS; run++) {
        const double start = seconds();
        const uint64_t macs = kernels->peak(kind, rounds, &sink);
        const double took = seconds() - start;
        if (took > 0 && (double)macs / took > best)
            best = (double)macs / took;
    }
    *gmacs = best * 1e-9;
    return BC_OK;
}
