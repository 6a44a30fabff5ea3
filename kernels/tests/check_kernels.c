/* check_kernels.c: every row of isa.def equals scalar bit for bit, reads and writes nothing beside
 * its operands.
 *
 * check_kernels [isa...]: with names, only those are checked, and one that this CPU lacks is a
 * failure; without, all that the CPU has, and a printed reason for each that is skipped.
 * BC_CHECK_SEED replays a printed seed. -DBC_SIMDE: see emulated.cmake. */
#define _DEFAULT_SOURCE /* mmap */
#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char *const fill_names[FILLS] = {"zero", "one", "single", "period-251", "random"};

/* Buffers are kept for the next case; each has a guard page behind it. */
static struct region {
    uint8_t *at;
    size_t bytes;
    int used;
} regions[64];
static size_t regions_count;

static struct region *new_region(size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = bc_round_up(bytes, page);
    uint8_t *at =
        mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (regions_count == sizeof regions / sizeof regions[0] || at == MAP_FAILED ||
        mprotect(at + whole, page, PROT_NONE) != 0) {
        perror("check_kernels: guarded buffer");
        exit(2);
    }
    regions[regions_count] = (struct region){at, whole, 0};
    return &regions[regions_count++];
}

void *guarded(size_t bytes, size_t align) {
    const size_t need = CANARY + bytes + align;
    struct region *best = NULL;
    for (struct region *r = regions; r < regions + regions_count; r++)
        if (!r->used && r->bytes >= need && (!best || r->bytes < best->bytes))
            best = r;
    if (!best)
        best = new_region(need);
    best->used = 1;
    memset(best->at + best->bytes - need, 0xa5, need);
    return best->at + (best->bytes - bytes) / align * align;
}

void release_all(void) {
    for (size_t i = 0; i < regions_count; i++)
        regions[i].used = 0;
}

/* splitmix64: any seed is a good one. */
static uint64_t state;

void seed_random(uint64_t seed) {
    state = seed;
}

uint64_t random64(void) {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void fill_bytes(uint8_t *to, size_t n, fill how) {
    for (size_t i = 0; i < n; i++)
        to[i] = how == FILL_ONE          ? 0xff
                : how == FILL_PERIOD_251 ? (uint8_t)(i % 251)
                : how == FILL_RANDOM     ? (uint8_t)random64()
                                         : 0;
    if (how == FILL_SINGLE)
        to[random64() % n] = (uint8_t)(1u << random64() % 8);
}

void fill_words(uint64_t *to, size_t n, fill how) {
    fill_bytes((uint8_t *)to, n * sizeof *to, how);
}
void fill_u16(uint16_t *to, size_t n, fill how) {
    fill_bytes((uint8_t *)to, n * sizeof *to, how);
}

/* The i-th of n values as a fill has it, in -limit..limit; `single` is its place under FILL_SINGLE.
 */
static int32_t value(size_t i, size_t single, fill how, int32_t limit) {
    switch (how) {
    case FILL_ONE:
        return limit;
    case FILL_SINGLE:
        return i == single ? -limit : 0;
    case FILL_PERIOD_251:
        return ((int32_t)(i % 251) - 125) * (limit / 125);
    case FILL_RANDOM:
        return (int32_t)(random64() % (2 * (uint64_t)limit + 1)) - limit;
    default:
        return 0;
    }
}

void fill_i16(int16_t *to, size_t n, fill how) {
    const size_t single = random64() % n;
    for (size_t i = 0; i < n; i++)
        to[i] = (int16_t)value(i, single, how, 510);
}

void fill_i32(int32_t *to, size_t n, fill how, int32_t limit) {
    const size_t single = random64() % n;
    for (size_t i = 0; i < n; i++)
        to[i] = value(i, single, how, limit);
}

void fill_f32(float *to, size_t n, fill how) {
    const size_t single = random64() % n;
    for (size_t i = 0; i < n; i++) {
        to[i] = (float)value(i, single, how, 1 << 20) * 0x1p-18f;
        if (how == FILL_RANDOM) {
            const uint64_t r = random64();
            if (r % 61 == 0)
                to[i] = -0.0f;
            else if (r % 61 == 1)
                to[i] *= 0x1p-130f; /* subnormal */
            else if (r % 4 == 0)
                to[i] *= (float)(1 << (r >> 32) % 20);
        }
    }
}

const void **indirection(size_t m, size_t taps, const void *base, size_t rows, size_t row_bytes) {
    const void **to = guarded(m * taps * sizeof *to, sizeof *to);
    for (size_t i = 0; i < m * taps; i++)
        to[i] =
            (const uint8_t *)base + (i + 1 == m * taps ? rows - 1 : random64() % rows) * row_bytes;
    return to;
}

int differs(const void *want, const void *got, size_t bytes, const bc_kernels *row,
            const char *what, ...) {
    const uint8_t *a = (const uint8_t *)want - CANARY, *b = (const uint8_t *)got - CANARY;
    if (memcmp(a, b, CANARY + bytes) == 0)
        return 0;
    size_t at = 0;
    while (a[at] == b[at])
        at++;
    va_list list;
    va_start(list, what);
    printf("%s: ", row->name);
    vprintf(what, list);
    printf(": first difference in byte %td of %zu\n", (ptrdiff_t)at - CANARY, bytes);
    va_end(list);
    return 1;
}

const bc_kernels *tables[8];
size_t tables_count;

static const bc_kernels *const all[] = {
#define X(isa) &bc_kernels_##isa,
#include "../src/isa.def"
#undef X
};

int main(int argc, char **argv) {
    const char *seed_text = getenv("BC_CHECK_SEED");
    const uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : 20240229;
    uint32_t cpu = bc_cpu_features();
    int failures = 0, named = 0;
#ifdef BC_SIMDE /* AVX-512 is emulated on top of these */
    if (!(cpu & BC_CPU_AVX2) || !(cpu & BC_CPU_FMA)) {
        printf("SKIP: the emulation of AVX-512 needs AVX2 and FMA\n");
        return 77;
    }
    cpu = UINT32_MAX;
#endif
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        int wanted = argc < 2;
        for (int j = 1; j < argc; j++)
            wanted |= strcmp(argv[j], all[i]->name) == 0;
        named += wanted;
        if (!wanted || all[i] == &bc_kernels_scalar)
            continue;
        if ((cpu & all[i]->cpu_needs) == all[i]->cpu_needs) {
            tables[tables_count++] = all[i];
        } else {
            printf("%s: %s: this CPU or operating system lacks it\n", argc < 2 ? "SKIP" : "FAIL",
                   all[i]->name);
            failures += argc >= 2;
        }
    }
    if (argc >= 2 && named != argc - 1) {
        printf("FAIL: an instruction set named here is not in isa.def\n");
        failures++;
    }
    seed_random(seed);
    failures += check_products();
    failures += check_images();
    failures += check_planes();
    seed_random(seed);
    failures += check_weights();
    seed_random(seed);
    failures += check_rows();
    for (size_t i = 0; i < tables_count; i++)
        printf("checked %s against scalar\n", tables[i]->name);
    printf("%s: %d failures, seed %llu\n", failures ? "FAIL" : "ok", failures,
           (unsigned long long)seed);
    return failures != 0;
}
