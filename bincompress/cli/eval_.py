"""bincompress eval: accuracy of a float model, a checkpoint or a packed file."""

from __future__ import annotations

from typing import Annotated

import typer

from bincompress.cli.options import (
    DataOption,
    FactoryOption,
    InputShapeOption,
    JsonOption,
    ThreadsOption,
    TrustOption,
    parse_shape,
)
from bincompress.cli.output import print_json, stdout_for_data


def eval_(
    model: Annotated[str, typer.Argument(metavar="ANY", help="Float model, checkpoint directory or packed file.")],
    data: DataOption = None,
    factory: FactoryOption = None,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
    trust: TrustOption = False,
    input_shape: InputShapeOption = None,
) -> None:
    """Measure top-1 and top-5 accuracy on the test split, or the split that SPEC names."""
    from bincompress.cli import render
    from bincompress.errors import UsageError
    from bincompress.evaluate import evaluate

    if data is None:
        raise UsageError("--data is missing, for example --data cifar10:DIR or --data digits")
    with stdout_for_data():
        result = evaluate(
            model, data, factory=factory, trust=trust, input_shape=parse_shape(input_shape), threads=threads
        )
    print_json(result) if as_json else render.evaluation(model, data, result)
