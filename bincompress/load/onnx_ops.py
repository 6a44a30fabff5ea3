"""Sums of products and operations per element, one function for each ONNX operation: from a node to layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from torch import nn

from bincompress.errors import UnsupportedOpError
from bincompress.graph import Add
from bincompress.load.onnx_node import Array, Op, pads, parameter, two
from bincompress.load.rules import registrar

if TYPE_CHECKING:
    from bincompress.load.onnx_ import Walk

OnnxRule = Callable[["Walk", Op], None]

OPS: dict[str, OnnxRule] = {}
_op = registrar(OPS)


# --- sums of products -------------------------------------------------------------------------------------------------


@_op("Conv")
def _conv(walk: Walk, op: Op) -> None:
    weight = op.constant(1, "weight")
    if weight.ndim != 4:
        raise UnsupportedOpError(f"its weight has {weight.ndim} axes; known are convolutions of images")
    bias = op.constant(2, "bias") if op.has(2) else None
    c_out, c_in, *kernel = weight.shape
    stride, dilation, groups = op.integers("strides", (1, 1)), op.integers("dilations", (1, 1)), op.integer("group", 1)
    source = op.inputs[0]
    top, left, bottom, right = pads(walk, op, (kernel[0], kernel[1]), stride, dilation)
    padding = (top, left)
    if top != bottom or left != right:
        padding, source = (0, 0), f"{op.outputs[0]}.padded"
        walk.emit_at(source, f"{op.path}_pad", nn.ZeroPad2d((left, right, top, bottom)), (op.inputs[0],))
    module = nn.Conv2d(
        c_in * groups, c_out, (kernel[0], kernel[1]), two(stride), padding, two(dilation), groups, bias=False
    )
    module.weight = parameter(weight)
    module.bias = None if bias is None else parameter(bias)
    walk.emit(op, module, (source,))


@_op("Gemm")
def _gemm(walk: Walk, op: Op) -> None:
    matrix = op.constant(1, "matrix") * op.number("alpha", 1.0)
    if op.integer("transA", 0) or op.rank() != 2:
        raise UnsupportedOpError("its first input must be (batch, features), not transposed")
    bias = op.constant(2, "bias") * op.number("beta", 1.0) if op.has(2) else None
    _linear(walk, op, matrix if op.integer("transB", 0) else matrix.T, bias)


@_op("MatMul")
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


@_op("Add", "Sum")
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


@_op("BatchNormalization")
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


@_op("Relu")
def _relu(walk: Walk, op: Op) -> None:
    walk.emit(op, nn.ReLU(), op.inputs)


@_op("LeakyRelu")
def _leaky_relu(walk: Walk, op: Op) -> None:
    walk.emit(op, nn.LeakyReLU(op.number("alpha", 0.01)), op.inputs)


@_op("PRelu")
def _prelu(walk: Walk, op: Op) -> None:
    slope = op.constant(1, "slope").reshape(-1)
    module = nn.PReLU(slope.size)
    module.weight = parameter(slope)
    walk.emit(op, module, op.inputs[:1])


@_op("Clip")
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


@_op("Softmax", "LogSoftmax")
def _softmax(walk: Walk, op: Op) -> None:
    axis = op.integer("axis", -1 if walk.opset >= 13 else 1)
    if op.rank() != 2 or axis not in (1, -1):
        raise UnsupportedOpError(f"it runs over axis {axis} of a tensor with {op.rank()} axes")
    walk.emit(op, nn.Softmax(1) if op.kind == "Softmax" else nn.LogSoftmax(1), op.inputs)


@_op("Dropout")
def _dropout(walk: Walk, op: Op) -> None:
    ratio = float(op.constant(1, "ratio")) if op.has(1) else op.number("ratio", 0.5)
    walk.emit(op, nn.Dropout(ratio), op.inputs[:1])


@_op("Identity")
def _identity(walk: Walk, op: Op) -> None:
    walk.alias(op, op.inputs[0])


@_op("Cast")
def _cast(walk: Walk, op: Op) -> None:
    if op.integer("to", 0) not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE):
        raise UnsupportedOpError("it casts to something else than a float")
    walk.alias(op, op.inputs[0])
