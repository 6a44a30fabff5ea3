"""The second half of a conversion: checkpoint to packed file, verified and measured before it gets its name."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

from bincompress import __version__
from bincompress.checkpoint import Checkpoint
from bincompress.data import Split, default_normalize
from bincompress.errors import UsageError
from bincompress.evaluate import accuracy_of_graph, accuracy_of_packed
from bincompress.gates import check_gates
from bincompress.graph import FloatModel
from bincompress.lower.emulate import normalize_pixels
from bincompress.lower.freeze import deploy
from bincompress.lower.lowering import lower
from bincompress.pack.writer import write_packed
from bincompress.plan import Plan
from bincompress.program import I8_OPS, Activations, Normalize, Program
from bincompress.recipe import Recipe
from bincompress.report import Reporter
from bincompress.runtime.session import load
from bincompress.verify import require_parity, verify

Result = dict[str, Any]
Array = npt.NDArray[Any]
VERIFY_SAMPLES = 512
NOISE_SAMPLES = 64  # noise exercises every layer, and says nothing about accuracy


def check_exportable(graph: fx.GraphModule, recipe: Recipe, model: FloatModel) -> None:
    """Refuse a network that has no exact packed form before it is trained.

    Raises: LoweringError or UnsupportedOpError naming the layer.
    """
    lower(deploy(graph, recipe.export.activations), model.input_shape, model.normalize)


def export_checkpoint(checkpoint: Checkpoint, target: Path, val: Split | None, reporter: Reporter) -> Result:
    """Write `target` from a finished checkpoint; it appears only if it computes exactly what was trained.

    Returns: output, bytes, float_bytes, compression, layers, accuracy, verify, gates, notes.
    Raises: ParityError, LoweringError, PackError; then `target` is not there, or still what it was.
    """
    activations = checkpoint.recipe.export.activations
    program = lower(deploy(checkpoint.graph, activations), checkpoint.input_shape, checkpoint.normalize)
    if checkpoint.classes and len(checkpoint.classes) != program.values[program.output].shape[0]:
        checkpoint = replace(checkpoint, classes=None)  # the data's classes, of which the network has fewer or more
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.absolute().parent) as folder:
        packed = Path(folder) / "packed.gguf"
        write_packed(program, packed, _meta(checkpoint, {}))
        reporter.stage("verifying the packed file, layer by layer")
        found = compare(packed, checkpoint, val, VERIFY_SAMPLES, 1, None)
        require_parity(found, target)
        accuracy = dict(checkpoint.accuracy)
        if val is not None:
            reporter.stage(f"accuracy of the packed file on {val.name}")
            accuracy["binary"] = accuracy_of_packed(load(packed), val)["top1"]
            if accuracy["float"] is None and checkpoint.teacher is not None:
                accuracy["float"] = accuracy_of_graph(checkpoint.teacher, val, checkpoint.normalize)["top1"]
        write_packed(program, packed, _meta(checkpoint, accuracy))
        size = packed.stat().st_size
        os.replace(packed, target)
    notes = (*checkpoint.notes, *_real_weights_note(accuracy))
    float_bytes = network_bytes(checkpoint.teacher or checkpoint.graph)
    plan = Plan.from_json(checkpoint.plan, checkpoint.recipe.method)
    before, after = accuracy["float"], accuracy["binary"]
    measured: dict[str, float | int | None] = {
        "max_drop": None if before is None or after is None else before - after,
        "min_accuracy": after,
        "max_bytes": size,
        "max_float_macs": plan.float_macs,
    }
    if checkpoint.recipe.gates.min_speedup is not None:
        reporter.stage("measuring speed against ONNX Runtime fp32")
        measured["min_speedup"] = _speedup(target, checkpoint)
    return {
        "output": str(target),
        "bytes": size,
        "float_bytes": float_bytes,
        "compression": float_bytes / size,
        "layers": plan.to_json(),
        "accuracy": accuracy,
        "verify": found,
        "gates": check_gates(checkpoint.recipe, measured),
        "notes": list(dict.fromkeys((*notes, *_activation_notes(program, activations)))),
    }


def _real_weights_note(accuracy: dict[str, float | None]) -> tuple[str, ...]:
    """What networks trained on sampled signs lose against the real weights that their paper tests."""
    real, packed = accuracy.get("real_weights"), accuracy["binary"]
    if real is None or packed is None:
        return ()
    return (
        f"accuracy with the real weights, as the paper tests: {real:.2%}; this file, with their signs: {packed:.2%} "
        f"({packed - real:+.2%})",
    )


def _activation_notes(program: Program, activations: Activations) -> tuple[str, ...]:
    """Why a recipe that asks for 8-bit activations gets none."""
    if activations == "float" or any(node.op in I8_OPS for node in program.nodes):
        return ()
    return ("export.activations: int8 changes nothing here: no layer has 1-bit weights and float activations",)


def _speedup(packed: Path, checkpoint: Checkpoint) -> float:
    """How many times faster than ONNX Runtime fp32 on the float network, or on its twin if that is not at hand."""
    from bincompress.bench.network import bench_network
    from bincompress.bench.onnx_twin import export_onnx

    baseline = None
    if checkpoint.teacher is not None:
        program = lower(deploy(checkpoint.teacher), checkpoint.input_shape, checkpoint.normalize)
        baseline = export_onnx(program, twin=False)
    return float(bench_network(packed, baseline=baseline)["baselines"]["onnxruntime-fp32"]["speedup"])


def compare(
    packed: str | Path,
    source: Checkpoint | FloatModel,
    split: Split | None,
    samples: int,
    threads: int,
    isa: str | None,
) -> Result:
    """Compare a packed file with the checkpoint it was made from, layer by layer, or with any float model, end to end.

    Returns: what `verify --json` prints; for a float model nothing is known of integers, and `layers` is empty.
    """
    normalize = source.normalize or (default_normalize(split.name) if split else None)
    images = verification_images(source.input_shape, normalize, split, samples)
    if isinstance(source, Checkpoint):
        return verify(packed, source.graph, images, threads=threads, isa=isa)
    x = normalize_pixels(images, normalize) if images.dtype == np.uint8 else images
    with torch.inference_mode():
        expected = source.graph.eval()(torch.from_numpy(x)).flatten(1).numpy()
    with load(packed).session(threads=threads, isa=isa) as session:
        got = session(images)
    if got.shape != expected.shape:
        raise UsageError(
            f"{source.source}: answers with {expected.shape[1]} numbers, {packed} with {got.shape[1]}; compare it with "
            "the network that it was made from"
        )
    return {
        "samples": len(images),
        "integer_mismatches": None,
        "boundary_flips": None,
        "max_abs_diff": float(np.abs(got - expected).max()),
        "top1_agreement": float((got.argmax(1) == expected.argmax(1)).mean()),
        "layers": [],
    }


def verification_images(
    input_shape: tuple[int, int, int], normalize: Normalize | None, split: Split | None, samples: int
) -> Array:
    """Images (N, C, H, W): the first of `split`, else fixed noise; uint8 pixels where they can be normalised."""
    if split is not None:
        return split.images[:samples]
    generator = np.random.default_rng(0)
    shape = (min(samples, NOISE_SAMPLES), *input_shape)
    if normalize is None:
        return generator.standard_normal(shape, dtype=np.float32)
    return generator.integers(0, 256, shape, dtype=np.uint8)


def network_bytes(graph: nn.Module) -> int:
    """Size of a network's weights and BatchNorm statistics as float32."""
    floats = (tensor for tensor in graph.state_dict().values() if tensor.is_floating_point())
    return sum(4 * int(tensor.numel()) for tensor in floats)


def _meta(checkpoint: Checkpoint, accuracy: dict[str, float | None]) -> dict[str, Any]:
    """What the file says of itself; no paths, times or host names, so that the same input gives the same bytes."""
    meta: dict[str, Any] = {
        "version": __version__,
        "torch_version": torch.__version__,
        "source": checkpoint.source,
        "source_sha256": checkpoint.sha256,
        "recipe": checkpoint.recipe.to_yaml(),
    }
    meta |= {f"accuracy.{name}": f"{value:.6f}" for name, value in accuracy.items() if value is not None}
    if checkpoint.classes:
        meta["classes"] = checkpoint.classes
    return meta
