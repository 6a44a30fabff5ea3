/* bincompress.h: run bit-packed neural networks (.gguf files made by bincompress) from C or C++.
 *
 *     bc_model *model;
 *     bc_session *session;
 *     bc_error error;
 *     if (bc_model_open_file("model.gguf", &model, &error) != BC_OK) return report(&error);
 *     if (bc_session_open(model, NULL, &session, &error) != BC_OK) return report(&error);
 *     bc_session_run(session, &(bc_input){pixels, BC_U8, BC_NHWC}, 1, logits, &error);
 *
 * A bc_model never changes after it is opened: any number of threads and sessions may share it. A
 * bc_session belongs to one thread at a time. Running allocates nothing, and takes at most 256 KiB
 * of the calling thread's stack. The library prints nothing, never aborts, and keeps no state
 * outside these two objects. Files are validated completely when they are opened, so a hostile file
 * is refused, not trusted.
 */
#ifndef BINCOMPRESS_H
#define BINCOMPRESS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) && defined(BC_SHARED)
#ifdef BC_BUILDING
#define BC_API __declspec(dllexport)
#else
#define BC_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define BC_API __attribute__((visibility("default")))
#else
#define BC_API
#endif

#define BC_VERSION_MAJOR 0
#define BC_VERSION_MINOR 1
#define BC_VERSION_PATCH 0
#define BC_FORMAT_VERSION 2 /* of the file, see FORMAT.md; older ones are read too */

/* ---- status ---- */

typedef enum bc_status {
    BC_OK = 0,
    BC_ERR_ARGUMENT = 1,   /* the call is wrong: a null pointer, an index out of range, n = 0 */
    BC_ERR_STATE = 2,      /* the session was not opened with the flag that the call needs */
    BC_ERR_MEMORY = 3,     /* an allocation failed */
    BC_ERR_IO = 4,         /* the file cannot be opened or read */
    BC_ERR_ISA = 5,        /* the instruction set is unknown, or this CPU does not have it */
    BC_ERR_INPUT = 6,      /* input that the model cannot take: not finite, or not convertible */
    BC_ERR_TRUNCATED = 10, /* the file ends too early */
    BC_ERR_MAGIC = 11,     /* not a GGUF file */
    BC_ERR_VERSION = 12,   /* a version or architecture that this library does not read */
    BC_ERR_LIMIT = 13,     /* a count or size beyond what is sane, or whose arithmetic overflows */
    BC_ERR_KEY = 14,       /* a key is missing, doubled or malformed */
    BC_ERR_TYPE = 15,      /* a key or tensor has another type than the format says */
    BC_ERR_LAYOUT = 16,    /* a tensor is unaligned, overlaps, or has a wrong size */
    BC_ERR_CHECKSUM = 17,  /* the tensor data is not what was written */
    BC_ERR_OP = 18,        /* an operation, step or weight layout that this library does not know */
    BC_ERR_GRAPH = 19,     /* a value is used before it is made, made twice, or never made */
    BC_ERR_SHAPE = 20,     /* shapes or element types that do not fit together */
    BC_ERR_VALUE = 21      /* an attribute or constant out of its range */
} bc_status;

typedef struct bc_error {
    bc_status code;
    int64_t offset; /* byte of the file at which it was found, -1 if none */
    char message[240];
} bc_error;

/* @return a short static text, also for unknown codes. */
BC_API const char *bc_status_text(bc_status status);

/* @return "MAJOR.MINOR.PATCH", static. */
BC_API const char *bc_version(void);

/* ---- model ---- */

typedef struct bc_model bc_model;

/* Opens and validates a file; it is mapped read-only and must not change while the model is open.
 * All `error` parameters may be NULL. On failure *model is NULL. */
BC_API bc_status bc_model_open_file(const char *path, bc_model **model, bc_error *error);

/* The same from memory, which is borrowed: `data` must be 64-byte aligned, stay valid and unchanged
 * until the model is closed. */
BC_API bc_status bc_model_open_memory(const void *data, size_t size, bc_model **model,
                                      bc_error *error);

/* Close sessions first. NULL is fine. */
BC_API void bc_model_close(bc_model *model);

typedef enum bc_dtype { BC_F32 = 0, BC_U8 = 1, BC_BITS = 2 } bc_dtype;

typedef struct bc_value_info {
    const char *name; /* owned by the model */
    bc_dtype dtype;
    uint32_t c, h, w; /* of one sample */
} bc_value_info;

typedef struct bc_node_info {
    const char *name;        /* owned by the model */
    const char *op;          /* static */
    uint64_t macs;           /* multiply-accumulates of one sample */
    uint64_t weights;        /* number of weights */
    uint32_t weight_bits;    /* 1, 32, or 0 without weights */
    uint64_t weight_bytes;   /* of the weight tensor in the file */
    uint64_t constant_bytes; /* of its other tensors: thresholds, scales, biases, masks */
    uint32_t input;          /* value id of the main input */
    uint32_t output;         /* value id of the first output */
    uint32_t output_count;
} bc_node_info;

BC_API size_t bc_model_value_count(const bc_model *model);
BC_API size_t bc_model_node_count(const bc_model *model);
BC_API size_t bc_model_input(const bc_model *model);  /* value id */
BC_API size_t bc_model_output(const bc_model *model); /* value id */
BC_API bc_status bc_model_value(const bc_model *model, size_t i, bc_value_info *info);
BC_API bc_status bc_model_node(const bc_model *model, size_t i, bc_node_info *info);

/* Sets mean and std to arrays of *n floats, one per input channel: x = (u / 255 - mean) / std. *n
 * is 0 if the file has none. */
BC_API bc_status bc_model_normalize(const bc_model *model, size_t *n, const float **mean,
                                    const float **std);

/* @return the text under a string-valued key of the file, e.g. "bincompress.recipe", or NULL. */
BC_API const char *bc_model_meta(const bc_model *model, const char *key);

/* Class labels: 0 if the file has none; label i, or NULL. */
BC_API size_t bc_model_class_count(const bc_model *model);
BC_API const char *bc_model_class(const bc_model *model, size_t i);

/* ---- session ---- */

typedef struct bc_session bc_session;

/* PROFILE: measure the time of every node. KEEP_ALL: give every value memory of its own, so that
 * all of them can be read and written. */
#define BC_SESSION_PROFILE 1u
#define BC_SESSION_KEEP_ALL 2u

typedef struct bc_session_options {
    size_t struct_size; /* sizeof(bc_session_options): lets the struct grow */
    uint32_t threads;   /* 0 means 1; the calling thread is one of them */
    uint32_t batch;     /* samples computed together, 0 means 1; more need more memory */
    const char *isa;    /* NULL: the environment variable BC_ISA, else the best of this CPU */
    uint32_t flags;     /* BC_SESSION_* */
} bc_session_options;

/* Plans and allocates everything. options may be NULL: one thread, batch 1, the best instruction
 * set. */
BC_API bc_status bc_session_open(const bc_model *model, const bc_session_options *options,
                                 bc_session **session, bc_error *error);

/* NULL is fine. */
BC_API void bc_session_close(bc_session *session);

/* Name of the kernels in use, static; size of the block that all values share. Beside it are lists
 * of pointers into it, 2 % of its size in a ResNet-18, and on AVX2 and avx512bw what a session
 * makes for its kernels: weights spread, tables of weights, and room for the largest input that is
 * turned to planes. */
BC_API const char *bc_session_isa(const bc_session *session);
BC_API size_t bc_session_arena_bytes(const bc_session *session);

typedef enum bc_layout { BC_NCHW = 0, BC_NHWC = 1 } bc_layout;

typedef struct bc_input {
    const void *data; /* n samples, dense */
    bc_dtype dtype;   /* BC_U8: raw pixels, normalised inside; BC_F32: normalised already */
    bc_layout layout;
} bc_input;

/* Runs n samples (any n >= 1, in groups of `batch`); out receives n times C * H * W floats of the
 * output value, (C, H, W).
 * @return BC_OK; BC_ERR_INPUT for a NaN or infinity, or where the file lacks the normalisation to
 * convert between raw pixels and floats; BC_ERR_ARGUMENT. */
BC_API bc_status bc_session_run(bc_session *session, const bc_input *input, size_t n, float *out,
                                bc_error *error);

/* ---- looking inside ---- */

/* Nanoseconds that node i took in the last bc_session_run or bc_session_run_node, 0 without
 * BC_SESSION_PROFILE. */
BC_API uint64_t bc_session_node_ns(const bc_session *session, size_t i);

/* These need BC_SESSION_KEEP_ALL and n <= batch. Floats are (n, H, W, C); bits are +1.0 and -1.0
 * (written: bit = x < 0), raw pixels 0.0 to 255.0. */
BC_API bc_status bc_session_write_value(bc_session *session, size_t value, const float *nhwc,
                                        size_t n);
BC_API bc_status bc_session_read_value(const bc_session *session, size_t value, float *nhwc,
                                       size_t n);
BC_API bc_status bc_session_run_node(bc_session *session, size_t node, size_t n);

/* ---- instruction sets ---- */

/* Those this library was built with, slow to fast. */
BC_API size_t bc_isa_count(void);
BC_API const char *bc_isa_name(size_t i); /* NULL if out of range */
BC_API int bc_isa_available(size_t i);    /* 1 if this CPU and operating system have it */

typedef enum bc_peak {
    BC_PEAK_BINARY = 0,
    BC_PEAK_F32 = 1,
    BC_PEAK_WEIGHT = 2,
    BC_PEAK_U8 = 3,
    BC_PEAK_I8 = 4,
    BC_PEAK_COUNT = 5 /* the binary product by counting bits; BC_PEAK_BINARY is what kernels do */
} bc_peak;

/* Times register-only arithmetic of one instruction set (NULL: the best) on this thread, some
 * milliseconds: 1e9 multiply-accumulates per second. */
BC_API bc_status bc_measure_peak(const char *isa, bc_peak kind, double *gmacs);

#ifdef __cplusplus
}
#endif

#endif
