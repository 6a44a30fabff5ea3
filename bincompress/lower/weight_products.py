"""The emulator's products of 1-bit weights with floats, and with floats rounded to 8 bits; see `program.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from bincompress.lower.geometry import Window, window, windows
from bincompress.program import Node, Program

Array = npt.NDArray[Any]
GROUP = 4  # channels whose sum is rounded apart, before it joins the accumulator
I8_LARGEST = np.float32(127)
I8_SMALLEST = np.float32(2.0**-96)  # the least magnitude that counts as a sample's largest, so that nothing overflows


def weight_product(_: Program, node: Node, x: Array) -> Array:
    """Float sums, in the order that every kernel keeps."""
    acc: Array | None = None
    for seen, weight in _taps(node, x):
        short = -seen.shape[2] % GROUP
        seen = np.pad(seen, ((0, 0), (0, 0), (0, short), (0, 0), (0, 0)))
        weight = np.pad(weight, ((0, 0), (0, 0), (0, short)), constant_values=1).astype(np.float32)
        for c in range(0, seen.shape[2], GROUP):
            terms = seen[:, :, None, c : c + GROUP] * weight[None, :, :, c : c + GROUP, None, None]
            first, second, third, fourth = np.moveaxis(terms, 3, 0)
            total = (first + second) + (third + fourth)
            acc = np.zeros_like(total) + total if acc is None else acc + total
    assert acc is not None
    return acc.reshape(len(x), -1, *acc.shape[3:])


def i8_product(_: Program, node: Node, x: Array) -> Array:
    """Exact sums of the integers, times each sample's scale."""
    quantized, scale = quantize(x)
    acc: Array | int = 0
    for seen, weight in _taps(node, quantized):
        # integers far below 2**53: a float64 product is exact
        acc = acc + np.einsum("gok,ngkhw->ngohw", weight.astype(np.float64), seen.astype(np.float64), optimize=True)
    assert not isinstance(acc, int)
    sums: Array = acc.reshape(len(x), -1, *acc.shape[3:]).astype(np.float32)
    return sums * scale


def quantize(x: Array) -> tuple[Array, Array]:
    """Round float32 samples to integers of 8 bits.

    Shapes: x (N, C, H, W).
    Returns: (N, C, H, W) float32 integers in [-127, 127], and (N, 1, 1, 1) float32 scales.
    """
    largest = np.maximum(np.abs(x).max(axis=(1, 2, 3), keepdims=True), I8_SMALLEST)
    return np.rint(np.clip(x * (I8_LARGEST / largest), -I8_LARGEST, I8_LARGEST)), largest / I8_LARGEST


def _taps(node: Node, x: Array) -> Iterator[tuple[Array, Array]]:
    """Per tap: the input under it (N, G, C_in / G, H', W') and its weights (G, C_out / G, C_in / G).

    A dense product has one tap: the image flattened in (row, column, channel) order.
    """
    assert node.weight is not None
    groups, weight, win = int(node.attrs["groups"]), node.weight, window(node)
    if node.op.endswith("dense"):
        x = x.transpose(0, 2, 3, 1).reshape(len(x), -1, 1, 1)
        weight, win = weight.reshape(len(weight), 1, 1, -1), Window((1, 1))
    flat = weight.reshape(groups, -1, win.taps, weight.shape[3])
    for tap, seen in enumerate(windows(x, win, 0)):
        yield seen.reshape(len(x), groups, -1, *seen.shape[2:]), flat[:, :, tap]
