"""One function per ONNX operation: from a node to leaves (or to `torch.nn` layers that become leaves later)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from bincompress.errors import UnsupportedOpError
from bincompress.graph import Add, ShortcutA
from bincompress.load.onnx_names import module_path

if TYPE_CHECKING:
    from bincompress.load.onnx_ import Walk

Array = npt.NDArray[Any]
_END = 1 << 31  # exporters write "to the end" as a very large number


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


Rule = Callable[["Walk", Op], None]
OPS: dict[str, Rule] = {}


def op(*kinds: str) -> Callable[[Rule], Rule]:
    """Register a function for operations."""

    def register(rule: Rule) -> Rule:
        for kind in kinds:
            if kind in OPS:
                raise ValueError(f"operation {kind!r} has two rules")
            OPS[kind] = rule
        return rule

    return register


def known() -> str:
    """Names of the operations that can be imported."""
    return ", ".join(sorted(OPS))


def parameter(value: Array) -> nn.Parameter:
    """A float32 parameter with these values."""
    return nn.Parameter(torch.from_numpy(np.array(value, np.float32)))


# --- sums of products -------------------------------------------------------------------------------------------------


@op("Conv")
def _conv(walk: Walk, op: Op) -> None:
    weight = op.constant(1, "weight")
    if weight.ndim != 4:
        raise UnsupportedOpError(f"its weight has {weight.ndim} axes; known are convolutions of images")
    bias = op.constant(2, "bias") if op.has(2) else None
    c_out, c_in, *kernel = weight.shape
    stride, dilation, groups = op.integers("strides", (1, 1)), op.integers("dilations", (1, 1)), op.integer("group", 1)
    source = op.inputs[0]
    top, left, bottom, right = _pads(walk, op, (kernel[0], kernel[1]), stride, dilation)
    padding = (top, left)
    if top != bottom or left != right:
        padding, source = (0, 0), f"{op.outputs[0]}.padded"
        walk.emit_at(source, f"{op.path}_pad", nn.ZeroPad2d((left, right, top, bottom)), (op.inputs[0],))
    module = nn.Conv2d(
        c_in * groups, c_out, (kernel[0], kernel[1]), _two(stride), padding, _two(dilation), groups, bias=False
    )
    module.weight = parameter(weight)
    module.bias = None if bias is None else parameter(bias)
    walk.emit(op, module, (source,))


@op("Gemm")
def _gemm(walk: Walk, op: Op) -> None:
    matrix = op.constant(1, "matrix") * op.number("alpha", 1.0)
    if op.integer("transA", 0) or op.rank() != 2:
        raise UnsupportedOpError("its first input must be (batch, features), not transposed")
    bias = op.constant(2, "bias") * op.number("beta", 1.0) if op.has(2) else None
    _linear(walk, op, matrix if op.integer("transB", 0) else matrix.T, bias)


@op("MatMul")
def _matmul(walk: Walk, op: Op) -> None:
    matrix = op.constant(1, "matrix")
    if op.rank() != 2 or matrix.ndim != 2:
        raise UnsupportedOpError("known is (batch, features) times a constant matrix")
    _linear(walk, op, matrix.T, None)


def _linear(walk: Walk, op: Op, weight: Array, bias: Array | None) -> None:
    """`weight` is (features out, features in)."""
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    module.weight = parameter(weight)
    if bias is not None:
        module.bias = parameter(np.broadcast_to(bias.reshape(-1), weight.shape[0]))
    walk.emit(op, module, op.inputs[:1])


@op("Add", "Sum")
def _add(walk: Walk, op: Op) -> None:
    if len(op.inputs) != 2:
        raise UnsupportedOpError(f"it adds {len(op.inputs)} tensors; known is 2")
    constants = [name for name in op.inputs if name in walk.constants]
    if constants:
        _add_bias(walk, op, walk.constants[constants[0]])
        return
    a, b = (walk.examples[name] for name in op.inputs)
    if a.shape != b.shape:
        raise UnsupportedOpError(f"it adds tensors of shapes {tuple(a.shape)} and {tuple(b.shape)}")
    walk.emit(op, Add(), op.inputs)


def _add_bias(walk: Walk, op: Op, value: Array) -> None:
    """Put a constant per channel into the layer before, if nothing else reads what that layer makes."""
    source = next(name for name in op.inputs if name not in walk.constants)
    layer, example = walk.modules.get(source), walk.examples[source]
    channels = example.shape[1]
    per_channel = (1, channels) + (1,) * (example.ndim - 2)
    fits = value.size in (1, channels) and np.broadcast_shapes(value.shape, per_channel) == per_channel
    if not isinstance(layer, nn.Conv2d | nn.Linear) or not fits or walk.readers.get(source) != 1:
        raise UnsupportedOpError("it adds a constant elsewhere than as the bias of a layer")
    before = 0 if layer.bias is None else layer.bias.detach().numpy()
    layer.bias = parameter(np.broadcast_to(value.reshape(-1), channels) + before)
    walk.alias(op, source, example + torch.from_numpy(np.asarray(value, np.float32)))


# --- per element ------------------------------------------------------------------------------------------------------


@op("BatchNormalization")
def _batch_norm(walk: Walk, op: Op) -> None:
    if op.integer("training_mode", 0) or op.integer("spatial", 1) != 1:
        raise UnsupportedOpError("known is inference mode with statistics per channel")
    scale, bias, mean, var = (op.constant(i, what) for i, what in enumerate(("scale", "bias", "mean", "variance"), 1))
    cls = nn.BatchNorm2d if op.rank() == 4 else nn.BatchNorm1d
    # The attribute is the share of the old statistics, torch's argument that of the new ones.
    module = cls(scale.size, eps=op.number("epsilon", 1e-5), momentum=round(1 - op.number("momentum", 0.9), 6))
    module.weight, module.bias = parameter(scale), parameter(bias)
    module.running_mean, module.running_var = parameter(mean).data, parameter(var).data
    walk.emit(op, module, op.inputs[:1])


@op("Relu")
def _relu(walk: Walk, op: Op) -> None:
    walk.emit(op, nn.ReLU(), op.inputs)


@op("LeakyRelu")
def _leaky_relu(walk: Walk, op: Op) -> None:
    walk.emit(op, nn.LeakyReLU(op.number("alpha", 0.01)), op.inputs)


@op("PRelu")
def _prelu(walk: Walk, op: Op) -> None:
    slope = op.constant(1, "slope").reshape(-1)
    module = nn.PReLU(slope.size)
    module.weight = parameter(slope)
    walk.emit(op, module, op.inputs[:1])


@op("Clip")
def _clip(walk: Walk, op: Op) -> None:
    low, high = op.attrs.get("min"), op.attrs.get("max")
    low = float(op.constant(1, "minimum")) if op.has(1) else low
    high = float(op.constant(2, "maximum")) if op.has(2) else high
    if low == 0 and (high is None or high > 3e38):
        walk.emit(op, nn.ReLU(), op.inputs[:1])
    elif low is None or high is None:
        raise UnsupportedOpError(f"it clips to {low}..{high}; known are two bounds, or 0 and none")
    else:
        walk.emit(op, nn.Hardtanh(float(low), float(high)), op.inputs[:1])


@op("Softmax", "LogSoftmax")
def _softmax(walk: Walk, op: Op) -> None:
    axis = op.integer("axis", -1 if walk.opset >= 13 else 1)
    if op.rank() != 2 or axis not in (1, -1):
        raise UnsupportedOpError(f"it runs over axis {axis} of a tensor with {op.rank()} axes")
    walk.emit(op, nn.Softmax(1) if op.kind == "Softmax" else nn.LogSoftmax(1), op.inputs)


@op("Dropout")
def _dropout(walk: Walk, op: Op) -> None:
    ratio = float(op.constant(1, "ratio")) if op.has(1) else op.number("ratio", 0.5)
    walk.emit(op, nn.Dropout(ratio), op.inputs[:1])


@op("Identity")
def _identity(walk: Walk, op: Op) -> None:
    walk.alias(op, op.inputs[0])


@op("Cast")
def _cast(walk: Walk, op: Op) -> None:
    if op.integer("to", 0) not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE):
        raise UnsupportedOpError("it casts to something else than a float")
    walk.alias(op, op.inputs[0])


# --- pooling ----------------------------------------------------------------------------------------------------------


@op("MaxPool")
def _max_pool(walk: Walk, op: Op) -> None:
    if len(op.outputs) > 1 and op.outputs[1] in walk.readers:
        raise UnsupportedOpError("its indices are used")
    dilation = op.integers("dilations", (1, 1))
    kernel, stride, padding = _window(walk, op, dilation)
    ceil_mode = bool(op.integer("ceil_mode", 0))
    walk.emit(op, nn.MaxPool2d(kernel, stride, padding, _two(dilation), ceil_mode=ceil_mode), op.inputs)


@op("AveragePool")
def _average_pool(walk: Walk, op: Op) -> None:
    if set(op.integers("dilations", (1, 1))) != {1}:
        raise UnsupportedOpError("it is dilated")
    kernel, stride, padding = _window(walk, op, (1, 1))
    ceil_mode, count = bool(op.integer("ceil_mode", 0)), bool(op.integer("count_include_pad", 0))
    walk.emit(op, nn.AvgPool2d(kernel, stride, padding, ceil_mode, count), op.inputs)


@op("GlobalAveragePool")
def _global_average_pool(walk: Walk, op: Op) -> None:
    walk.emit(op, nn.AdaptiveAvgPool2d(1), op.inputs)


@op("GlobalMaxPool")
def _global_max_pool(walk: Walk, op: Op) -> None:
    walk.emit(op, nn.AdaptiveMaxPool2d(1), op.inputs)


@op("ReduceMean")
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


@op("Flatten")
def _flatten(walk: Walk, op: Op) -> None:
    if op.integer("axis", 1) not in (1, 1 - op.rank()):
        raise UnsupportedOpError(f"axis {op.integer('axis', 1)}; known is 1")
    walk.emit(op, nn.Flatten(1), op.inputs)


@op("Reshape", "Squeeze")
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


@op("Pad")
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


@op("Slice")
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


# --- windows ----------------------------------------------------------------------------------------------------------


def _two(values: tuple[int, ...]) -> tuple[int, int]:
    if len(values) != 2:
        raise UnsupportedOpError(f"{len(values)} spatial axes; known are 2")
    return values[0], values[1]


def _window(walk: Walk, op: Op, dilation: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Kernel, stride and padding of a pooling."""
    kernel, stride = op.integers("kernel_shape", ()), op.integers("strides", (1, 1))
    top, left, bottom, right = _pads(walk, op, _two(kernel), stride, dilation)
    if top != bottom or left != right:
        raise UnsupportedOpError(f"it pads {top}, {left}, {bottom}, {right}; known are equal amounts on opposite sides")
    return _two(kernel), _two(stride), (top, left)


def _pads(
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
