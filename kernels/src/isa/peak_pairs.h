/* peak_pairs.h: the roofline of the binary product that looks two pixels up in one table
 * and adds both up as bytes (avx512bw_bgemm.c); after peak_x86.h, whose macros it uses. The
 * including file defines BC_AND(a, b), BITS_VECTORS and BITS_STEPS.
 *
 * 3 vpshufb, 2 vpaddb; vpaddb; vpsrlw, vpand, vpaddb for 12 bits of 2 pixels and a vector of
 * filters, BITS_VECTORS times side by side. */
static uint64_t bits_peak(uint64_t rounds, V x, V v) {
    const V nibble = BC_MM(set1_epi8)(15);
    V y[BITS_VECTORS][2];
    BC_UNROLL
    for (int i = 0; i < BITS_VECTORS; i++)
        y[i][0] = y[i][1] = v;
    for (uint64_t r = 0; r < rounds * BITS_STEPS; r++) {
        BC_UNROLL
        for (int i = 0; i < BITS_VECTORS; i++) {
            V sum = BC_MM(shuffle_epi8)(x, v);
            BC_UNROLL
            for (int j = 1; j < 3; j++) {
                BC_KEEP(x); /* or one vpshufb would do for all */
                sum = BC_MM(add_epi8)(sum, BC_MM(shuffle_epi8)(x, v));
                BC_KEEP(sum);
            }
            y[i][0] = BC_MM(add_epi8)(y[i][0], sum);
            BC_KEEP(y[i][0]);
            sum = BC_AND(BC_MM(srli_epi16)(sum, 4), nibble);
            y[i][1] = BC_MM(add_epi8)(y[i][1], sum);
            BC_KEEP(y[i][1]);
            BC_KEEP(x);
        }
    }
    V out[BITS_VECTORS][2]; /* a copy, or y would live in memory all along */
    BC_UNROLL
    for (int i = 0; i < BITS_VECTORS; i++) {
        out[i][0] = y[i][0];
        out[i][1] = y[i][1];
    }
    return digest(out, sizeof out);
}
