/* ops.c: the table of operations. */
#include "ops.h"

#define F32 BC_IN_F32
#define U8 BC_IN_U8
#define BITS BC_IN_BITS

const bc_op_row bc_ops[BC_OP_COUNT] = {
#define X(name, kind, inputs, bits, op) {#name, BC_KIND_##kind, inputs, bits, &bc_op_##op},
#include "ops.def"
#undef X
};
