"""bincompress verify: a packed file against the network it was made from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bincompress.cli.options import (
    DataOption,
    FactoryOption,
    InputShapeOption,
    IsaOption,
    JsonOption,
    PackedArgument,
    ThreadsOption,
    TrustOption,
    parse_shape,
)
from bincompress.cli.output import print_json, stdout_for_data


def verify(
    packed: PackedArgument,
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="CKPT|MODEL",
            help="Checkpoint: layer by layer. Float model: how far its answers and the packed ones agree.",
        ),
    ],
    data: DataOption = None,
    samples: Annotated[int, typer.Option("--samples", metavar="N", min=1, help="Images to compare on.")] = 512,
    factory: FactoryOption = None,
    threads: ThreadsOption = 1,
    isa: IsaOption = None,
    as_json: JsonOption = False,
    trust: TrustOption = False,
    input_shape: InputShapeOption = None,
) -> None:
    """Prove that PACKED computes what was trained: exit code 4 if any integer differs."""
    from bincompress.checkpoint import is_checkpoint, load_checkpoint
    from bincompress.cli import render
    from bincompress.export import compare
    from bincompress.inputs import open_split
    from bincompress.load import load_model
    from bincompress.verify import require_parity

    with stdout_for_data():
        if is_checkpoint(against):
            source: Any = load_checkpoint(against)
        else:
            source = load_model(against, factory=factory, trust=trust, input_shape=parse_shape(input_shape))
        split = open_split(data, source.input_shape, "test") if data else None
        result = compare(packed, source, split, samples, threads, isa)
    print_json(result) if as_json else render.verification(result)
    if result["layers"]:
        require_parity(result, packed)
