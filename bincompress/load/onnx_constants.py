"""Constants of ONNX graphs: shapes, and nodes that read nothing but constants, are computed while importing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from bincompress.errors import UnsupportedOpError

if TYPE_CHECKING:
    from bincompress.load.onnx_ import Walk
    from bincompress.load.onnx_node import Op

Array = npt.NDArray[Any]

_LARGEST = 1 << 28  # elements of a computed constant


def possible(walk: Walk, op: Op) -> bool:
    """Whether a node is a shape, or one of the few kinds that exporters put around constants, reading nothing else."""
    if op.kind == "Shape":
        return True
    return op.kind in _RULES and all(name in walk.constants for name in op.inputs if name)


def run(walk: Walk, op: Op) -> None:
    """Compute a node's output as a constant."""
    if op.kind == "Shape":
        name = op.inputs[0]
        shape = walk.examples[name].shape if name in walk.examples else walk.constants[name].shape
        value = np.array(shape[op.integer("start", 0) : op.attrs.get("end")], np.int64)
    else:
        value = _RULES[op.kind](op, *(walk.constants[name] for name in op.inputs))
    walk.constants[op.outputs[0]] = value


def _constant(op: Op) -> Array:
    for name, value in op.attrs.items():
        if name == "value":
            return np.array(numpy_helper.to_array(value))
        if name in ("value_int", "value_ints"):
            return np.array(value, np.int64)
        if name in ("value_float", "value_floats"):
            return np.array(value, np.float32)
    raise UnsupportedOpError(f"its value is given as {', '.join(op.attrs) or 'nothing'}; known are tensors and numbers")


def _constant_of_shape(op: Op, shape: Array) -> Array:
    if np.prod(shape.astype(np.float64)) > _LARGEST:
        raise UnsupportedOpError(f"it makes a constant of shape {shape.tolist()}")
    value = numpy_helper.to_array(op.attrs["value"]) if "value" in op.attrs else np.zeros(1, np.float32)
    return np.full(shape, value.item(), value.dtype)


def _axes(op: Op, given: Array | None) -> tuple[int, ...]:
    """Axes from the second input (opset 13 and later) or from the attribute."""
    return tuple(int(i) for i in given) if given is not None else op.integers("axes", ())


def _squeeze(op: Op, x: Array, axes: Array | None = None) -> Array:
    return x.squeeze(_axes(op, axes) or None)


def _unsqueeze(op: Op, x: Array, axes: Array | None = None) -> Array:
    return np.expand_dims(x, _axes(op, axes))


def _slice(op: Op, x: Array, *given: Array) -> Array:
    names = ("starts", "ends", "axes", "steps")
    values = [list(map(int, value)) for value in given] or [list(op.attrs[name]) for name in names if name in op.attrs]
    starts, ends = values[0], values[1]
    axes = values[2] if len(values) > 2 else list(range(len(starts)))
    steps = values[3] if len(values) > 3 else [1] * len(starts)
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # Going backwards, an end before the first element is how "all of them" is written.
        index[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return x[tuple(index)]


def _reshape(op: Op, x: Array, shape: Array) -> Array:
    return x.reshape([x.shape[i] if n == 0 else int(n) for i, n in enumerate(shape)])


def _divide(op: Op, a: Array, b: Array) -> Array:
    return np.asarray(np.trunc(a / b).astype(a.dtype) if np.issubdtype(a.dtype, np.integer) else a / b)


_RULES: dict[str, Callable[..., Array]] = {
    "Add": lambda op, a, b: np.asarray(a + b),
    "Cast": lambda op, x: x.astype(onnx.helper.tensor_dtype_to_np_dtype(op.integer("to", 1))),
    "Concat": lambda op, *parts: np.concatenate(parts, op.integer("axis", 0)),
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Div": _divide,
    "Gather": lambda op, x, index: np.asarray(np.take(x, index, op.integer("axis", 0))),
    "Identity": lambda op, x: x,
    "Mul": lambda op, a, b: np.asarray(a * b),
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": lambda op, a, b: np.asarray(a - b),
    "Transpose": lambda op, x: x.transpose(op.integers("perm", tuple(reversed(range(x.ndim))))),
    "Unsqueeze": _unsqueeze,
}
