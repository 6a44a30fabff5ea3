"""Proof that a packed file computes what was trained: layer by layer on the reference's own inputs, then end to end.

Integers and bits must be equal, and so must floats made from integers, for both sides do the same roundings. Two sums
of floats in different orders may differ in their last bits; where such a sum meets a sign it may fall on the other side
of zero, which counts as a boundary flip if the reference lies within 1e-5 of the tensor's largest magnitude from zero,
and as a mismatch otherwise.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx

from bincompress.compare import Difference, Executor, Values, compare, record
from bincompress.errors import ParityError
from bincompress.lower.emulate import normalize_pixels
from bincompress.lower.freeze import deploy
from bincompress.pack.reader import read_packed
from bincompress.program import I8_OPS, Program
from bincompress.runtime.session import Session, load

Array = npt.NDArray[Any]


def verify(
    packed: str | os.PathLike[str],
    graph: fx.GraphModule,
    images: Array,
    *,
    batch: int = 16,
    threads: int = 1,
    isa: str | None = None,
) -> dict[str, Any]:
    """Compare a packed file, run by the C library, with the trained graph it was made from.

    Shapes: images (N, C, H, W), uint8 pixels (or float32 as the network expects).
    Returns: samples, integer_mismatches, boundary_flips, max_abs_diff and top1_agreement (of the logits, end to end),
    trained_top1_agreement (against the graph before its BatchNorms became one multiply and add), float_mismatches,
    max_float_error (of a tensor's largest magnitude), layers (the same counts by layer), isa,
    int8_activations (None, or how many layers round their input to 8 bits and what that costs end to end: max_abs_diff,
    top1_agreement with the network that does not).
    Raises: ParityError if the file was not made from this graph.
    """
    program, _ = read_packed(packed)
    rounded = sum(node.op in I8_OPS for node in program.nodes)
    reference = deploy(graph, "int8" if rounded else "float")
    unrounded = deploy(graph) if rounded else None
    _same_network(Path(packed), program, reference)
    trained = copy.deepcopy(graph).eval()
    layers: dict[str, Difference] = {}
    ours, theirs, before, floats = [], [], [], []
    with load(packed).session(threads, batch, isa, keep_all=True) as session:
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            x = normalize_pixels(part, program.normalize) if part.dtype == np.uint8 else part.astype(np.float32)
            recorder = record(reference, x)
            pixels = part if part.dtype == np.uint8 else None
            for name, found in compare(program, recorder, pixels, executor(program, session, len(part))).items():
                layers.setdefault(name, Difference()).add(found)
            ours.append(session(part))
            theirs.append(recorder.logits)
            before.append(_logits(trained, x))
            if unrounded is not None:
                floats.append(_logits(unrounded, x))
        used = session.isa
    total = Difference()
    for found in layers.values():
        total.add(found)
    got, expected, original = np.concatenate(ours), np.concatenate(theirs), np.concatenate(before)
    return {
        "samples": len(images),
        "integer_mismatches": total.integer_mismatches,
        "boundary_flips": total.boundary_flips,
        **_difference(got, expected),
        "trained_top1_agreement": float((got.argmax(1) == original.argmax(1)).mean()),
        "int8_activations": {"layers": rounded, **_difference(got, np.concatenate(floats))} if rounded else None,
        "float_mismatches": total.float_mismatches,
        "max_float_error": total.max_float_error,
        "layers": [{"name": name, **vars(found)} for name, found in layers.items()],
        "isa": used,
    }


def _difference(got: Array, expected: Array) -> dict[str, float]:
    return {
        "max_abs_diff": float(np.abs(got - expected).max()),
        "top1_agreement": float((got.argmax(1) == expected.argmax(1)).mean()),
    }


def require_parity(result: dict[str, Any], packed: str | os.PathLike[str]) -> None:
    """Raise ParityError if `verify` found anything that rounding does not explain."""
    for row in result["layers"]:
        wrong = row["integer_mismatches"] + row["float_mismatches"]
        if wrong:
            raise ParityError(
                f"{os.fspath(packed)}: layer {row['name']}: {wrong} values differ from the trained network over "
                f"{result['samples']} images; the file must not be used"
            )


def executor(program: Program, session: Session, count: int) -> Executor:
    """Runs single nodes in C: inputs are written, the node runs, outputs are read. The session needs `keep_all`."""

    def execute(index: int, inputs: Values) -> Values:
        for value, array in inputs.items():
            session.write_value(value, array)
        session.run_node(index, count)
        return {value: session.read_value(value, count) for value in program.nodes[index].outputs}

    return execute


def _logits(graph: fx.GraphModule, x: Array) -> Array:
    with torch.no_grad():
        out: Array = graph(torch.from_numpy(x)).flatten(1).numpy()
    return out


def _same_network(path: Path, program: Program, reference: fx.GraphModule) -> None:
    known = {node.name for node in reference.graph.nodes}
    outputs = [program.values[index].name for node in program.nodes for index in node.outputs]
    strangers = [name for name in outputs if name not in known and "." not in name]
    if strangers:
        raise ParityError(f"{path}: holds {strangers[0]!r}, which this network does not; it was made from another one")
