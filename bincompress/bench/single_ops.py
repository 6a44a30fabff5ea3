"""One layer as ONNX, fp32 and int8: what a single kernel is measured against.

int8 is the bare quantised operator (QLinearConv, QLinearMatMul) from and to 8-bit tensors with the next layer's ReLU
folded in, so that no conversion from or to float is held against it. Dense layers with few bits per weight have a
contender of their own, MatMulNBits from and to floats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from bincompress.bench.layers import Layer
from bincompress.bench.onnx_twin import IR_VERSION, OPSET

Array = npt.NDArray[Any]


def float_layer(layer: Layer) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Convolution or Gemm with bias and ReLU, and an input for it."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=_onnx_shape(layer)).astype(np.float32)
    constants = {"w": weight, "b": np.zeros(layer.out_channels, np.float32)}
    op = "Conv" if layer.size else "Gemm"
    attributes: dict[str, Any] = _window(layer) if layer.size else {"transB": 1}
    nodes = [
        helper.make_node(op, ["x", "w", "b"], ["y"], **attributes),
        helper.make_node("Relu", ["y"], ["out"]),
    ]
    x = rng.normal(size=_input_shape(layer)).astype(np.float32)
    return _model(nodes, constants, x, TensorProto.FLOAT), {"x": x}


def few_bits_layer(layer: Layer, bits: int) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A dense layer by MatMulNBits: weights of `bits` bits, a scale per 128 of them, products of 8-bit integers."""
    rng, block = np.random.default_rng(0), 128
    inputs, filters = layer.channels, layer.out_channels
    blocks = -(-inputs // block)
    constants = {
        "w": rng.integers(0, 256, (filters, blocks, block * bits // 8)).astype(np.uint8),
        "s": np.full(filters * blocks, 0.01, np.float32),
    }
    attributes: dict[str, Any] = {"K": inputs, "N": filters, "bits": bits, "block_size": block, "accuracy_level": 4}
    node = helper.make_node("MatMulNBits", ["x", "w", "s"], ["out"], domain="com.microsoft", **attributes)
    x = rng.normal(size=_input_shape(layer)).astype(np.float32)
    model = _model([node], constants, x, TensorProto.FLOAT)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model, {"x": x}


def int8_layer(layer: Layer, signed: bool) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """The same layer over 8-bit tensors; `signed` activations are S8S8, else U8S8."""
    kind = np.int8 if signed else np.uint8
    low, high = (-128, 128) if signed else (0, 256)
    rng = np.random.default_rng(0)
    filters = layer.out_channels
    constants = {
        "sx": np.float32(0.05),
        "zx": np.array(0, kind),
        "sw": np.full(filters, 0.01, np.float32),
        "zw": np.zeros(filters, np.int8),
        "sy": np.float32(0.5),
        "zy": np.array(low, kind),  # what is below zero is cut off: the ReLU costs nothing
    }
    quantized = rng.integers(-127, 128, _onnx_shape(layer)).astype(np.int8)
    if layer.size:
        constants |= {"w": quantized, "b": np.zeros(filters, np.int32)}
        inputs = ["x", "sx", "zx", "w", "sw", "zw", "sy", "zy", "b"]
        nodes = [helper.make_node("QLinearConv", inputs, ["out"], **_window(layer))]
    else:
        zero = np.array(0, np.int8)
        constants |= {"w": np.ascontiguousarray(quantized.T), "sw": np.float32(0.01), "zw": zero}
        nodes = [helper.make_node("QLinearMatMul", ["x", "sx", "zx", "w", "sw", "zw", "sy", "zy"], ["out"])]
    x = rng.integers(low, high, _input_shape(layer)).astype(kind)
    return _model(nodes, constants, x, TensorProto.INT8 if signed else TensorProto.UINT8), {"x": x}


def _onnx_shape(layer: Layer) -> tuple[int, ...]:
    """Of its weights: (out, in) or (C_out, C_in / groups, kh, kw)."""
    filters, high, wide, channels = layer.weight_shape
    return (filters, channels, high, wide) if layer.size else (filters, channels)


def _input_shape(layer: Layer) -> tuple[int, ...]:
    return (layer.batch, layer.channels) + ((layer.size, layer.size) if layer.size else ())


def _window(layer: Layer) -> dict[str, Any]:
    return {"pads": [layer.kernel // 2] * 4, "strides": [layer.stride] * 2, "group": layer.groups}


def _model(nodes: list[onnx.NodeProto], constants: dict[str, Any], x: Array, dtype: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", dtype, x.shape)],
        [helper.make_tensor_value_info("out", dtype, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="bincompress")
    model.ir_version = IR_VERSION
    return model
