"""`bench --kernels`: single layers of standard shapes, each a packed file of its own, against ONNX Runtime's layer.

Only the layer's node is timed, by the library's own profile (for a drop-in layer the sign of its input too); for ONNX
Runtime the whole call is, and its model has that one layer, so a call's overhead (about 5 us) is held against it:
compare shapes that take much longer. The roofline takes its turns among them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bincompress import native
from bincompress.bench.baselines import runner
from bincompress.bench.layers import LAYERS, Layer, layer_input, layer_program
from bincompress.bench.machine import cpu_name, pinned
from bincompress.bench.network import kind_of, packed_runner
from bincompress.bench.single_ops import few_bits_layer, float_layer, int8_layer
from bincompress.bench.timing import ROUNDS, Run, Timing, clock_for, interleave, measured_calls
from bincompress.pack.writer import write_packed
from bincompress.report import SILENT, Reporter
from bincompress.runtime.session import Session, load


@dataclass(frozen=True)
class Contender:
    """What takes turns: a call, and, if it measures itself, the list to which it adds its microseconds."""

    run: Run
    own_us: list[float] = field(default_factory=list)

    def median_us(self, timing: Timing) -> float:
        """Its own measure, else the clock's."""
        return statistics.median(measured_calls(self.own_us, timing.repeats)) if self.own_us else timing.median_us


Peers = Callable[[Layer, int], Mapping[str, Contender]]  # others to compare with, by name


def bench_kernels(
    *,
    isa: str | None = None,
    threads: int = 1,
    rounds: int = ROUNDS,
    layers: tuple[Layer, ...] = LAYERS,
    peers: Peers | None = None,
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Time every layer of `layers` on one instruction set (None: the best of this machine).

    Returns: the keys of `bench --kernels --json`.
    """
    native.require_isa(isa)
    name = isa or native.isa_names()[-1]
    with pinned(threads) as is_pinned:
        peaks = {kind: native.measure_peak(name, kind) * threads for kind in native.PEAKS}
        rows = []
        for number, layer in enumerate(layers, 1):
            what = f"{layer.op} {layer.kernel_name} {layer.shape}, {layer.input} to {layer.output}"
            reporter.stage(f"{number} of {len(layers)}: {what}")
            rows.append(_row(layer, name, threads, rounds, peers))
    return {
        "isa": name,
        "threads": threads,
        "cpu": cpu_name(),
        "pinned": is_pinned,
        "roofline": {"peak_gmacs": peaks["binary"], **{f"{kind}_gmacs": peak for kind, peak in peaks.items()}},
        "kernels": rows,
    }


def _row(layer: Layer, isa: str, threads: int, rounds: int, peers: Peers | None) -> dict[str, Any]:
    program = layer_program(layer)
    kind = kind_of(layer.op)
    assert kind is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.gguf"
        write_packed(program, path)
        model = load(path)
        with model.session(threads, layer.batch, isa, profile=True) as session:
            contenders = {"packed": _packed(layer, session), "peak": _peak(isa, kind, threads)}
            contenders |= _onnxruntime(layer, threads)
            contenders |= peers(layer, threads) if peers else {}
            runs = {name: found.run for name, found in contenders.items()}
            timings = interleave(runs, rounds, clock=clock_for(threads))
    us = {name: found.median_us(timings[name]) for name, found in contenders.items()}
    ours, peak = us.pop("packed"), us.pop("peak")
    macs = program.macs(program.nodes[-1]) * layer.batch
    us["onnxruntime_int8"] = min(us.pop(name) for name in list(us) if name.startswith("onnxruntime_int8"))
    return {
        "op": layer.op,
        "kernel": layer.kernel_name,
        "isa": isa,
        "shape": layer.shape,
        "input": layer.input,
        "output": layer.output,
        "batch": layer.batch,
        "macs": macs,
        "median_us": ours,
        "gmacs": macs / (ours * 1e3),
        "of_peak": macs / (ours * 1e3) / peak,
        **{f"{name}_us": theirs for name, theirs in us.items()},
        **{f"vs_{name}": theirs / ours for name, theirs in us.items()},
        "rounds": timings["packed"].rounds,
    }


def _packed(layer: Layer, session: Session) -> Contender:
    """Our layer, timed by the profile of its node; of all nodes where the sign in front is part of it."""
    run = packed_runner(session, layer_input(layer))
    first = 0 if layer.drop_in else len(session.model.nodes) - 1
    own: list[float] = []
    clock = clock_for(session.threads)

    def once() -> None:
        began, wall = clock(), time.perf_counter()
        run()
        wall = time.perf_counter() - wall
        # the profile's clock is the wall's: without the share that other processes took of it
        own.append(sum(session.node_ns()[first:]) / 1e3 * min(1.0, (clock() - began) / wall))

    return Contender(once, own)


def _peak(isa: str, kind: str, threads: int) -> Contender:
    """The roofline; its "microseconds" are 1e9 MAC/s of all threads."""
    own: list[float] = []
    return Contender(lambda: own.append(native.measure_peak(isa, kind) * threads), own)


def _onnxruntime(layer: Layer, threads: int) -> dict[str, Contender]:
    model, feeds = float_layer(layer)
    found = {"onnxruntime_fp32": Contender(runner(model, threads, feeds))}
    for signed in (True, False):
        model, feeds = int8_layer(layer, signed)
        found["onnxruntime_int8_" + ("s8s8" if signed else "u8s8")] = Contender(runner(model, threads, feeds))
    if layer.op in ("weight_dense", "i8_dense"):
        for bits in (2, 4):
            model, feeds = few_bits_layer(layer, bits)
            found[f"onnxruntime_{bits}bit"] = Contender(runner(model, threads, feeds))
    return found
