"""One layer as ONNX, fp32 and int8: what a single kernel is measured against.

int8 is the bare quantised operator (QLinearConv, QLinearMatMul) from and to 8-bit tensors with the next layer's ReLU
folded in, so that no conversion from or to float is held against it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from bincompress.bench.onnx_twin import IR_VERSION, OPSET

Array = npt.NDArray[Any]
Shape = tuple[int, int, int]


def float_layer(weight: Array, shape: Shape, padding: int) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Convolution (weight (C_out, C_in, kh, kw)) or Gemm (weight (out, in)) with bias and ReLU, and an input for it."""
    rng = np.random.default_rng(0)
    constants = {"w": weight.astype(np.float32), "b": np.zeros(len(weight), np.float32)}
    if weight.ndim == 4:
        nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[padding] * 4)]
        x = rng.normal(size=(1, *shape)).astype(np.float32)
    else:
        nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)]
        x = rng.normal(size=(1, weight.shape[1])).astype(np.float32)
    nodes.append(helper.make_node("Relu", ["y"], ["out"]))
    return _model(nodes, constants, x, TensorProto.FLOAT), {"x": x}


def int8_layer(weight: Array, shape: Shape, padding: int, signed: bool) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """The same layer over 8-bit tensors; `signed` activations are S8S8, else U8S8."""
    kind = np.int8 if signed else np.uint8
    low, high = (-128, 128) if signed else (0, 256)
    rng = np.random.default_rng(0)
    zero = np.array(0, np.int8)
    constants = {
        "sx": np.float32(0.05),
        "zx": np.array(0, kind),
        "sw": np.full(len(weight), 0.01, np.float32),
        "zw": np.zeros(len(weight), np.int8),
        "sy": np.float32(0.5),
        "zy": np.array(low, kind),  # what is below zero is cut off: the ReLU costs nothing
    }
    quantized = rng.integers(-127, 128, weight.shape).astype(np.int8)
    if weight.ndim == 4:
        constants |= {"w": quantized, "b": np.zeros(len(weight), np.int32)}
        inputs = ["x", "sx", "zx", "w", "sw", "zw", "sy", "zy", "b"]
        nodes = [helper.make_node("QLinearConv", inputs, ["out"], pads=[padding] * 4)]
        x = rng.integers(low, high, (1, *shape)).astype(kind)
    else:
        constants |= {"w": np.ascontiguousarray(quantized.T), "sw": np.float32(0.01), "zw": zero}
        nodes = [helper.make_node("QLinearMatMul", ["x", "sx", "zx", "w", "sw", "zw", "sy", "zy"], ["out"])]
        x = rng.integers(low, high, (1, weight.shape[1])).astype(kind)
    dtype = TensorProto.INT8 if signed else TensorProto.UINT8
    return _model(nodes, constants, x, dtype), {"x": x}


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
