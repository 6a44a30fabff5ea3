/* status.c: texts of status codes, and the one place that fills a bc_error. */
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)

const char *bc_version(void) {
    return TEXT(BC_VERSION_MAJOR) "." TEXT(BC_VERSION_MINOR) "." TEXT(BC_VERSION_PATCH);
}

const char *bc_status_text(bc_status status) {
    switch (status) {
    case BC_OK:
        return "ok";
    case BC_ERR_ARGUMENT:
        return "wrong argument";
    case BC_ERR_STATE:
        return "the session lacks a flag that the call needs";
    case BC_ERR_MEMORY:
        return "out of memory";
    case BC_ERR_IO:
        return "the file cannot be read";
    case BC_ERR_ISA:
        return "instruction set unknown or not available";
    case BC_ERR_INPUT:
        return "input that the model cannot take";
    case BC_ERR_TRUNCATED:
        return "truncated file";
    case BC_ERR_MAGIC:
        return "not a GGUF file";
    case BC_ERR_VERSION:
        return "unsupported version";
    case BC_ERR_LIMIT:
        return "count or size beyond limits";
    case BC_ERR_KEY:
        return "key missing, doubled or malformed";
    case BC_ERR_TYPE:
        return "wrong type";
    case BC_ERR_LAYOUT:
        return "tensor badly placed";
    case BC_ERR_CHECKSUM:
        return "checksum mismatch";
    case BC_ERR_OP:
        return "unknown operation";
    case BC_ERR_GRAPH:
        return "invalid graph";
    case BC_ERR_SHAPE:
        return "shapes do not fit";
    case BC_ERR_VALUE:
        return "value out of range";
    }
    return "unknown status";
}

bc_status bc_fail(bc_error *error, bc_status code, int64_t offset, const char *format, ...) {
    if (error) {
        va_list list;
        error->code = code;
        error->offset = offset;
        va_start(list, format);
        (void)vsnprintf(error->message, sizeof error->message, format, list);
        va_end(list);
    }
    return code;
}
