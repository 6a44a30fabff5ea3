"""Names, types and weight layouts of the packed file; mirrors kernels/FORMAT.md.

1-bit weights (C_out, kh, kw, C_in / groups) are stored, all without padding bits between filters, as
    rows      one bit stream, filter after filter in (kh, kw, c) order
    panel8    uint64 [groups][C_out/g/8][kh*kw][C_in/g/64][8 filters]: what the binary kernels read, in place
    panel16   uint16 [groups][C_out/g/16][K], bit j = filter 16 p + j: what the kernels of pixels read, in place
    octet16   uint8 [groups][C_out/g/16][K/8][16 filters], bit i = weight 8 k + i: what those of floats read
A panel layout is used wherever the sizes allow it, else `rows`, which the C library repacks when it opens the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bincompress.pack.bits import pack_bits, to_signs, unpack_bits
from bincompress.program import BINARY_OPS, U8_OPS, WEIGHT_OPS

Array = npt.NDArray[Any]
Shape4 = tuple[int, int, int, int]

ARCHITECTURE = "bincompress"
FORMAT_VERSION = 2  # readers take older ones too
ALIGNMENT = 64
LAYOUTS = ("rows", "panel8", "panel16", "octet16")
# Keys of the format itself, behind "bincompress."; all others are free
RESERVED = ("format_version", "values.", "input", "output", "normalize.", "node_count", "node.", "crc32")

# Node attributes: key suffix -> number of integers, 0 for a scalar
ATTRIBUTES: dict[str, int] = {
    "kernel": 2,
    "stride": 2,
    "padding": 4,
    "dilation": 2,
    "groups": 0,
    "pad_value": 0,
    "offset": 0,
    "count_include_pad": 0,
    "before": 0,
    "after": 0,
    "size": 2,
}
SIGNED_ATTRIBUTES = ("pad_value", "offset")
_WINDOW = ("kernel", "stride", "padding")
_CONV = (*_WINDOW, "dilation", "groups", "pad_value")


def attributes_of(op: str) -> tuple[str, ...]:
    """The attributes that a node of this op has, in file order."""
    if op.endswith(("conv2d", "dense")):
        return (*_CONV, "offset") if op.startswith("u8") else _CONV
    if op == "avg_pool":
        return (*_WINDOW, "count_include_pad")
    if op in ("max_pool", "act_scale"):
        return _WINDOW
    if op == "constant":
        return ("size",)
    return ("stride", "before", "after") if op == "subsample_pad" else ()


def is_reserved(key: str) -> bool:
    """Whether `bincompress.KEY` belongs to the format."""
    return any(key.startswith(name) if name.endswith(".") else key == name for name in RESERVED)


def choose_layout(op: str, shape: Shape4, groups: int) -> str:
    """The layout that the kernels of `op` use in place, `rows` where the sizes do not allow it."""
    filters, high, wide, channels = shape
    if op in BINARY_OPS:
        return "panel8" if channels % 64 == 0 and (filters // groups) % 8 == 0 else "rows"
    if (filters // groups) % 16:
        return "rows"
    if op in U8_OPS:
        return "panel16"
    return "octet16" if (high * wide * channels if op.endswith("dense") else channels) % 16 == 0 else "rows"


def possible_layouts(op: str, shape: Shape4, groups: int) -> tuple[str, ...]:
    """All layouts that a reader takes."""
    before = ("panel16",) if op in WEIGHT_OPS and (shape[0] // groups) % 16 == 0 else ()  # version 1 wrote it
    return ("rows", choose_layout(op, shape, groups), *before)


def packed_size(shape: Shape4) -> int:
    """Bytes of packed weights; the same in every layout."""
    return -(-int(np.prod(shape, dtype=np.int64)) // 8)


def pack_weight(weight: Array, layout: str, groups: int) -> Array:
    """Bits of the weights in `layout`.

    Shapes: weight (C_out, kh, kw, C_in / groups) of +-1.
    Returns: (ceil(weights / 8),) uint8.
    """
    filters, high, wide, channels = weight.shape
    negative = weight < 0
    if layout == "panel8":
        split = negative.reshape(groups, filters // groups // 8, 8, high * wide, channels // 64, 64)
        return pack_bits(split.transpose(0, 1, 3, 4, 2, 5)).reshape(-1)
    if layout == "octet16":
        split = negative.reshape(groups, filters // groups // 16, 16, high * wide * channels // 8, 8)
        return pack_bits(split.transpose(0, 1, 3, 2, 4)).reshape(-1)
    if layout == "panel16":
        split = negative.reshape(groups, filters // groups // 16, 16, high * wide * channels)
        return pack_bits(split.transpose(0, 1, 3, 2)).reshape(-1)
    return pack_bits(negative.reshape(-1))


def unpack_weight(data: Array, layout: str, shape: Shape4, groups: int) -> Array:
    """Inverse of `pack_weight`.

    Shapes: data (ceil(weights / 8),) uint8.
    Returns: (C_out, kh, kw, C_in / groups) int8 of +-1.
    """
    filters, high, wide, channels = shape
    negative = unpack_bits(data, filters * high * wide * channels)
    if layout == "panel8":
        split = negative.reshape(groups, filters // groups // 8, high * wide, channels // 64, 8, 64)
        negative = split.transpose(0, 1, 4, 2, 3, 5)
    elif layout == "octet16":
        split = negative.reshape(groups, filters // groups // 16, high * wide * channels // 8, 16, 8)
        negative = split.transpose(0, 1, 3, 2, 4)
    elif layout == "panel16":
        split = negative.reshape(groups, filters // groups // 16, high * wide * channels, 16)
        negative = split.transpose(0, 1, 3, 2)
    return to_signs(np.ascontiguousarray(negative).reshape(shape))
