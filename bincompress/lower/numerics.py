"""Float32 arithmetic in the order the C library commits to, so that the emulator agrees with it to the bit.

numpy has no fused multiply-add. `fma32` builds one from float64: the product of two float32 is exact there (48 of 53
bits); the sum is made exact as (s, err) by Knuth's two-sum and s rounded *to odd*, after which the final rounding to
float32 is the correct rounding of the exact value (Boldo and Melquiond, 2008).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
LANES = 16


def fma32(x: Array, w: Array, acc: Array) -> Array:
    """round32(x * w + acc) with a single rounding.

    Shapes: anything that broadcasts, float32.
    Returns: float32.
    """
    product = x.astype(np.float64) * w.astype(np.float64)
    addend = acc.astype(np.float64)
    total = np.asarray(product + addend)
    seen = total - product
    error = (product - (total - seen)) + (addend - seen)
    bits = total.view(np.int64)
    inexact_even = (error != 0) & ((bits & 1) == 0) & np.isfinite(total)
    away = np.where((error > 0) == (total > 0), 1, -1)
    odd: Array = (bits + np.where(inexact_even, away, 0)).view(np.float64)
    with np.errstate(over="ignore"):
        return odd.astype(np.float32)


def abs_mean(x: Array) -> Array:
    """Mean of |x| over channels, summed in 16 interleaved lanes and then pairwise, as the C kernels do.

    Shapes: x (N, C, H, W) float32.
    Returns: (N, H, W) float32.
    """
    count, channels, height, width = x.shape
    blocks = -(-channels // LANES)
    padded = np.zeros((count, blocks * LANES, height, width), np.float32)
    padded[:, :channels] = np.abs(x)
    lanes = np.zeros((count, LANES, height, width), np.float32)
    for block in range(blocks):
        lanes = lanes + padded[:, block * LANES : (block + 1) * LANES]
    width_now = LANES
    while width_now > 1:
        width_now //= 2
        lanes = lanes[:, :width_now] + lanes[:, width_now : 2 * width_now]
    mean: Array = lanes[:, 0] * (np.float32(1) / np.float32(channels))
    return mean
