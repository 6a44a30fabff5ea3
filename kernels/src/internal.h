/* internal.h: the kernel table, CPU feature bits and helpers that every C file shares.
 *
 * A kernel is a function over `m` output pixels. What an input pixel is comes through an
 * *indirection*: a[p * taps + t] points to the input pixel under tap t of output pixel p, or to a
 * shared padding pixel where the tap lies outside. So no kernel knows about images, strides,
 * dilation, padding or batches, but for those that read planes, which have a section of their own.
 *
 * Contract of all kernels, unless said otherwise:
 *   - every size is >= 1; no kernel reads or writes a byte outside the ranges given here
 *     (operands may end at a page end)
 *   - weights `w` of bits and of floats are 64-byte aligned; all other operands have the natural
 *     alignment of their element type only
 *   - outputs do not overlap inputs; "in place" means that y is read and written
 *   - results are the bits of isa/scalar.c, for float too: the order of additions is part of the
 *     contract; "fma" is one rounding (fmaf), any other pair of operations is two (the whole
 *     library is built with -ffp-contract=off)
 *   - `m` is any number: the kernel tiles it itself. mr_* tell the caller how many pixels the best
 *     tile holds, so that it can cut the work of threads at multiples of it
 *   - "rows" are m rows of c channels, `ld` elements from one row to the next, ld >= c
 */
#ifndef BC_INTERNAL_H
#define BC_INTERNAL_H

#include "bincompress.h"
#include "bincompress_train.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "bincompress reads packed words in place and supports little-endian machines only"
#endif

/* CPU features, as far as kernels ask for them; a bit is set only if the operating system saves the
 * registers too. */
#define BC_CPU_POPCNT (1u << 0)
#define BC_CPU_AVX2 (1u << 1)
#define BC_CPU_FMA (1u << 2)
#define BC_CPU_AVX512F (1u << 3)
#define BC_CPU_AVX512BW (1u << 4)
#define BC_CPU_AVX512VL (1u << 5)
#define BC_CPU_AVX512VPOPCNTDQ (1u << 6)
#define BC_CPU_NEON (1u << 7)
#define BC_CPU_DOTPROD (1u << 8)
#define BC_CPU_SSE42 (1u << 9)

/* Raises the target of the functions between the two, so that no build flag does:
 * BC_TARGET_BEGIN("avx2,fma") */
#define BC_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define BC_TARGET_BEGIN(features)                                                                  \
    BC_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define BC_TARGET_END BC_PRAGMA(clang attribute pop)
#else
#define BC_TARGET_BEGIN(features) BC_PRAGMA(GCC push_options) BC_PRAGMA(GCC target(features))
#define BC_TARGET_END BC_PRAGMA(GCC pop_options)
#endif

#define BC_PANEL_BINARY 8  /* filters per panel of bgemm */
#define BC_PANEL_FLOAT 16  /* filters per panel of fgemm, igemm, tgemm, qgemm */
#define BC_LINE 64         /* bytes of a cache line */
#define BC_TABLE_OCTET 128 /* most bytes of the table of eight channels */

/* One link of an epilogue. What it does to y, the float of pixel p and channel i: */
typedef enum bc_row_op {
    /* sources; the first step is one, and only the first */
    BC_ROW_LOAD, /* x[p * ld + i], floats */
    BC_ROW_I32,  /* (float)x[p * ld + i], int32; exact */
    BC_ROW_POP,  /* (float)(base[p][i] - 2 * x[p * ld + i]), int32; exact */
    BC_ROW_HALF, /* (float)(base[p][i] - x[p * ld + i]), int32; exact */
    /* every operation is rounded on its own */
    BC_ROW_AFFINE,   /* y * scale[i], + bias[i] */
    BC_ROW_RELU,     /* y > 0 ? y : +0 */
    BC_ROW_HARDTANH, /* t = y > -1 ? y : -1; t < 1 ? t : 1 */
    BC_ROW_PRELU,    /* y >= 0 ? y : y * scale[i] */
    BC_ROW_ADD,      /* y + x[p * ld + i], floats */
    BC_ROW_MUL_MAP,  /* y * x[p], floats */
    /* sinks; y goes on as it is */
    BC_ROW_STORE, /* to[p * ld + i] = y, floats */
    BC_ROW_SIGN,  /* bit i of the ceil(c / 8) bytes at to + p * ld = y < 0 (so -0.0 and NaN give 0),
                     unused bits of the last byte 0 */
} bc_row_op;

typedef struct bc_row_step {
    bc_row_op op;
    const void *x;
    const int32_t *const *base; /* a pointer per pixel */
    const float *scale, *bias;  /* c each */
    void *to;
    size_t ld; /* from one row of x or `to` to the next */
} bc_row_step;

/* Memory that will be read later, for a kernel to bring nearer while it computes. A hint. */
typedef struct bc_ahead {
    const char *at;
    size_t bytes;
} bc_ahead;

enum { BC_MOST_PACKED_TAPS = 16, BC_MOST_PACKED_WORDS = 2 };

/* An image as planes (isa/planes.h): its rows, `line` bytes apart. */
enum { BC_PLANE_WORDS = 8 };
typedef struct bc_plane_image {
    size_t width, line;       /* pixels of a row; with padding */
    size_t words;             /* of a pixel, at most BC_PLANE_WORDS */
    size_t steps;             /* of 4 bits: planes; behind them lies one of how many are odd */
    size_t plane_bytes;       /* from plane to plane */
    const uint64_t *pad;      /* a pixel of padding .. */
    const uint8_t *pad_bytes; /* .. and its bytes in all steps + 1 planes */
} bc_plane_image;

/* Lanes of a product with planes: place `x` < width of a line, the first output, and those behind
 * it; the first `width` places of each line are outputs.
 * Filters are in panels of 8, those that fill up the last one too. A limit is what
 *     floor((sum of popcount + filter's odd - odd % 2) / 2)  must reach at least, where odd are the
 * pixel's groups of 4 bits that have an odd count: of filter f and class 2 c + odd % 2, c < 8, the
 * number limit[f][0][class] + 256 limit[f][1][class] <= 32767; up to BC_PLANE_BYTE steps, where
 * 2 steps + steps / 2 + 1, which no sum reaches, is a byte,
 * limit[f][0][class] ^ 128. */
enum { BC_PLANE_BYTE = 101, BC_PLANE_STEPS = 8191 }; /* 4 steps fit 16 bits, signed */
typedef uint8_t bc_plane_limit[2][16];
typedef struct bc_plane_call {
    size_t lanes, x, width, line;
    const uint8_t *planes, *odd; /* lane 0's byte in the first plane, and in that of odd counts */
    size_t taps, steps;          /* steps of all taps, <= BC_PLANE_STEPS */
    const uint32_t *tap_offset, *offset; /* [taps] into odd, [steps] into planes */
    size_t panels;
    const uint8_t (*tables)[16]; /* [pair of filters][steps] */
    const uint16_t *filter_odd;  /* [filter]: groups of 4 bits that have an odd count */
    /* of plane_tau: limit[0] is of vectors that end before lane `turn`, limit[1] of the others */
    const uint8_t *classes; /* of lanes: 2 c */
    const bc_plane_limit *limit[2];
    size_t turn;
    uint8_t *out;
    size_t out_stride, out_bytes; /* from pixel to pixel; written, >= panels: those past them 0 */
    /* of plane_pop */
    int32_t *pop;
    size_t ld;
} bc_plane_call;

typedef struct bc_kernels {
    const char *name;
    uint32_t cpu_needs; /* BC_CPU_* bits, all needed */
    uint32_t mr_binary; /* pixels in the best tile of bgemm, bgemm_tau */
    uint32_t mr_float;  /* ... of fgemm, igemm */

    /* ---- products: taps pointers per pixel, to cw words or cin elements each ---- */

    /* pop[p * ld + f] = sum over t, i of
     *     popcount(a[p * taps + t][skip + i] ^ w[f / 8][t * cw + i][f % 8]);  0 <= pop < 2^24.
     * skip: lets one list of pointers serve what lies the same way further on in memory.
     * w: [panels][taps * cw][8] words.
     * pop: m rows of panels * 8, ld >= panels * 8; all panels * 8 columns are written. */
    void (*bgemm)(size_t m, size_t panels, size_t taps, size_t cw, const uint64_t *const *a,
                  size_t skip, const uint64_t *w, int32_t *pop, size_t ld);

    /* The same product, then one bit per filter: bit f of pixel p = pop > limit[p][f].
     * limit: m pointers to panels * 8 values each (INT32_MAX where the filter is padding); rows
     * that are not the same do not overlap, as kernels know a row again by its address.
     * out: pixel p's bits are the `panels` bytes at out + p * out_stride, bit f % 8 of byte f / 8.
     * No alignment. */
    void (*bgemm_tau)(size_t m, size_t panels, size_t taps, size_t cw, const uint64_t *const *a,
                      size_t skip, const uint64_t *w, const int32_t *const *limit, uint8_t *out,
                      size_t out_stride);

    /* The same product of c filters, then its epilogue: what bgemm to pop and steps(m, c, list,
     * count) do, where list[0] is BC_ROW_POP of pop and ld, or BC_ROW_HALF of them with
     * BC_ROW_AFFINE behind it. For w of ceil(c / 8) panels. pop: memory for m rows of panels * 8;
     * what it holds afterwards is undefined. */
    void (*bgemm_steps)(size_t m, size_t c, size_t taps, size_t cw, const uint64_t *const *a,
                        size_t skip, const uint64_t *w, int32_t *pop, size_t ld,
                        const bc_row_step *list, size_t count);

    /* Optional: weights of binary products in a form that many pixels are faster with, made once.
     * spread_bytes: of a word of K and spread_panels panels, which have one word more; 0: there is
     * none, and the functions are NULL. */
    size_t spread_panels, spread_bytes;

    /* Whether it is read at all, by products of many pixels. */
    bool (*spread_serves)(size_t panels, size_t taps, size_t cw);

    /* to: 64-byte aligned, ceil(panels / spread_panels) * (k_words + 1) * spread_bytes. */
    void (*spread)(size_t panels, size_t k_words, const uint64_t *w, void *to);

    /* bgemm and bgemm_tau, of weights that both forms are given of. */
    void (*bgemm_spread)(size_t m, size_t panels, size_t taps, size_t cw, const uint64_t *const *a,
                         size_t skip, const uint64_t *w, const void *spread, int32_t *pop,
                         size_t ld);
    void (*bgemm_tau_spread)(size_t m, size_t panels, size_t taps, size_t cw,
                             const uint64_t *const *a, size_t skip, const uint64_t *w,
                             const void *spread, const int32_t *const *limit, uint8_t *out,
                             size_t out_stride);

    /* Optional: the binary convolution of images as planes (isa/planes.h). plane_lanes: bytes of a
     * vector of theirs; less than one is read and computed past the last lane. 0: there is none,
     * and the functions are NULL. */
    size_t plane_lanes;

    /* Rows of an image to its planes; `to`: the first pixel's byte in the first plane. Padding
     * behind each row is written too, and nothing else. from: rows of image->width pixels. */
    void (*plane_rows)(const bc_plane_image *image, size_t rows, const uint64_t *from, uint8_t *to);

    /* The sums as bgemm's, or the bits as bgemm_tau's, of lanes that are outputs. */
    void (*plane_pop)(const bc_plane_call *call);
    void (*plane_tau)(const bc_plane_call *call);

    /* acc[p * ld + f]: from +0, over k = t * cin + i ascending,
     *     acc = fma(a[p * taps + t][i], w[f / 16][k][f % 16], acc).
     * w: [ceil(n / 16)][taps * cin][16], for n filters.
     * acc: m rows, ld >= n rounded up to 8; so many columns are written, and no more.
     * ahead: NULL, or what to fetch meanwhile. */
    void (*fgemm)(size_t m, size_t n, size_t taps, size_t cin, const float *const *a,
                  const float *w, float *acc, size_t ld, const bc_ahead *ahead);

    /* acc[p * ld + f] = sum of +-a[p * taps + t][i] over t, i; every |partial sum| < 2^24. Exact,
     * so any order. Needs no tables. w: [panels][taps * cin] u16, bit f % 16 set = -1. acc: m rows
     * of panels * 16, ld >= panels * 16; all columns are written. */
    void (*igemm)(size_t m, size_t panels, size_t taps, size_t cin, const int16_t *const *a,
                  const uint16_t *w, int32_t *acc, size_t ld);

    /* Depthwise, y[p * ld + i]: from +0, over t ascending, y = fma(a[p * taps + t][i], w[t * c +
     * i], y). Pointers to c values each. */
    void (*fdepthwise)(size_t m, size_t c, size_t taps, const float *const *a, const float *w,
                       float *y, size_t ld);

    /* ---- products of 1-bit weights with tables of floats or 8-bit integers ----
     *
     * The channels under a tap are taken in groups of 4 and octets of 8, with zeros after the last.
     * What the 16 sign patterns of a group add up to is tabulated once per input pixel; every
     * filter then looks up its own sum by its four weight bits. The table of an octet is the
     * instruction set's own business, but for its size, and that a table of zeros is all zero bytes
     * (or -0). w: [panels][taps * octets][16] bytes: bit i of byte f % 16 = channel i of the octet,
     * set = -1. Tables are 64-byte aligned. acc: m rows of panels * 16, ld >= panels * 16; all
     * columns are written. */
    size_t ttable_octet, qtable_octet; /* bytes, multiples of 8, at most BC_TABLE_OCTET */
    uint32_t mr_table;                 /* pixels in the best tile of tgemm, qgemm */

    /* Tables of `rows` rows of c floats without gaps, each ceil(c / 8) octets. */
    void (*ttable)(size_t rows, size_t c, const float *x, void *table);

    /* acc: from +0, over taps and groups (x0, x1, x2, x3) ascending,
     *     acc = acc + ((+-x0 + +-x1) + (+-x2 + +-x3)), every addition rounded. */
    void (*tgemm)(size_t m, size_t panels, size_t taps, size_t octets, const void *const *a,
                  const uint8_t *w, float *acc, size_t ld);

    /* from +0, over all x: y = |x| > y ? |x| : y. n may be 0. */
    float (*abs_max)(size_t n, const float *x);

    /* Tables of the integers q: t = x * by; t = t > -127 ? t : -127; t = t < 127 ? t : 127; q = t
     * rounded, half to even. Rows as for ttable, each of an even number of octets. */
    void (*qtable)(size_t rows, size_t c, const float *x, float by, void *table);

    /* acc = sum of +-q; every |acc| < 2^24. Exact, so any order. octets: even. */
    void (*qgemm)(size_t m, size_t panels, size_t taps, size_t octets, const void *const *a,
                  const uint8_t *w, int32_t *acc, size_t ld);

    /* ---- epilogues ---- */

    /* Sends m rows of c channels through `count` steps. A sink may write what the source reads (the
     * same rows), and nothing else that is read. */
    void (*steps)(size_t m, size_t c, const bc_row_step *list, size_t count);

    /* bit i of pixel p = acc[p * ld + i] < tau[i]; ceil(c / 8) bytes at out + p * out_stride,
     * unused bits 0. */
    void (*i32_to_bits)(size_t m, size_t c, const int32_t *acc, size_t ld, const int32_t *tau,
                        uint8_t *out, size_t out_stride);

    /* ---- pooling ---- */

    /* y = a[..][tap 0], then for t = 1.. ascending: y = a[t] > y ? a[t] : y. m rows of c. */
    void (*max_pool)(size_t m, size_t c, size_t taps, const float *const *a, float *y, size_t ld);

    /* y = (0 + a[tap 0] + a[tap 1] + ...) / divisor[p], additions in that order; m rows of c;
     * divisor: m floats. */
    void (*avg_pool)(size_t m, size_t c, size_t taps, const float *const *a, const float *divisor,
                     float *y, size_t ld);

    /* y word i = (AND over taps & ~or_mask[i]) | (OR over taps & or_mask[i]); m rows of cw words,
     * no gap between rows. */
    void (*bit_pool)(size_t m, size_t cw, size_t taps, const uint64_t *const *a,
                     const uint64_t *or_mask, uint64_t *y);

    /* y[p] = mean over channels of |x[p * ld + i]|: lane j of 16 sums the |x| of i = j, j + 16, ...
     * in order from +0; then lane j += lane j + 8 (j < 8), lane j + 4 (j < 4), + 2, + 1; then lane
     * 0 * inv, where inv = 1.0f / (float)c. */
    void (*abs_mean)(size_t m, size_t c, const float *x, size_t ld, float inv, float *y);

    /* Taps of a row side by side, for n columns of bc_words(taps * channels) words: bits
     * t * channels + i of column x are bits i < channels of from[x * stride + t * step], where all
     * others are 0; the rest of the column is 0. channels < 64, taps <= BC_MOST_PACKED_TAPS, words
     * of a column <= BC_MOST_PACKED_WORDS. */
    void (*pack_taps)(size_t n, size_t taps, size_t channels, size_t stride, size_t step,
                      const uint64_t *from, uint64_t *to);

    /* ---- training ---- */

    /* Of eight pixels of 16 channels, a byte each of the lower and of the higher eight, to weights
     * whose sum runs over pixels: bit j of to[16 i + f] = bit f of low[8 i + j], and of to[16 i + 8
     * + f] of high[8 i + j], for f < 8. No alignment. */
    void (*turn_bits)(size_t octets, const uint8_t *low, const uint8_t *high, uint8_t *to);

    /* table[g][b][j], j < 16, of groups of four rows x of 16 floats, `ld` floats apart:
     * (+-x0 + +-x1) + (+-x2 + +-x3) with a minus where bit i of b < 16 is set. Tables are 64-byte
     * aligned. */
    void (*ltable)(size_t groups, const float *x, size_t ld, float *table);

    /* acc[p * ld + j] = acc[p * ld + j] + table[g][b][j] for all groups g, ascending, every
     * addition rounded; j < 16. b: the lower four bits of a byte for even g, then its higher; the
     * bytes of p: for `taps` pointers, from bits[p * stride] on, each with `octets` bytes, the
     * first `skip` behind the pointer, `step` from one to the next. */
    void (*lgemm)(size_t m, size_t taps, size_t octets, const uint8_t *const *bits, size_t stride,
                  size_t skip, size_t step, const float *table, float *acc, size_t ld);

    /* Per channel over m rows without gaps, from +0, in order: sums[i] = sum of u, sums[c + i] =
     * sum of u * v, where v = x - center[i] and u = dy, or v where dy is NULL. */
    void (*center_sums)(size_t m, size_t c, const float *x, const float *dy, const float *center,
                        float *sums);

    /* dx = t >= 0 ? dx : +0 with t = 1 - |z| (BC_STE), dx * (t > 0 ? t : 0) with t = 2 - 2 |z|
     * (BC_APPROXSIGN), or dx (BC_IDENTITY), where z = x * input[i] + input[c + i]; sums: as
     * center_sums(m, c, x, dx, center). c: a multiple of 16; |z| at most 2^126. */
    void (*through_sign)(size_t m, size_t c, bc_estimator estimator, const float *x,
                         const float *input, const float *center, float *dx, float *sums);

    /* ---- the roofline ---- */

    /* Runs `rounds` rounds of the innermost loop of a product on registers only (no loads), so that
     * timing it gives the peak of this instruction set. kind: bc_peak. Returns the
     * multiply-accumulates done; 0 if there is no such loop. *sink gets a value that depends on all
     * of them. One round is about 1000 instructions. */
    uint64_t (*peak)(bc_peak kind, uint64_t rounds, uint64_t *sink);
} bc_kernels;

#define X(isa) extern const bc_kernels bc_kernels_##isa;
#include "isa.def"
#undef X

/* cpu.c: BC_CPU_* bits of this machine. */
uint32_t bc_cpu_features(void);

/* cpu.c: size of the last cache, which cores may share; 0 where it is not known. */
size_t bc_cache_bytes(void);

/* dispatch.c: the named table; with name NULL or "" that of the environment variable BC_ISA, and
 * without one the fastest this CPU has. NULL if it is unknown, or not available here. Holds no
 * state. */
const bc_kernels *bc_dispatch(const char *name);

/* status.c: fills *error (which may be NULL) and returns `code`; offset: byte in the file, or -1.
 * printf-style, truncating. */
#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
bc_status bc_fail(bc_error *error, bc_status code, int64_t offset, const char *format, ...);

static inline size_t bc_round_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}
static inline size_t bc_words(size_t bits) {
    return (bits + 63) / 64;
}
static inline size_t bc_min(size_t a, size_t b) {
    return a < b ? a : b;
}
static inline size_t bc_max(size_t a, size_t b) {
    return a > b ? a : b;
}

static inline uint32_t bc_popcount64(uint64_t x) {
    x = x - ((x >> 1) & 0x5555555555555555u);
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (uint32_t)((x * 0x0101010101010101u) >> 56);
}

#endif
