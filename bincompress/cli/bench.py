"""bincompress bench: speed of a packed file, or of the kernels, against ONNX Runtime and the machine's own peak."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from bincompress.cli.options import DataOption, FactoryOption, IsaOption, JsonOption, ThreadsOption, TrustOption
from bincompress.cli.output import print_json, stdout_for_data


def bench(
    packed: Annotated[
        pathlib.Path | None, typer.Argument(metavar="[PACKED]", help="Packed model file (.gguf).", show_default=False)
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline", metavar="FLOAT", help="Float model for ONNX Runtime; by default a float twin of PACKED."
        ),
    ] = None,
    factory: FactoryOption = None,
    data: DataOption = None,
    threads: ThreadsOption = 1,
    isa: IsaOption = None,
    layers: Annotated[bool, typer.Option("--layers", help="Show every layer too (--json always has them).")] = False,
    kernels: Annotated[bool, typer.Option("--kernels", help="Time single layers of standard shapes instead.")] = False,
    as_json: JsonOption = False,
    trust: TrustOption = False,
) -> None:
    """Time a packed file and ONNX Runtime (fp32 and int8), interleaved, on the same cores and threads."""
    from bincompress.cli import render
    from bincompress.errors import UsageError

    if kernels == (packed is not None):
        raise UsageError("give either a packed file or --kernels")
    if packed is None:
        given = {"--baseline": baseline, "--factory": factory, "--data": data, "--layers": layers, "--trust": trust}
        if unused := [name for name, value in given.items() if value]:
            raise UsageError(f"{', '.join(unused)}: --kernels times layers of its own, which need no files")
        from bincompress.bench.kernels import bench_kernels

        with stdout_for_data(), render.reporter() as reporter:
            result = bench_kernels(isa=isa, threads=threads, reporter=reporter)
        print_json(result) if as_json else render.kernel_bench(result)
        return
    from bincompress.bench.network import TWIN, bench_network, load_baseline
    from bincompress.inputs import open_split
    from bincompress.runtime.session import load

    with stdout_for_data():
        images = open_split(data, load(packed).input_shape, "train").images if data else None
        opponent = load_baseline(baseline, factory=factory, trust=trust) if baseline else None
        result = bench_network(
            packed,
            baseline=opponent,
            baseline_name=baseline or TWIN,
            images=images,
            threads=threads,
            isa=isa,
        )
    print_json(result) if as_json else render.network_bench(result, layers)
