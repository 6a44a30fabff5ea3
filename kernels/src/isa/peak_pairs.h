/* peak_pairs.h: rooflines of the binary product where vectors cannot count bits. After peak_x86.h,
 * whose macros it uses; the including file defines BITS_VECTORS, which are side by side, and
 * BITS_ROUNDS, the times that they are done. */

/* By table look-up: what pairs_tile.h does to seven steps of 4 bits of two pixels, 7 vpshufb, 6
 * vpaddb; vpaddb; vpsrlw, vpaddb. */
static uint64_t bits_peak(uint64_t rounds, V x, V v) {
    V all[BITS_VECTORS], second[BITS_VECTORS];
    BC_UNROLL
    for (int j = 0; j < BITS_VECTORS; j++)
        all[j] = second[j] = v;
    for (uint64_t r = 0; r < rounds * BITS_ROUNDS; r++) {
        V sum[BITS_VECTORS];
        BC_UNROLL
        for (int step = 0; step < 7; step++) {
            BC_UNROLL
            for (int j = 0; j < BITS_VECTORS; j++) {
                BC_KEEP(x); /* or one vpshufb would do for all */
                const V y = BC_MM(shuffle_epi8)(x, v);
                sum[j] = step ? BC_MM(add_epi8)(sum[j], y) : y;
                BC_KEEP(sum[j]);
            }
        }
        BC_UNROLL
        for (int j = 0; j < BITS_VECTORS; j++) {
            all[j] = BC_MM(add_epi8)(all[j], sum[j]);
            BC_KEEP(all[j]);
            second[j] = BC_MM(add_epi8)(second[j], BC_MM(srli_epi16)(sum[j], 4));
            BC_KEEP(second[j]);
        }
    }
    V out[2 * BITS_VECTORS]; /* a copy, or they would live in memory all along */
    BC_UNROLL
    for (int j = 0; j < BITS_VECTORS; j++) {
        out[j] = all[j];
        out[BITS_VECTORS + j] = second[j];
    }
    return digest(out, sizeof out);
}

/* By counting the bits of xor, as a shuffle looks up those of four: vpxor, vpand, vpsrlw, vpand,
 * two vpshufb, two vpaddb. That bytes must be widened now and then is left out. */
static uint64_t count_peak(uint64_t rounds, V x, V v) {
    const V nibble = BC_MM(set1_epi8)(15);
    V sum[BITS_VECTORS];
    BC_UNROLL
    for (int j = 0; j < BITS_VECTORS; j++)
        sum[j] = v;
    for (uint64_t r = 0; r < rounds * BITS_ROUNDS; r++) {
        BC_UNROLL
        for (int step = 0; step < 2; step++) {
            BC_UNROLL
            for (int j = 0; j < BITS_VECTORS; j++) {
                BC_KEEP(x); /* or the bits of one xor would do for all */
                const V bits = BC_SI(xor)(x, v),
                        high = BC_SI (and)(BC_MM(srli_epi16)(bits, 4), nibble);
                sum[j] = BC_MM(add_epi8)(sum[j], BC_MM(shuffle_epi8)(v, BC_SI (and)(bits, nibble)));
                sum[j] = BC_MM(add_epi8)(sum[j], BC_MM(shuffle_epi8)(v, high));
                BC_KEEP(sum[j]);
            }
        }
    }
    V out[BITS_VECTORS];
    BC_UNROLL
    for (int j = 0; j < BITS_VECTORS; j++)
        out[j] = sum[j];
    return digest(out, sizeof out);
}
