"""The standard binary layers on the instruction sets that this machine has besides its best, each forced in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bincompress.bench.kernels import bench_kernels
from bincompress.bench.layers import LAYERS
from bincompress.native import isa_names

_SHAPES = [layer for layer in LAYERS if layer.op == "binary_conv2d" and layer.batch == 1][:4]


def bench_instruction_sets(rounds: int) -> dict[str, Any]:
    """What `bench --kernels` says of 3x3 layers, bits to bits, by instruction set; one thread."""
    vectors = [isa for isa in isa_names()[:-1] if isa != "scalar"]
    return {isa: bench_kernels(layers=tuple(_SHAPES), isa=isa, rounds=rounds) for isa in vectors}


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
            f"{row['median_us']:.0f} us, {row['of_peak']:.2f}, {row['vs_onnxruntime_fp32']:.1f}x"
            for row in result["kernels"]
        ]
        roofline = result["roofline"]
        yield f"| {isa} | {roofline['binary_gmacs']:.0f} | {roofline['count_gmacs']:.0f} | {' | '.join(cells)} |"
    yield ""
