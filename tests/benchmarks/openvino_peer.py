"""OpenVINO's binary convolution as a contender: the only maintained one on x86 CPUs.

Its traps: only a chain of layers runs on bits, because the quantisation before and behind a layer is not fused into a
single one; FakeQuantize must give 0 and 1, not -1 and 1 (wrong results, no message); padding is by +1 or -1, never by
zero, so its sums at the border are not those of a float network. What is timed is the median node of a chain of layers,
thresholds fused, by OpenVINO's own profile.
"""

from __future__ import annotations

import importlib
import importlib.util
import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np

from bincompress.bench.kernels import Contender
from bincompress.bench.layers import Layer
from bincompress.program import BINARY_OPS

CHAIN = 6  # layers, bits to bits, behind each other
_KINDS = ("Convolution", "BinaryConvolution")


def available() -> bool:
    """Whether `openvino` is installed."""
    return importlib.util.find_spec("openvino") is not None


def version() -> str:
    """Of the installed package."""
    return str(importlib.import_module("openvino").__version__).split("-")[0]


def peers(layer: Layer, threads: int) -> Mapping[str, Contender]:
    """The contender for a layer from bits to bits of one sample; none for others."""
    if layer.op not in BINARY_OPS or layer.input != "bits" or layer.output != "bits" or layer.batch > 1:
        return {}
    request = _compile(_chain(layer), threads)
    shape = (1, layer.channels, max(layer.size, 1), max(layer.size, 1))
    request.set_input_tensor(
        importlib.import_module("openvino").Tensor(np.random.default_rng(1).normal(size=shape).astype(np.float32))
    )
    own: list[float] = []

    def once() -> None:
        request.infer()
        nodes = [node for node in request.profiling_info if node.node_type in _KINDS]
        assert len(nodes) == CHAIN + 1, [node.node_type for node in nodes]
        own.append(statistics.median(node.real_time.total_seconds() for node in nodes[:CHAIN]) * 1e6)

    return {"openvino": Contender(once, own)}


def _chain(layer: Layer) -> Any:
    ov, ops = importlib.import_module("openvino"), importlib.import_module("openvino.opset8")
    convolution = importlib.import_module("openvino.opset1").binary_convolution
    rng = np.random.default_rng(0)
    channels, window, pad = layer.channels, layer.kernel, layer.kernel // 2

    def bits(x: Any, thresholds: Any) -> Any:
        limits = [ops.constant(thresholds.astype(np.float32).reshape(1, -1, 1, 1)) for _ in range(2)]
        zero, one = (ops.constant(np.full((1, 1, 1, 1), value, np.float32)) for value in (0, 1))
        return ops.fake_quantize(x, *limits, zero, one, 2)

    def product(x: Any) -> Any:
        packed = rng.integers(0, 256, channels * channels * window**2 // 8, dtype=np.uint8)
        weight = ov.op.Constant(ov.Tensor(packed, ov.Shape([channels, channels, window, window]), ov.Type.u1))
        return convolution(x, weight, [1, 1], [pad, pad], [pad, pad], [1, 1], "xnor-popcount", -1.0, "explicit")

    size = max(layer.size, 1)
    x = ops.parameter([1, channels, size, size], np.float32)
    y = bits(x, np.zeros(channels))
    for _ in range(CHAIN):
        y = bits(product(y), rng.integers(-20, 20, channels) + 0.5)
    return ov.Model([ops.result(product(y))], [x])  # the last layer gives floats, and is not counted


def _compile(model: Any, threads: int) -> Any:
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
        "PERF_COUNT": True,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return importlib.import_module("openvino").Core().compile_model(model, "CPU", options).create_infer_request()
