"""Layer-by-layer comparison of a Program with its deploy graph: each node alone, on the reference's own inputs.

Kept apart from `verify.py` so that the judge of the C library can itself be judged: the executor is a parameter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx

from bincompress.errors import ParityError
from bincompress.program import FLOAT_OPS, WEIGHT_OPS, Node, Program, Step

Array = npt.NDArray[Any]
Values = dict[int, Array]
# (node index, values by id, NCHW: f32, u8, or bool for bits) -> the same for the node's outputs
Executor = Callable[[int, Values], Values]

BOUNDARY = 1e-5  # of the tensor's largest magnitude: how far from its switch point a float sign may flip
FLOAT_TOLERANCE = 1e-4  # of the tensor's largest magnitude: two orders of one float32 sum


@dataclass
class Difference:
    """What one node, or a whole program, has been found to do."""

    integer_mismatches: int = 0
    boundary_flips: int = 0
    float_mismatches: int = 0
    max_float_error: float = 0.0  # of the tensor's largest magnitude

    def add(self, other: Difference) -> None:
        """Count `other` in."""
        self.integer_mismatches += other.integer_mismatches
        self.boundary_flips += other.boundary_flips
        self.float_mismatches += other.float_mismatches
        self.max_float_error = max(self.max_float_error, other.max_float_error)


class Recorder(fx.Interpreter):
    """Runs a deploy graph and keeps what every node gave, as arrays; `logits` are the output, (N, features)."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.kept: dict[str, Array] = {}
        self.logits: Array = np.empty((0, 0), np.float32)
        self.sources = {n.name: n.all_input_nodes[0].name for n in graph.graph.nodes if n.op == "call_module"}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor) and n.op != "output":
            self.kept[n.name] = value.numpy()
        return value


def record(graph: fx.GraphModule, x: Array) -> Recorder:
    """Every value of `graph` over normalised images x (N, C, H, W) float32.

    Raises: ParityError naming the first layer whose output is not finite.
    """
    recorder = Recorder(graph)
    with torch.no_grad():
        recorder.logits = recorder.run(torch.from_numpy(x)).flatten(1).numpy()
    for name, value in recorder.kept.items():
        if not np.isfinite(value).all():
            raise ParityError(f"{name}: the trained network itself gives NaN or infinity here; nothing to compare with")
    return recorder


def compare(program: Program, recorder: Recorder, pixels: Array | None, execute: Executor) -> dict[str, Difference]:
    """Run every node on the reference's inputs and compare what it gives.

    `pixels` (N, C, H, W) uint8 are needed where the program reads bytes.
    Returns: one Difference per node name, in execution order.
    """
    known: Values = {}
    for index, value in enumerate(program.values):
        if index == program.input and value.dtype == "u8":
            if pixels is None:
                raise ParityError("this program reads pixel bytes; compare it on uint8 images")
            known[index] = pixels
        elif value.name in recorder.kept:
            reference = recorder.kept[value.name]
            if reference[0].size != math.prod(value.shape):
                raise ParityError(
                    f"{value.name}: {'x'.join(map(str, value.shape))} in the packed file, but "
                    f"{'x'.join(map(str, reference.shape[1:]))} in the trained network; it was not packed from this one"
                )
            reference = reference.reshape(-1, *value.shape)
            known[index] = reference < 0 if value.dtype == "bits" else reference
    found: dict[str, Difference] = {}
    for position, node in enumerate(program.nodes):
        outputs = execute(position, {index: known[index] for index in node.inputs})
        difference = found.setdefault(node.name, Difference())
        for step in node.steps:
            if step.op not in ("store", "sign", "threshold"):
                continue
            if program.values[step.value].name in recorder.kept:
                difference.add(_judge(program, node, step, known[step.value], outputs[step.value], recorder))
            else:
                known[step.value] = outputs[step.value]  # exists in the packed program only, e.g. bits before a pool
    return found


def is_exact(node: Node) -> bool:
    """Whether two executors must agree on `node` to the bit: it sums integers (rounded floats too), or nothing."""
    return node.op not in (*FLOAT_OPS, *WEIGHT_OPS, "avg_pool", "act_scale")


def _judge(program: Program, node: Node, step: Step, expected: Array, got: Array, recorder: Recorder) -> Difference:
    differs = expected != got
    count = int(differs.sum())
    if is_exact(node):
        return Difference(integer_mismatches=count)
    if expected.dtype == np.bool_:
        before = recorder.kept[recorder.sources[program.values[step.value].name]].reshape(expected.shape)
        far = differs & (np.abs(before) > BOUNDARY * _scale(before))
        return Difference(integer_mismatches=int(far.sum()), boundary_flips=count - int(far.sum()))
    errors = np.abs(expected - got) / _scale(expected)
    # a NaN compares false with everything, so ask for what is right
    wrong = int((~(errors <= FLOAT_TOLERANCE)).sum())
    return Difference(float_mismatches=wrong, max_float_error=float(np.nan_to_num(errors, nan=np.inf).max()))


def _scale(array: Array) -> float:
    return float(np.abs(array).max()) or 1.0
