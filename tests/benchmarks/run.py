"""Kernels and whole networks against ONNX Runtime and OpenVINO, interleaved in one run, as a table and as JSON.

python tests/benchmarks/run.py [--out FOLDER] [--rounds N] [--threads N] [--isa ISA] [--only SECTION]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import openvino_peer
from instruction_sets import bench_instruction_sets, instruction_set_table
from threads import bench_threads, thread_table

from bincompress.bench.kernels import bench_kernels
from bincompress.bench.machine import cpu_name
from bincompress.bench.network import bench_network
from bincompress.bench.timing import ROUNDS
from bincompress.binarize import binarize
from bincompress.load import load_model
from bincompress.lower import deploy, lower
from bincompress.pack import write_packed
from bincompress.plan import make_plan
from bincompress.recipe import Recipe, load_recipe

Result = dict[str, Any]
# name of the row, network of the zoo, recipe, changes to it; weights are random: they cost the same time
NETWORKS = (
    ("BNN's CIFAR-10 ConvNet, `bnn`", "bnn_convnet", "bnn", ()),
    ("ResNet-18, 224x224, `xnor`", "resnet18", "xnor", ()),
    ("ResNet-18, 224x224, Bi-Real form", "resnet18", "xnor", ("surgery.shortcut=per_conv",)),
    ("AlexNet-BN, 224x224, `xnor`", "alexnet_bn", "xnor", ()),
    ("ResNet-20, CIFAR-10, `xnor`", "resnet20", "xnor", ()),
    ("ResNet-20, CIFAR-10, `bwn`", "resnet20", "bwn", ()),
    ("LeNet-5, MNIST, `xnor`", "lenet5", "xnor", ()),
)
THREADED = tuple(row for row in NETWORKS if row[1] == "resnet18")  # large enough to share
ON_OTHERS = tuple(row for row in NETWORKS if row[1:] in (("resnet18", "xnor", ()), ("resnet20", "xnor", ())))
# of a layer, and the columns of their ratios
PEERS = {
    "onnxruntime_fp32": "ORT fp32",
    "onnxruntime_int8": "ORT int8",
    "onnxruntime_4bit": "ORT 4-bit",
    "onnxruntime_2bit": "ORT 2-bit",
    "openvino": "OpenVINO",
}


def main() -> None:
    """Measure, write RESULTS.md and results.json, print the table."""
    asked = _arguments()
    result: Result = {"versions": _versions(), "kernels": {}, "networks": {}, "threads": {}, "instruction_sets": {}}
    if asked.only in (None, "kernels"):
        peers = openvino_peer.peers if openvino_peer.available() else None
        result["kernels"] = bench_kernels(isa=asked.isa, threads=asked.threads, rounds=asked.rounds, peers=peers)
    if asked.only in (None, "networks"):
        result["networks"] = dict(_networks(asked))
    if asked.only in (None, "threads"):
        result["threads"] = dict(_threads(asked))
    if asked.only in (None, "instruction-sets"):
        result["instruction_sets"] = _instruction_sets(asked)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    text = "\n".join(markdown(result)) + "\n"
    (asked.out / "RESULTS.md").write_text(text)
    print(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kernels and whole networks against their peers, interleaved.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of RESULTS.md, results.json")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of every contender")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--isa", help="instruction set; the best one by default")
    parser.add_argument("--only", choices=("kernels", "networks", "threads", "instruction-sets"))
    return parser.parse_args()


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in ("onnxruntime", "numpy", "torch")}
    if openvino_peer.available():
        found["openvino"] = openvino_peer.version()
    return {"system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(), **found}


def _networks(asked: argparse.Namespace) -> Iterator[tuple[str, Result]]:
    for label, network, recipe, changes in NETWORKS:
        print(f"packing and timing {network}, {recipe} {' '.join(changes)}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            pack(network, load_recipe(recipe, changes), path)
            yield (
                label,
                {
                    "bytes": path.stat().st_size,
                    **bench_network(path, threads=asked.threads, isa=asked.isa, rounds=asked.rounds),
                },
            )


def _threads(asked: argparse.Namespace) -> Iterator[tuple[str, Result]]:
    for label, network, recipe, changes in THREADED:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            pack(network, load_recipe(recipe, changes), path)
            found = bench_threads(path, asked.isa, asked.rounds)
        if found is None:
            print("threads: skipped, as there are no two cores to be had", file=sys.stderr)
            return
        yield label, found


def _instruction_sets(asked: argparse.Namespace) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for index, (label, network, recipe, changes) in enumerate(ON_OTHERS):
            paths[label] = Path(folder) / f"{index}.gguf"
            pack(network, load_recipe(recipe, changes), paths[label])
        return bench_instruction_sets(asked.rounds, paths)


def pack(network: str, recipe: Recipe, path: Path) -> None:
    """A zoo network as the recipe would make it, not trained, as a packed file."""
    model = load_model(f"zoo:{network}")
    graph = binarize(model, make_plan(model, recipe), recipe).eval()
    write_packed(lower(deploy(graph), model.input_shape, model.normalize), path)


def markdown(result: Result) -> Iterator[str]:
    """The tables, line by line."""
    parts = [part for part in (result["kernels"], *result["networks"].values()) if part]
    shown = ", ".join(f"{name} {text}" for name, text in result["versions"].items())
    yield "# Benchmark results\n"
    yield f"{_where(parts[0]) if parts else cpu_name()}; {shown}."
    yield "Medians of interleaved turns in one run (`python tests/benchmarks/run.py`).\n"
    if result["networks"]:
        yield from _network_table(result["networks"])
    if result["threads"]:
        yield from thread_table(result["threads"])
    if result["kernels"]:
        yield from _kernel_table(result["kernels"])
    if result["instruction_sets"]:
        yield from instruction_set_table(result["instruction_sets"])


def _where(part: Result) -> str:
    return f"{part['cpu']}, {part['isa']}, {part['threads']} thread(s)"


def _network_table(networks: Result) -> Iterator[str]:
    yield "## Whole networks, one image\n"
    yield "| network | file | bincompress | ONNX Runtime fp32 | ONNX Runtime int8 |"
    yield "|---|---|---|---|---|"
    for label, row in networks.items():
        peers = [row["baselines"][f"onnxruntime-{kind}"] for kind in ("fp32", "int8")]
        shown = [f"{_us(peer['median_us'])} ({peer['speedup']:.1f}x)" for peer in peers]
        cells = [label, f"{row['bytes'] / 2**20:.2f} MiB", f"**{_us(row['packed']['median_us'])}**", *shown]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _kernel_table(kernels: Result) -> Iterator[str]:
    peaks = ", ".join(
        f"{name.removesuffix('_gmacs')} {value:.0f}"
        for name, value in kernels["roofline"].items()
        if name != "peak_gmacs"
    )
    yield f"## Layers\n\nRooflines of register-only loops, G MAC/s: {peaks}.\n"
    yield "Ratios of times, ORT being ONNX Runtime; its 4- and 2-bit layers are MatMulNBits, floats in and out.\n"
    versus = " | ".join(f"vs {name}" for name in PEERS.values())
    yield f"| layer | shape | in, out | batch | time | G MAC/s | of peak | {versus} |"
    yield "|---" * (7 + len(PEERS)) + "|"
    for row in kernels["kernels"]:
        ratios = [row.get(f"vs_{name}") for name in PEERS]
        cells = [
            f"{row['op']} {row['kernel']}" if row["kernel"] != "dense" else row["op"],
            row["shape"],
            f"{row['input']}, {row['output']}",
            str(row["batch"]),
            _us(row["median_us"]),
            f"{row['gmacs']:.1f}",
            f"{row['of_peak']:.2f}",
            *("" if ratio is None else f"{ratio:.1f}x" for ratio in ratios),
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _us(value: float) -> str:
    return f"{value:.1f} us" if value < 1000 else f"{value / 1000:.2f} ms"


if __name__ == "__main__":
    main()
