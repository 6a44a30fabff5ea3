"""Binary layers and networks on the instruction sets that this machine has besides its best, each forced in turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bincompress.bench.kernels import bench_kernels
from bincompress.bench.layers import LAYERS
from bincompress.bench.network import bench_network
from bincompress.native import isa_names

_SHAPES = [
    layer
    for layer in LAYERS
    if layer.op == "binary_conv2d" and layer.kernel == 3 and layer.batch == 1 and layer.output == "bits"
]


def bench_instruction_sets(rounds: int, networks: Mapping[str, Path]) -> dict[str, Any]:
    """By instruction set, what `bench` says of 3x3 layers, bits to bits, and of packed networks; one thread."""
    vectors = [isa for isa in isa_names()[:-1] if isa != "scalar"]
    return {
        isa: {
            **bench_kernels(layers=tuple(_SHAPES), isa=isa, rounds=rounds),
            "networks": {label: bench_network(path, isa=isa, rounds=rounds) for label, path in networks.items()},
        }
        for isa in vectors
    }


def instruction_set_table(found: dict[str, Any]) -> Iterator[str]:
    """The section of RESULTS.md, line by line."""
    yield "## Other instruction sets\n"
    yield "3x3 layers from bits to bits, each instruction set forced, one thread: time, fraction of the roofline of its"
    yield "instructions, and ratio to ONNX Runtime's fp32, which keeps to the best that this machine has. The counting"
    yield "roofline is that of the plain way, xor, count of bits, addition, which kernels that look sums up pass.\n"
    shapes = " | ".join(layer.shape for layer in _SHAPES)
    yield f"| instruction set | roofline, G MAC/s | counting roofline | {shapes} |"
    yield "|---" * (3 + len(_SHAPES)) + "|"
    for isa, result in reversed(found.items()):
        cells = [
            f"{_us(row['median_us'])}, {row['of_peak']:.2f}, {row['vs_onnxruntime_fp32']:.1f}x"
            for row in result["kernels"]
        ]
        roofline = result["roofline"]
        yield f"| {isa} | {roofline['binary_gmacs']:.0f} | {roofline['count_gmacs']:.0f} | {' | '.join(cells)} |"
    yield ""
    yield "Whole networks in the same way, and their ratios to ONNX Runtime's fp32 and int8. Floats need FMA; SSE4.2"
    yield "has none, so it is imitated there, number by number, to give the same bits.\n"
    labels = list(next(iter(found.values()))["networks"]) if found else []
    yield f"| instruction set | {' | '.join(labels)} |"
    yield "|---" * (1 + len(labels)) + "|"
    for isa, result in reversed(found.items()):
        cells = []
        for row in result["networks"].values():
            ratios = [row["baselines"][f"onnxruntime-{kind}"]["speedup"] for kind in ("fp32", "int8")]
            cells.append(f"{_us(row['packed']['median_us'])}, {ratios[0]:.1f}x, {ratios[1]:.1f}x")
        yield f"| {isa} | {' | '.join(cells)} |"
    yield ""


def _us(value: float) -> str:
    return f"{value / 1000:.2f} ms" if value >= 1000 else f"{value:.0f} us" if value >= 20 else f"{value:.1f} us"
