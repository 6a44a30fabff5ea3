"""ONNX Runtime as the opponent: fp32 and int8 sessions with preallocated tensors, so that only its work is timed."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.version_converter

from bincompress.bench.onnx_twin import OPSET
from bincompress.bench.timing import Run, clock_for, interleave
from bincompress.errors import UsageError

Array = npt.NDArray[Any]
_PER_CHANNEL_OPSET = 13  # the first whose DequantizeLinear has an axis
INT8_FORMATS = ("S8S8", "U8S8")


def require_onnxruntime() -> Any:
    """The onnxruntime module.

    Raises: UsageError saying how to install it.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError("bench compares with ONNX Runtime: pip install 'bincompress[bench]'") from error
    onnxruntime.set_default_logger_severity(3)
    return onnxruntime


def runner(model: onnx.ModelProto | bytes, threads: int, feeds: dict[str, Array]) -> Run:
    """A call that runs `model` once on `threads` threads; inputs and outputs stay where they are."""
    ort = require_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # between its turns it must not keep the cores busy that others are measured on
    options.add_session_config_entry("session.force_spinning_stop", "1")
    data = model if isinstance(model, bytes) else model.SerializeToString()
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    keep = {name: ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value)) for name, value in feeds.items()}
    for name, value in keep.items():
        binding.bind_ortvalue_input(name, value)
    for info in session.get_outputs():
        binding.bind_output(info.name)
    session.run_with_iobinding(binding)
    # from now on into the memory of this first run: shapes need not be known beforehand
    results = binding.get_outputs()
    for info, value in zip(session.get_outputs(), results, strict=True):
        binding.bind_ortvalue_output(info.name, value)
    run: Callable[[Any], None] = session.run_with_iobinding

    def once() -> None:
        run(binding)

    once.keep = (keep, results)  # type: ignore[attr-defined]
    return once


def image_input(model: onnx.ModelProto) -> str:
    """Name of the input that is no weight."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return next(str(found.name) for found in model.graph.input if found.name not in weights)


def fixed_batch(model: onnx.ModelProto) -> int | None:
    """How many images the model must be given at once, None where any number will do."""
    name = image_input(model)
    (found,) = (entry for entry in model.graph.input if entry.name == name)
    sizes = found.type.tensor_type.shape.dim
    return int(sizes[0].dim_value) if len(sizes) and sizes[0].HasField("dim_value") else None


def int8_model(model: onnx.ModelProto, images: Array, threads: int) -> tuple[bytes, str]:
    """`model` quantised to int8 by ONNX Runtime's own static quantisation, per channel, calibrated on `images`.

    Both activation types are made and the faster one of this machine is kept.
    Shapes: images (N, C, H, W) float32. Returns: the serialised model, and its format.
    """
    name = image_input(model)
    if any(found.domain == "" and found.version < _PER_CHANNEL_OPSET for found in model.opset_import):
        model = onnx.version_converter.convert_version(model, OPSET)
    models = {kind: _quantize(model, name, images, kind) for kind in INT8_FORMATS}
    feeds = {name: images[:1]}
    runs = {kind: runner(data, threads, feeds) for kind, data in models.items()}
    timings = interleave(runs, 10, 5.0, clock_for(threads))
    best = min(timings, key=lambda kind: timings[kind].median_us)
    return models[best], f"QDQ {best}, per channel"


def _quantize(model: onnx.ModelProto, name: str, images: Array, kind: str) -> bytes:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[dict[str, Array]] = iter([{name: image[None]} for image in images])

        def get_next(self) -> dict[str, Array] | None:
            return next(self.batches, None)

    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, str(source))
        quantize_static(
            str(source),
            str(target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8 if kind.startswith("S8") else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": kind.startswith("S8")},
        )
        return target.read_bytes()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice about its own preprocessing off the user's screen."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
