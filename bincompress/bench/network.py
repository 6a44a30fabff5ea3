"""`bench PACKED`: a whole packed network against ONNX Runtime fp32 and int8, in one interleaved run."""

from __future__ import annotations

import os
import statistics
from ctypes import byref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from bincompress import native
from bincompress.bench.baselines import fixed_batch, image_input, int8_model, runner
from bincompress.bench.machine import cpu_name, pinned
from bincompress.bench.onnx_twin import export_onnx, is_float
from bincompress.bench.timing import ROUNDS, Run, clock_for, interleave
from bincompress.errors import ModelLoadError, UsageError
from bincompress.lower.emulate import normalize_pixels
from bincompress.pack.reader import read_packed
from bincompress.program import BINARY_OPS, FLOAT_OPS, I8_OPS, U8_OPS, WEIGHT_OPS
from bincompress.runtime.session import Model, Session, load

Array = npt.NDArray[Any]
TWIN = "float twin of the packed graph: same convolutions, signs as ReLU, BatchNorm folded"
_CALIBRATION_IMAGES = 16


def bench_network(
    packed: str | os.PathLike[str],
    *,
    baseline: onnx.ModelProto | None = None,
    baseline_name: str = TWIN,
    images: Array | None = None,
    threads: int = 1,
    isa: str | None = None,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Time one image through a packed file and through the baseline on the same cores.

    `baseline` is a float ONNX model (see `load_baseline`), None the twin of the packed graph. `images` (N, C, H, W)
    uint8 calibrate int8; random ones otherwise.
    Returns: the keys of `bench --json`.
    """
    model = load(packed)
    opponent = baseline if baseline is not None else _twin(packed)
    pixels = images if images is not None else _random_pixels(model)
    floats = normalize_pixels(pixels[:_CALIBRATION_IMAGES], model.normalize) if model.normalize else _gaussian(model)
    with pinned(threads) as is_pinned:
        quantized, int8_format = int8_model(opponent, floats, threads)
        feeds = {image_input(opponent): floats[:1]}
        one = pixels[:1] if model.normalize else floats[:1]
        with model.session(threads, 1, isa) as session:
            used = session.isa
            contenders: dict[str, Run] = {
                "packed": packed_runner(session, one),
                "onnxruntime-fp32": runner(opponent, threads, feeds),
                "onnxruntime-int8": runner(quantized, threads, feeds),
            }
            timings = interleave(contenders, rounds, clock=clock_for(threads))
        peaks = {kind: native.measure_peak(used, kind) * threads for kind in native.PEAKS}
        with model.session(threads, 1, isa, profile=True) as session:
            layers = layer_rows(model, session, packed_runner(session, one), peaks, rounds)
    ours = timings.pop("packed")
    rows: dict[str, dict[str, Any]] = {
        name: {"median_us": found.median_us, "min_us": found.min_us, "speedup": found.median_us / ours.median_us}
        for name, found in timings.items()
    }
    rows["onnxruntime-int8"]["format"] = int8_format
    return {
        "isa": used,
        "threads": threads,
        "cpu": cpu_name(),
        "pinned": is_pinned,
        "rounds": ours.rounds,
        "packed": {"median_us": ours.median_us, "min_us": ours.min_us},
        "baseline": baseline_name,
        "baselines": rows,
        "roofline": {"peak_gmacs": peaks["binary"], **{f"{kind}_gmacs": peak for kind, peak in peaks.items()}},
        "layers": layers,
    }


def load_baseline(
    path: str | Path,
    *,
    factory: str | None = None,
    trust: bool = False,
    input_shape: tuple[int, int, int] | None = None,
) -> onnx.ModelProto:
    """A float model as ONNX: an ONNX file for single images as it is, anything else imported and exported.

    Raises: LoadError if it cannot be read, UsageError if it is not a float network.
    """
    if Path(path).suffix == ".onnx":
        try:
            model = onnx.load(os.fspath(path))
        except Exception as error:  # onnx raises protobuf's own errors, of no common class
            raise ModelLoadError(f"{path}: not a readable ONNX file: {error}") from error
        if fixed_batch(model) in (None, 1):
            return model
    from bincompress.load import load_model
    from bincompress.lower import deploy, lower

    found = load_model(path, factory=factory, trust=trust, input_shape=input_shape)
    program = lower(deploy(found.graph), found.input_shape, found.normalize)
    if not is_float(program):
        raise UsageError(f"{path}: a baseline must be a float model")
    return export_onnx(program, twin=False)


def packed_runner(session: Session, x: Array) -> Run:
    """A call that runs `session` once on `x` (N, C, H, W) without any Python-side conversion."""
    data = np.ascontiguousarray(x)
    out = np.empty(len(data) * int(np.prod(session.model.output_shape)), np.float32)
    dtype = native.U8 if data.dtype == np.uint8 else native.F32
    given, error = native.BcInput(data.ctypes.data, dtype, native.NCHW), native.BcError()
    arguments = (session.handle, byref(given), len(data), native.floats(out), byref(error))
    function = native.library().bc_session_run

    def run() -> None:
        if function(*arguments):
            native.check(session.model.path, error.code)

    run.keep = (data, out, session)  # type: ignore[attr-defined]
    return run


def layer_rows(
    model: Model, session: Session, run: Run, peaks: dict[str, float], rounds: int = ROUNDS
) -> list[dict[str, Any]]:
    """Median time of every node of a profiled session, and which share of its peak it reaches."""
    run()
    samples = []
    for _ in range(max(rounds, 20)):
        run()
        samples.append(session.node_ns())
    rows = []
    for index, node in enumerate(model.nodes):
        median_us = statistics.median(sample[index] for sample in samples) / 1e3
        gmacs = node.macs / (median_us * 1e3) if node.macs and median_us else 0.0
        peak = peaks.get(kind_of(node.op) or "", 0.0)
        rows.append(
            {
                "name": node.name,
                "op": node.op,
                "macs": node.macs,
                "median_us": median_us,
                "gmacs": gmacs,
                "of_peak": gmacs / peak if peak else None,
            }
        )
    return rows


def kind_of(op: str) -> str | None:
    """Which of the peaks bounds `op`; None for ops that multiply nothing."""
    families = {"binary": BINARY_OPS, "weight": WEIGHT_OPS, "i8": I8_OPS, "u8": U8_OPS, "f32": FLOAT_OPS}
    return next((kind for kind, ops in families.items() if op in ops), None)


def _twin(packed: str | os.PathLike[str]) -> onnx.ModelProto:
    program, _ = read_packed(packed)
    return export_onnx(program, twin=not is_float(program))


def _random_pixels(model: Model) -> Array:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (_CALIBRATION_IMAGES, *model.input_shape)).astype(np.uint8)


def _gaussian(model: Model) -> Array:
    rng = np.random.default_rng(0)
    return rng.normal(size=(_CALIBRATION_IMAGES, *model.input_shape)).astype(np.float32)
