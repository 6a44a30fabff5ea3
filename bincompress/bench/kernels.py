"""`bench --kernels`: single layers of standard shapes, each a packed file of its own, against ONNX Runtime's layer.

Only the layer's node is timed, by the library's own profile; for ONNX Runtime the whole call is, and its model has that
one layer, so a call's overhead (about 5 us) is held against it: compare shapes that take much longer.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bincompress.bench.baselines import runner
from bincompress.bench.machine import cpu_name, pinned
from bincompress.bench.network import kind_of, packed_runner
from bincompress.bench.single_ops import float_layer, int8_layer
from bincompress.bench.timing import ROUNDS, Run, interleave
from bincompress.pack.writer import write_packed
from bincompress.program import BINARY_OPS, FLOAT_OPS, Node, Program, Step, Value
from bincompress.runtime import native
from bincompress.runtime.session import Session, load

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Layer:
    """One row: `size` pixels square (0: dense) of `channels`, to as many filters."""

    op: str
    size: int
    channels: int
    kernel: int
    output: str  # bits or float

    @property
    def shape(self) -> str:
        """As users write it."""
        return f"{self.size}x{self.size}x{self.channels}" if self.size else f"{self.channels}x{self.channels}"


_WARM_UP = 3  # calls that `interleave` makes before it measures
IMAGES = ((56, 64), (28, 128), (14, 256), (7, 512))
LAYERS = tuple(
    [Layer("binary_conv2d", size, channels, 3, output) for output in ("bits", "float") for size, channels in IMAGES]
    + [Layer(op, size, channels, 3, "float") for op in ("weight_conv2d", "conv2d") for size, channels in IMAGES]
    + [Layer("binary_dense", 0, 4096, 1, output) for output in ("bits", "float")]
    + [Layer(op, 0, 4096, 1, "float") for op in ("weight_dense", "dense")]
)


def bench_kernels(
    *, isa: str | None = None, threads: int = 1, rounds: int = ROUNDS, layers: tuple[Layer, ...] = LAYERS
) -> dict[str, Any]:
    """Time every layer of `layers` on one instruction set (None: the best of this machine).

    Returns: the keys of `bench --kernels --json`.
    """
    name = isa or native.isa_names()[-1]
    with pinned(threads) as is_pinned:
        peaks = {kind: native.measure_peak(name, kind) * threads for kind in native.PEAKS}
        rows = [_row(layer, name, threads, rounds, peaks) for layer in layers]
    return {
        "isa": name,
        "threads": threads,
        "cpu": cpu_name(),
        "pinned": is_pinned,
        "roofline": {"peak_gmacs": peaks["binary"], **{f"{kind}_gmacs": peak for kind, peak in peaks.items()}},
        "kernels": rows,
    }


def layer_program(layer: Layer) -> Program:
    """The layer as a program from one float input; a sign in front where it reads bits."""
    rng = np.random.default_rng(0)
    high = max(layer.size, 1)
    shape = (layer.channels, high, high)
    values = [Value("x", "f32", shape)]
    nodes: list[Node] = []
    main = 0
    if layer.op in BINARY_OPS:
        values.append(Value("signs", "bits", shape))
        nodes.append(Node("elementwise", "signs", (0,), (1,), {}, None, (Step("sign", 1),)))
        main = 1
    size = (layer.channels, layer.kernel, layer.kernel, layer.channels)
    if layer.op in FLOAT_OPS:
        weight: Array = (rng.normal(size=size) / np.sqrt(np.prod(size[1:]))).astype(np.float32)
    else:
        weight = np.where(rng.random(size) < 0.5, -1, 1).astype(np.int8)
    pad = layer.kernel // 2
    attrs = {"kernel": (layer.kernel,) * 2, "stride": (1, 1), "padding": (pad,) * 4, "dilation": (1, 1), "groups": 1}
    attrs["pad_value"] = 0
    out = main + 1
    values.append(Value("y", "bits" if layer.output == "bits" else "f32", shape))
    steps = tuple(_epilogue(layer, out))
    nodes.append(Node(layer.op, layer.op, (main,), (out,), attrs, weight, steps))
    return Program(tuple(values), tuple(nodes), 0, out)


def _epilogue(layer: Layer, out: int) -> Iterator[Step]:
    if layer.output == "bits":
        yield Step("threshold", out, {"tau": np.zeros(layer.channels, np.int32)})
        return
    ones = np.ones(layer.channels, np.float32)
    yield Step("affine", -1, {"scale": ones, "bias": 0 * ones})
    yield Step("relu")
    yield Step("store", out)


def _row(layer: Layer, isa: str, threads: int, rounds: int, peaks: dict[str, float]) -> dict[str, Any]:
    program = layer_program(layer)
    node = program.nodes[-1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.gguf"
        write_packed(program, path)
        model = load(path)
        x = np.random.default_rng(1).normal(size=(1, *model.input_shape)).astype(np.float32)
        with model.session(threads, 1, isa, profile=True) as session:
            times: list[int] = []
            contenders = {"packed": _timed(session, packed_runner(session, x), times), **_opponents(layer, threads)}
            timings = interleave(contenders, rounds)
    median_us = statistics.median(times[_WARM_UP:]) / 1e3
    macs = program.macs(node)
    gmacs = macs / (median_us * 1e3)
    kind = kind_of(layer.op)
    fp32 = timings["onnxruntime-fp32"].median_us
    int8 = min(timings[name].median_us for name in timings if name.startswith("onnxruntime-int8"))
    return {
        "op": layer.op,
        "kernel": f"{layer.kernel}x{layer.kernel}" if layer.size else "dense",
        "isa": isa,
        "shape": layer.shape,
        "output": layer.output,
        "batch": 1,
        "macs": macs,
        "median_us": median_us,
        "gmacs": gmacs,
        "of_peak": gmacs / peaks[kind] if kind and peaks[kind] else None,
        "onnxruntime_fp32_us": fp32,
        "onnxruntime_int8_us": int8,
        "vs_onnxruntime_fp32": fp32 / median_us,
        "vs_onnxruntime_int8": int8 / median_us,
        "rounds": timings["packed"].rounds,
    }


def _timed(session: Session, run: Run, times: list[int]) -> Run:
    """`run`, noting what the last node took."""
    last = len(session.model.nodes) - 1

    def once() -> None:
        run()
        times.append(session.node_ns()[last])

    return once


def _opponents(layer: Layer, threads: int) -> dict[str, Run]:
    size = (layer.channels, layer.channels) + ((layer.kernel,) * 2 if layer.size else ())
    weight = np.random.default_rng(0).normal(size=size)
    shape, pad = (layer.channels, layer.size, layer.size), layer.kernel // 2
    found = {"onnxruntime-fp32": runner(*_with_threads(float_layer(weight, shape, pad), threads))}
    for signed in (True, False):
        name = "onnxruntime-int8-" + ("s8s8" if signed else "u8s8")
        found[name] = runner(*_with_threads(int8_layer(weight, shape, pad, signed), threads))
    return found


def _with_threads(layer: tuple[Any, dict[str, Array]], threads: int) -> tuple[Any, int, dict[str, Array]]:
    return layer[0], threads, layer[1]
