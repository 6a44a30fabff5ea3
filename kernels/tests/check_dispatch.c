/* check_dispatch.c: names choose kernels, BC_ISA too, an unknown one is an error; every table has a
 * roofline. */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include "../src/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("FAIL: line %d: %s\n", __LINE__, #condition);                                   \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)

static const char *name_of(const bc_kernels *row) {
    return row ? row->name : "none";
}

int main(void) {
    unsetenv("BC_ISA");
    const size_t count = bc_isa_count();
    const char *best = NULL;
    EXPECT(count >= 1);
    EXPECT(strcmp(bc_isa_name(0), "scalar") == 0);
    EXPECT(bc_isa_available(0));
    EXPECT(bc_isa_name(count) == NULL);
    EXPECT(!bc_isa_available(count));
    for (size_t i = 0; i < count; i++) {
        const char *name = bc_isa_name(i);
        double gmacs = -1;
        if (!bc_isa_available(i)) {
            printf("SKIP: %s: this CPU or operating system lacks it\n", name);
            EXPECT(bc_dispatch(name) == NULL);
            EXPECT(bc_measure_peak(name, BC_PEAK_BINARY, &gmacs) == BC_ERR_ISA);
            continue;
        }
        best = name;
        EXPECT(strcmp(name_of(bc_dispatch(name)), name) == 0);
        setenv("BC_ISA", name, 1);
        EXPECT(strcmp(name_of(bc_dispatch(NULL)), name) == 0);
        EXPECT(strcmp(name_of(bc_dispatch("scalar")), "scalar") == 0); /* a name beats BC_ISA */
        unsetenv("BC_ISA");
        for (int kind = BC_PEAK_BINARY; kind <= BC_PEAK_COUNT; kind++) {
            EXPECT(bc_measure_peak(name, (bc_peak)kind, &gmacs) == BC_OK);
            EXPECT(gmacs > 0);
            printf("%s peak %d: %.1f G MAC/s\n", name, kind, gmacs);
        }
    }
    EXPECT(best && strcmp(name_of(bc_dispatch(NULL)), best) == 0);
    EXPECT(best && strcmp(name_of(bc_dispatch("")), best) == 0);
    EXPECT(bc_dispatch("avx9000") == NULL);
    setenv("BC_ISA", "avx9000", 1);
    EXPECT(bc_dispatch(NULL) == NULL);
    setenv("BC_ISA", "", 1);
    EXPECT(best && strcmp(name_of(bc_dispatch(NULL)), best) == 0);
    double gmacs;
    EXPECT(bc_measure_peak(NULL, (bc_peak)99, &gmacs) == BC_ERR_ARGUMENT);
    EXPECT(bc_measure_peak(NULL, BC_PEAK_F32, NULL) == BC_ERR_ARGUMENT);
    printf("%s: %d failures\n", failures ? "FAIL" : "ok", failures);
    return failures != 0;
}
