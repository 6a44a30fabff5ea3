"""Pooling and operations on shapes, one function for each ONNX operation: from a node to layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from bincompress.errors import UnsupportedOpError
from bincompress.graph import ShortcutA
from bincompress.load.onnx_node import Op, two, window
from bincompress.load.onnx_ops import OnnxRule
from bincompress.load.rules import registrar

if TYPE_CHECKING:
    from bincompress.load.onnx_ import Walk

SHAPE_OPS: dict[str, OnnxRule] = {}
_op = registrar(SHAPE_OPS)


# --- pooling ----------------------------------------------------------------------------------------------------------


@_op("MaxPool")
def _max_pool(walk: Walk, op: Op) -> None:
    if len(op.outputs) > 1 and op.outputs[1] in walk.readers:
        raise UnsupportedOpError("its indices are used")
    dilation = op.integers("dilations", (1, 1))
    kernel, stride, padding = window(walk, op, dilation)
    ceil_mode = bool(op.integer("ceil_mode", 0))
    walk.emit(op, nn.MaxPool2d(kernel, stride, padding, two(dilation), ceil_mode=ceil_mode), op.inputs)


@_op("AveragePool")
def _average_pool(walk: Walk, op: Op) -> None:
    if set(op.integers("dilations", (1, 1))) != {1}:
        raise UnsupportedOpError("it is dilated")
    kernel, stride, padding = window(walk, op, (1, 1))
    ceil_mode, count = bool(op.integer("ceil_mode", 0)), bool(op.integer("count_include_pad", 0))
    walk.emit(op, nn.AvgPool2d(kernel, stride, padding, ceil_mode, count), op.inputs)


@_op("GlobalAveragePool")
def _global_average_pool(walk: Walk, op: Op) -> None:
    walk.emit(op, nn.AdaptiveAvgPool2d(1), op.inputs)


@_op("GlobalMaxPool")
def _global_max_pool(walk: Walk, op: Op) -> None:
    walk.emit(op, nn.AdaptiveMaxPool2d(1), op.inputs)


@_op("ReduceMean")
def _reduce_mean(walk: Walk, op: Op) -> None:
    axes = tuple(int(i) for i in op.constant(1, "axes")) if op.has(1) else op.integers("axes", ())
    if op.rank() != 4 or {axis % 4 for axis in axes} != {2, 3}:
        raise UnsupportedOpError(f"it runs over axes {axes}; known is the mean over an image, axes 2 and 3")
    if op.integer("keepdims", 1):
        walk.emit(op, nn.AdaptiveAvgPool2d(1), op.inputs[:1])
        return
    pooled = f"{op.outputs[0]}.pooled"
    walk.emit_at(pooled, op.path, nn.AdaptiveAvgPool2d(1), op.inputs[:1])
    walk.emit(op, nn.Flatten(1), (pooled,), path=f"{op.path}_flatten")


# --- shapes -----------------------------------------------------------------------------------------------------------


@_op("Flatten")
def _flatten(walk: Walk, op: Op) -> None:
    if op.integer("axis", 1) not in (1, 1 - op.rank()):
        raise UnsupportedOpError(f"axis {op.integer('axis', 1)}; known is 1")
    walk.emit(op, nn.Flatten(1), op.inputs)


@_op("Reshape", "Squeeze")
def _reshape(walk: Walk, op: Op) -> None:
    """Anything that keeps the order of elements: it is a flattening, or it does nothing."""
    example = walk.examples[op.inputs[0]]
    if op.kind == "Reshape":
        wanted = [int(n) for n in op.constant(1, "shape")]
        keeps_zero = not op.integer("allowzero", 0)
        out = example.reshape([example.shape[i] if n == 0 and keeps_zero else n for i, n in enumerate(wanted)])
    else:
        axes = [int(i) for i in op.constant(1, "axes")] if op.has(1) else list(op.integers("axes", ()))
        out = example.squeeze(tuple(axes)) if axes else example.squeeze()
    if out.shape == example.shape:
        walk.alias(op, op.inputs[0])
    elif out.ndim == 2 and out.shape[0] == example.shape[0]:
        walk.emit(op, nn.Flatten(1), op.inputs[:1])
    else:
        raise UnsupportedOpError(
            f"it makes {tuple(out.shape)} of {tuple(example.shape)}; known is flattening all but the batch axis"
        )


@_op("Pad")
def _pad(walk: Walk, op: Op) -> None:
    pads = [int(n) for n in op.constant(1, "amounts")] if op.has(1) else list(op.integers("pads", ()))
    value = float(op.constant(2, "value")) if op.has(2) else op.number("value", 0.0)
    if op.text("mode", "constant") != "constant" or value or len(pads) != 8 or op.rank() != 4 or op.has(3):
        raise UnsupportedOpError("known is padding an image by zeros")
    (n0, before, top, left), (n1, after, bottom, right) = pads[:4], pads[4:]
    if n0 or n1 or min(pads) < 0:
        raise UnsupportedOpError(f"amounts {pads}")
    image, channels = (left, right, top, bottom), (before, after)
    if any(channels) and any(image):
        raise UnsupportedOpError("it pads both channels and pixels")
    walk.emit(op, ShortcutA(1, *channels) if any(channels) else nn.ZeroPad2d(image), op.inputs[:1])


@_op("Slice")
def _slice(walk: Walk, op: Op) -> None:
    """Every n-th pixel; exporters write one slice per axis, so the first waits for the second."""
    named = ("starts", "ends", "axes", "steps")
    if walk.opset < 10:
        values = [list(op.attrs[name]) if name in op.attrs else None for name in named]
    else:
        values = [[int(n) for n in op.constant(i, name)] if op.has(i) else None for i, name in enumerate(named, 1)]
    starts, ends = values[0] or [], values[1] or []
    axes = values[2] if values[2] is not None else list(range(len(starts)))
    steps = values[3] if values[3] is not None else [1] * len(starts)
    source, taken = walk.slices.get(op.inputs[0], (op.inputs[0], {}))
    example = walk.examples[op.inputs[0]]
    taken = dict(taken)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis %= example.ndim
        if start != 0 or step < 1 or end < example.shape[axis] or (axis < 2 and step != 1) or axis in taken:
            raise UnsupportedOpError("known is every n-th pixel, from the first to the last")
        if step > 1:
            taken[axis] = step
    if not taken:
        walk.alias(op, op.inputs[0])
    elif taken.get(2) == taken.get(3):
        walk.emit(op, ShortcutA(taken[2], 0, 0), (source,))
    else:
        index = tuple(slice(None, None, taken.get(axis, 1)) for axis in range(example.ndim))
        walk.slices[op.outputs[0]] = (source, taken)
        walk.examples[op.outputs[0]] = walk.examples[source][index]
