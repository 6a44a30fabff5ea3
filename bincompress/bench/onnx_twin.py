"""Program -> ONNX: a float program as it is, or the float twin of a 1-bit one.

The twin is the network one would run instead: the same convolutions with float32 weights, ReLU where the program has a
sign, every BatchNorm folded into the convolution before it or left out, no scaling maps. It does strictly less than the
float parent of the packed network does, so that it is the baseline that is hardest to beat. Its weights only have to be
of a sane size (+-1 times sqrt(2 / K)): its answers mean nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from bincompress.lower.check import MATRIX_OPS
from bincompress.lower.geometry import window
from bincompress.program import FLOAT_OPS, Node, Program, Step

Array = npt.NDArray[Any]
OPSET, IR_VERSION = 17, 8


def export_onnx(program: Program, *, twin: bool) -> onnx.ModelProto:
    """The model for one image, input `input` (1, C, H, W) float32, output `output` (1, features).

    `twin` false: exactly the program, which must be all float.
    """
    return _Exporter(program, twin).model()


def is_float(program: Program) -> bool:
    """Whether every operation has float weights, so that `export_onnx` needs no twin."""
    return all(node.op not in MATRIX_OPS or node.op in FLOAT_OPS for node in program.nodes)


class _Exporter:
    def __init__(self, program: Program, twin: bool) -> None:
        self.program, self.twin = program, twin
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.names: dict[int, str] = {program.input: "input"}
        self.flat: dict[str, bool] = {"input": False}  # tensor -> whether it is (1, features)
        self.rectified: set[str] = set()

    def model(self) -> onnx.ModelProto:
        for node in self.program.nodes:
            self._node(node)
        last = self._flattened(self.names[self.program.output])
        self.nodes.append(helper.make_node("Identity", [last], ["output"]))
        channels, high, wide = self.program.values[self.program.input].shape
        out = self.program.values[self.program.output].shape
        graph = helper.make_graph(
            self.nodes,
            "bincompress",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, channels, high, wide])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, int(np.prod(out))])],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        result = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="bincompress")
        result.ir_version = IR_VERSION
        onnx.checker.check_model(result)
        return result

    def _emit(self, op: str, inputs: list[str], *, flat: bool, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        self.flat[name] = flat
        return name

    def _constant(self, array: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(array)
        return name

    def _flattened(self, name: str) -> str:
        return name if self.flat[name] else self._emit("Flatten", [name], flat=True, axis=1)

    def _image(self, name: str, shape: tuple[int, int, int]) -> str:
        if not self.flat[name]:
            return name
        return self._emit("Reshape", [name, self._constant(np.array([1, *shape], np.int64))], flat=False)

    def _node(self, node: Node) -> None:
        if node.op == "act_scale" and self.twin:
            return
        main = self.names[node.inputs[0]]
        shape = self.program.values[node.inputs[0]].shape
        steps = list(node.steps)
        if node.op in MATRIX_OPS:
            y, steps = self._product(node, main, shape)
        elif node.op == "elementwise":
            y = main
        elif node.op == "flatten":
            y = self._flattened(main)
        else:
            y = self._windowed(node, self._image(main, shape))
        for step in steps:
            y = self._step(step, y)

    def _product(self, node: Node, main: str, shape: tuple[int, int, int]) -> tuple[str, list[Step]]:
        """Convolution or Gemm with the affines right behind it folded in; returns the steps that are left."""
        assert node.weight is not None
        weight = node.weight.astype(np.float64).transpose(0, 3, 1, 2)
        bias = np.zeros(len(weight))
        steps = list(node.steps)
        binarized = node.op not in FLOAT_OPS
        if binarized:
            weight = weight * np.sqrt(2 / node.k_bits)
        while steps and steps[0].op == "affine":
            params = steps.pop(0).params
            if not binarized:
                scale = params["scale"].astype(np.float64)
                weight, bias = weight * scale.reshape(-1, 1, 1, 1), bias * scale + params["bias"]
        bias_name = self._constant(bias.astype(np.float32))
        if node.op.endswith("dense"):
            matrix = self._constant(weight.reshape(len(weight), -1).astype(np.float32))
            return self._emit("Gemm", [self._flattened(main), matrix, bias_name], flat=True, transB=1), steps
        win = window(node)
        y = self._emit(
            "Conv",
            [self._image(main, shape), self._constant(weight.astype(np.float32)), bias_name],
            flat=False,
            kernel_shape=win.kernel,
            strides=win.stride,
            pads=win.padding,
            dilations=win.dilation,
            group=int(node.attrs["groups"]),
        )
        return y, steps

    def _windowed(self, node: Node, x: str) -> str:
        if node.op == "constant":
            factors = self._constant(np.asarray(node.attrs["factors"], np.float32)[None, None])
            return self._emit("Identity", [factors], flat=False)
        if node.op == "subsample_pad":
            return self._subsample(node, x)
        if node.op == "act_scale":
            magnitude = self._emit("Abs", [x], flat=False)
            x = self._emit("ReduceMean", [magnitude], flat=False, axes=[1], keepdims=1)
        win = window(node)
        if node.op == "avg_pool" and win.kernel == self.program.values[node.inputs[0]].shape[1:]:
            return self._emit("GlobalAveragePool", [x], flat=False)
        op = "MaxPool" if node.op == "max_pool" else "AveragePool"
        sizes: dict[str, Any] = {"kernel_shape": win.kernel, "strides": win.stride, "pads": win.padding}
        if op == "AveragePool":
            sizes["count_include_pad"] = int(node.attrs.get("count_include_pad", 1))
        return self._emit(op, [x], flat=False, **sizes)

    def _subsample(self, node: Node, x: str) -> str:
        stride = node.attrs["stride"]
        if stride != (1, 1):
            parts = [[0, 0], [np.iinfo(np.int64).max] * 2, [2, 3], list(stride)]
            x = self._emit("Slice", [x, *(self._constant(np.array(p, np.int64)) for p in parts)], flat=False)
        around = np.array([0, node.attrs["before"], 0, 0, 0, node.attrs["after"], 0, 0], np.int64)
        return self._emit("Pad", [x, self._constant(around)], flat=False) if around.any() else x

    def _step(self, step: Step, y: str) -> str:
        if step.op == "store":
            self.names[step.value] = y
        elif step.op in ("sign", "threshold"):
            self.names[step.value] = self._relu(y)
        elif step.op == "relu":
            y = self._relu(y)
        elif step.op == "hardtanh":
            bounds = [self._constant(np.array(bound, np.float32)) for bound in (-1, 1)]
            y = self._emit("Clip", [y, *bounds], flat=self.flat[y])
        elif step.op == "prelu":
            y = self._emit("PRelu", [y, self._per_channel(step.params["slope"], y)], flat=self.flat[y])
        elif step.op == "add":
            y = self._add(step, y)
        elif not self.twin:  # affine and mul_map
            y = self._scale(step, y)
        return y

    def _relu(self, y: str) -> str:
        if y not in self.rectified:
            y = self._emit("Relu", [y], flat=self.flat[y])
            self.rectified.add(y)
        return y

    def _add(self, step: Step, y: str) -> str:
        other = self.names[step.value]
        if self.flat[y] != self.flat[other]:
            shape = self.program.values[step.value].shape
            y, other = self._image(y, shape), self._image(other, shape)
        return self._emit("Add", [y, other], flat=self.flat[y])

    def _scale(self, step: Step, y: str) -> str:
        if step.op == "mul_map":
            return self._emit("Mul", [y, self._image(self.names[step.value], (1, 1, 1))], flat=self.flat[y])
        for op, parameter in (("Mul", "scale"), ("Add", "bias")):
            y = self._emit(op, [y, self._per_channel(step.params[parameter], y)], flat=self.flat[y])
        return y

    def _per_channel(self, array: Array, y: str) -> str:
        return self._constant(array if self.flat[y] else array.reshape(-1, 1, 1))
