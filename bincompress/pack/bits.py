"""Signs to bits and back: bit 1 = -1, least significant bit first."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def pack_bits(negative: Array) -> Array:
    """Pack booleans along the last axis, least significant bit first, the last byte filled with 0.

    Shapes: negative (..., n), true where the element is -1.
    Returns: (..., ceil(n / 8)) uint8.
    """
    return np.packbits(negative.astype(bool), axis=-1, bitorder="little")


def unpack_bits(data: Array, count: int) -> Array:
    """The first `count` bits of each row of bytes.

    Shapes: data (..., ceil(count / 8)) uint8.
    Returns: (..., count) bool.
    """
    return np.unpackbits(data, axis=-1, count=count, bitorder="little").astype(bool)


def to_signs(negative: Array) -> Array:
    """True -> -1, False -> +1, int8."""
    return np.where(negative, np.int8(-1), np.int8(1))
