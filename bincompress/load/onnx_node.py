"""One ONNX node as rules see it: attributes as Python values, inputs at hand, windows as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from bincompress.errors import UnsupportedOpError
from bincompress.load.onnx_names import module_path

if TYPE_CHECKING:
    from bincompress.load.onnx_ import Walk

Array = npt.NDArray[Any]


class Op:
    """A node with its attributes as Python values and its inputs at hand."""

    def __init__(self, proto: onnx.NodeProto, walk: Walk) -> None:
        self.proto = proto
        self.kind = proto.op_type
        self.domain = proto.domain
        self.inputs = tuple(proto.input)
        self.outputs = tuple(proto.output)
        self.attrs = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in proto.attribute}
        self._walk = walk

    @property
    def where(self) -> str:
        """The node's name, or that of what it makes."""
        return f"node {self.proto.name or (self.outputs[0] if self.outputs else '?')}"

    @property
    def path(self) -> str:
        """Where its layer goes."""
        return module_path(self.proto, self._walk.containers)

    def integer(self, name: str, default: int) -> int:
        return int(self.attrs.get(name, default))

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(int(value) for value in self.attrs.get(name, default))

    def number(self, name: str, default: float) -> float:
        return float(self.attrs.get(name, default))

    def text(self, name: str, default: str) -> str:
        value = self.attrs.get(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)

    def has(self, index: int) -> bool:
        """Whether an optional input is there."""
        return index < len(self.inputs) and bool(self.inputs[index])

    def constant(self, index: int, what: str) -> Array:
        """The value of an input that must be known.

        Raises: UnsupportedOpError if it is not.
        """
        if not self.has(index) or self.inputs[index] not in self._walk.constants:
            raise UnsupportedOpError(f"its {what} is computed by the network, not a constant")
        return self._walk.constants[self.inputs[index]]

    def rank(self) -> int:
        """How many axes the first input has."""
        name = self.inputs[0]
        return self._walk.examples[name].ndim if name in self._walk.examples else self._walk.constants[name].ndim


def parameter(value: Array) -> nn.Parameter:
    """A float32 parameter with these values."""
    return nn.Parameter(torch.from_numpy(np.array(value, np.float32)))


def two(values: tuple[int, ...]) -> tuple[int, int]:
    """The values of the two axes of an image."""
    if len(values) != 2:
        raise UnsupportedOpError(f"{len(values)} spatial axes; known are 2")
    return values[0], values[1]


def window(walk: Walk, op: Op, dilation: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Kernel, stride and padding of a pooling."""
    kernel, stride = op.integers("kernel_shape", ()), op.integers("strides", (1, 1))
    top, left, bottom, right = pads(walk, op, two(kernel), stride, dilation)
    if top != bottom or left != right:
        raise UnsupportedOpError(f"it pads {top}, {left}, {bottom}, {right}; known are equal amounts on opposite sides")
    return two(kernel), two(stride), (top, left)


def pads(
    walk: Walk, op: Op, kernel: tuple[int, int], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """Top, left, bottom, right, also where they are given as a rule."""
    auto = op.text("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        top, left, bottom, right = op.integers("pads", (0, 0, 0, 0))
        return top, left, bottom, right
    if auto == "VALID":
        return 0, 0, 0, 0
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise UnsupportedOpError(f"auto_pad={auto}")
    sizes = walk.examples[op.inputs[0]].shape[2:]
    small, large = [], []
    for size, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
        total = max(0, (-(-size // s) - 1) * s + d * (k - 1) + 1 - size)
        small.append(total // 2)
        large.append(total - total // 2)
    first, last = (small, large) if auto == "SAME_UPPER" else (large, small)
    return first[0], first[1], last[0], last[1]
