"""The numpy interpreter of a Program: the slow, readable twin of the C library, and its judge.

Values are NCHW here: float32, uint8, or bool for bits (True = bit 1 = -1). Integer sums are exact; every float
operation is rounded where `program.py` says, in the C library's order, so that agreement is `==`, not a tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from bincompress.errors import LoweringError
from bincompress.lower.geometry import Window, window, windows
from bincompress.lower.numerics import abs_mean, fma32
from bincompress.lower.weight_products import i8_product, weight_product
from bincompress.program import BINARY_OPS, U8_OPS, Node, Normalize, Program, Step

Array = npt.NDArray[Any]
Values = dict[int, Array]


def emulate(program: Program, x: Array) -> Array:
    """Run the whole program.

    Shapes: x (N, C, H, W), uint8 pixels or float32 as the network expects them.
    Returns: (N, features) float32, features in (c, h, w) order; bits come out as +-1.
    """
    out = emulate_values(program, x)[program.output]
    signs = np.where(out, np.float32(-1), np.float32(1)) if out.dtype == np.bool_ else out
    return signs.reshape(len(x), -1).astype(np.float32)


def emulate_values(program: Program, x: Array) -> Values:
    """Run the whole program and keep every value, by id."""
    values: Values = {program.input: to_input(program, x)}
    for node in program.nodes:
        emulate_node(program, node, values)
    return values


def emulate_node(program: Program, node: Node, values: Values) -> None:
    """Run one node: reads its inputs from `values` and writes its outputs there."""
    main = values[node.inputs[0]]
    acc = _OPS[node.op](program, node, main)
    for step in node.steps:
        acc = _STEPS[step.op](acc, step, values)


def to_input(program: Program, x: Array) -> Array:
    """Bring pixels or normalised floats to what the program reads (see `Normalize`)."""
    wanted = program.values[program.input].dtype
    if wanted == "u8":
        return x if x.dtype == np.uint8 else _denormalize(x.astype(np.float32), program.normalize)
    return normalize_pixels(x, program.normalize) if x.dtype == np.uint8 else x.astype(np.float32)


def normalize_pixels(pixels: Array, norm: Normalize | None) -> Array:
    """(u / 255 - mean) / std in float32, one rounding per operation."""
    if norm is None:
        raise LoweringError("input: uint8 pixels need a normalisation, and this program has none; pass float32")
    mean, std = _per_channel(np.asarray(norm.mean)), _per_channel(np.asarray(norm.std))
    out: Array = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return out


def _denormalize(x: Array, norm: Normalize | None) -> Array:
    if norm is None:
        raise LoweringError("input: float input needs a normalisation, and this program has none; pass uint8")
    mean, std = _per_channel(np.asarray(norm.mean)), _per_channel(np.asarray(norm.std))
    pixels: Array = np.clip(np.rint((x * std + mean) * np.float32(255)), 0, 255).astype(np.uint8)
    return pixels


def _per_channel(parameter: Array) -> Array:
    return np.asarray(parameter, np.float32).reshape(-1, 1, 1)


# Ops: main input -> accumulator (N, C, H, W), int64 for integer ops (bounds are checked to fit int32), else float32


def _conv(_: Program, node: Node, x: Array) -> Array:
    assert node.weight is not None
    groups = int(node.attrs["groups"])
    weight = node.weight.reshape(groups, -1, *node.weight.shape[1:])  # (G, C_out/G, kh, kw, C_in/G)
    if node.op in BINARY_OPS:
        signed, outside = np.where(x, -1, 1), int(node.attrs["pad_value"])
    elif node.op in U8_OPS:
        signed, outside = 2 * x.astype(np.int64) - int(node.attrs["offset"]), 0
    else:
        signed, outside = x, 0
    win, (count, channels) = window(node), x.shape[:2]
    acc: Array | None = None
    for tap, seen in enumerate(windows(signed, win, outside)):
        per_group = seen.reshape(count, groups, channels // groups, *seen.shape[2:])
        taps = weight[:, :, tap // win.kernel[1], tap % win.kernel[1]]  # (G, C_out/G, C_in/G)
        if signed.dtype != np.float32:
            # +-1 and 9-bit operands: sums stay far below 2**53, so a float64 product is exact
            part = np.einsum("gok,ngkhw->ngohw", taps.astype(np.float64), per_group.astype(np.float64), optimize=True)
            acc = part if acc is None else acc + part
            continue
        if acc is None:
            acc = np.zeros((count, groups, taps.shape[1], *seen.shape[2:]), np.float32)
        for c in range(taps.shape[2]):
            acc = fma32(per_group[:, :, None, c], taps[None, :, :, c, None, None], acc)
    assert acc is not None
    flat = acc.reshape(count, -1, *acc.shape[3:])
    return flat if signed.dtype == np.float32 else flat.astype(np.int64)


def _max_pool(_: Program, node: Node, x: Array) -> Array:
    win = window(node)
    if x.dtype != np.bool_:
        return _over_taps(np.maximum, x, win, -np.inf)
    as_and = _over_taps(np.logical_and, x, win, True)
    mask = node.attrs.get("or_mask")
    if mask is None:
        return as_and
    return np.where(np.asarray(mask, bool).reshape(-1, 1, 1), _over_taps(np.logical_or, x, win, False), as_and)


def _over_taps(combine: np.ufunc, x: Array, win: Window, outside: Any) -> Array:
    result: Array = combine.reduce(np.stack(list(windows(x, win, outside))))
    return result


def _avg_pool(_: Program, node: Node, x: Array) -> Array:
    win = window(node)
    total: Array | None = None
    inside: Array | None = None
    ones = np.ones((1, 1, *x.shape[2:]), np.float32)
    for seen, there in zip(windows(x, win, 0), windows(ones, win, 0), strict=True):
        total = np.zeros_like(seen) + seen if total is None else total + seen
        inside = there if inside is None else inside + there
    assert total is not None
    assert inside is not None
    mean: Array = total / (np.float32(win.taps) if node.attrs["count_include_pad"] else inside)
    return mean


def _act_scale(_: Program, node: Node, x: Array) -> Array:
    total: Array | None = None
    for seen in windows(abs_mean(x)[:, None], window(node), 0):
        total = np.zeros_like(seen) + seen if total is None else total + seen
    assert total is not None
    scaled: Array = total * (np.float32(1) / np.float32(window(node).taps))
    return scaled


def _subsample_pad(_: Program, node: Node, x: Array) -> Array:
    (sh, sw), before, after = node.attrs["stride"], int(node.attrs["before"]), int(node.attrs["after"])
    return np.pad(x[:, :, ::sh, ::sw], ((0, 0), (before, after), (0, 0), (0, 0)))


def _elementwise(_: Program, node: Node, x: Array) -> Array:
    return x.astype(np.float32)


def _flatten(_: Program, node: Node, x: Array) -> Array:
    return x.reshape(len(x), -1, 1, 1)


def _constant(_: Program, node: Node, x: Array) -> Array:
    factors: Array = np.asarray(node.attrs["factors"], np.float32)
    return np.repeat(factors[None, None], len(x), axis=0)


_OPS: dict[str, Callable[[Program, Node, Array], Array]] = {
    "conv2d": _conv,
    "dense": _conv,
    "weight_conv2d": weight_product,
    "weight_dense": weight_product,
    "i8_conv2d": i8_product,
    "i8_dense": i8_product,
    "binary_conv2d": _conv,
    "binary_dense": _conv,
    "u8_conv2d": _conv,
    "u8_dense": _conv,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "act_scale": _act_scale,
    "subsample_pad": _subsample_pad,
    "elementwise": _elementwise,
    "flatten": _flatten,
    "constant": _constant,
}


# Steps: (y, step, values) -> y; writes store into `values`


def _affine(y: Array, step: Step, _: Values) -> Array:
    scaled: Array = y.astype(np.float32) * _per_channel(step.params["scale"])
    out: Array = scaled + _per_channel(step.params["bias"])
    return out


def _relu(y: Array, step: Step, _: Values) -> Array:
    floats = y.astype(np.float32)
    return np.where(floats > 0, floats, np.float32(0))


def _hardtanh(y: Array, step: Step, _: Values) -> Array:
    floats = y.astype(np.float32)  # not np.clip, which keeps a NaN
    return np.where(floats > -1, np.where(floats < 1, floats, np.float32(1)), np.float32(-1))


def _prelu(y: Array, step: Step, _: Values) -> Array:
    floats = y.astype(np.float32)
    return np.where(floats >= 0, floats, floats * _per_channel(step.params["slope"]))


def _add(y: Array, step: Step, values: Values) -> Array:
    total: Array = y.astype(np.float32) + values[step.value]
    return total


def _mul_map(y: Array, step: Step, values: Values) -> Array:
    scaled: Array = y.astype(np.float32) * values[step.value]
    return scaled


def _store(y: Array, step: Step, values: Values) -> Array:
    # bits stay bits (max_pool, flatten); integer sums and pixels become float32
    values[step.value] = y if y.dtype == np.bool_ else y.astype(np.float32)
    return values[step.value]


def _sign(y: Array, step: Step, values: Values) -> Array:
    values[step.value] = y < 0
    return y


def _threshold(y: Array, step: Step, values: Values) -> Array:
    values[step.value] = y < np.asarray(step.params["tau"], np.int64).reshape(-1, 1, 1)
    return y


_STEPS: dict[str, Callable[[Array, Step, Values], Array]] = {
    "affine": _affine,
    "relu": _relu,
    "hardtanh": _hardtanh,
    "prelu": _prelu,
    "add": _add,
    "mul_map": _mul_map,
    "store": _store,
    "sign": _sign,
    "threshold": _threshold,
}
