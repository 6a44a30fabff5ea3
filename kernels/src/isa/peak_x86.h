/* peak_x86.h: the roofline of an x86 instruction set: accumulators beside each other that do what
 * one step of a tile's inner loop does, without its loads.
 *
 * The including file defines before:
 *   V, VF         its vectors of integers and of floats
 *   BC_MM(name)   the intrinsic of that width, as in BC_MM(add_epi32)
 *   BC_KEEP       BC_KEEP_X or BC_KEEP_V
 *   ACCUMULATORS  that a tile has
 *   BITS_MACS     multiply-accumulates of a round of bits_peak
 *   COUNT_MACS    the same of count_peak
 *
 * and after, as their steps are its own: bits_peak (the binary product), count_peak (the same by
 * counting bits), signs_peak (floats by weights of one bit; a step is 4 values of k). */

enum { STEPS = 480 / ACCUMULATORS, LANES = sizeof(VF) / sizeof(float) };

static uint64_t digest(const void *vectors, size_t bytes) {
    uint64_t word, all = 0;
    for (size_t i = 0; i < bytes; i += sizeof word) {
        memcpy(&word, (const char *)vectors + i, sizeof word);
        all ^= word;
    }
    return all;
}

/* Defines name(rounds, x, v): y = step(x, v, y) for all accumulators, rounds * STEPS times. */
#define BC_PEAK(name, type, step)                                                                  \
    static uint64_t name(uint64_t rounds, type x, type v) {                                        \
        type y[ACCUMULATORS];                                                                      \
        BC_UNROLL                                                                                  \
        for (int i = 0; i < ACCUMULATORS; i++)                                                     \
            y[i] = v;                                                                              \
        for (uint64_t r = 0; r < rounds * STEPS; r++) {                                            \
            BC_UNROLL                                                                              \
            for (int i = 0; i < ACCUMULATORS; i++) {                                               \
                BC_KEEP(x); /* or the step would be done once for all */                           \
                y[i] = step(x, v, y[i]);                                                           \
                BC_KEEP(y[i]);                                                                     \
            }                                                                                      \
        }                                                                                          \
        type out[ACCUMULATORS]; /* a copy, or y would live in memory all along */                  \
        BC_UNROLL                                                                                  \
        for (int i = 0; i < ACCUMULATORS; i++)                                                     \
            out[i] = y[i];                                                                         \
        return digest(out, sizeof out);                                                            \
    }

/* vpmaddwd, vpaddd: two values of k. */
static BC_INLINE V madd_step(V x, V v, V y) {
    return BC_MM(add_epi32)(y, BC_MM(madd_epi16)(x, v));
}

/* vpshufb, vpaddb: half of the sums over four values of k. */
static BC_INLINE V bytes_step(V x, V v, V y) {
    return BC_MM(add_epi8)(y, BC_MM(shuffle_epi8)(x, v));
}

static BC_INLINE VF fma_step(VF x, VF v, VF y) {
    return BC_MM(fmadd_ps)(x, v, y);
}

BC_PEAK(madd_peak, V, madd_step)
BC_PEAK(bytes_peak, V, bytes_step)
BC_PEAK(fma_peak, VF, fma_step)
static uint64_t bits_peak(uint64_t rounds, V x, V v);
static uint64_t count_peak(uint64_t rounds, V x, V v);
static uint64_t signs_peak(uint64_t rounds, VF x, VF v);

static uint64_t peak(bc_peak kind, uint64_t rounds, uint64_t *sink) {
    const uint64_t steps = rounds * STEPS * ACCUMULATORS;
    const V v = BC_MM(set1_epi32)((int)(*sink & 0x0f0f0f0f)), x = BC_MM(srli_epi16)(v, 1);
    const VF vf = BC_MM(set1_ps)(0.25f), xf = BC_MM(set1_ps)(0.5f);
    switch (kind) {
    case BC_PEAK_BINARY:
        *sink = bits_peak(rounds, x, v);
        return rounds * BITS_MACS;
    case BC_PEAK_COUNT:
        *sink = count_peak(rounds, x, v);
        return rounds * COUNT_MACS;
    case BC_PEAK_U8:
        *sink = madd_peak(rounds, x, v);
        return steps * LANES * 2;
    case BC_PEAK_I8:
        *sink = bytes_peak(rounds, x, v);
        return steps * sizeof(V) * 4 / 2;
    case BC_PEAK_F32:
        *sink = fma_peak(rounds, xf, vf);
        return steps * LANES;
    case BC_PEAK_WEIGHT:
        *sink = signs_peak(rounds, xf, vf);
        return steps * LANES * 4;
    }
    return 0;
}
