"""bincompress train: a float network from its first weights, for want of a pretrained one."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from bincompress.cli.options import (
    DataOption,
    EpochsOption,
    FactoryOption,
    ForceOption,
    InputShapeOption,
    JsonOption,
    RecipeOption,
    SetOption,
    TrustOption,
    ValOption,
    parse_shape,
    resolve_recipe,
)
from bincompress.cli.output import note, print_json, stdout_for_data


def train(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="zoo:NAME, or a state dict to begin with and its --factory.")
    ],
    output: Annotated[
        pathlib.Path, typer.Option("-o", "--output", metavar="OUT", help="State dict to write (.safetensors).")
    ],
    recipe: RecipeOption = "float",
    factory: FactoryOption = None,
    data: DataOption = None,
    val: ValOption = None,
    epochs: EpochsOption = None,
    set_: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint beside OUT.")] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
    trust: TrustOption = False,
    input_shape: InputShapeOption = None,
) -> None:
    """Train a float network, to be converted later; of the recipe only the sections train and data count.

    zoo:NAME is a network with random weights; convert OUT with --factory bincompress.zoo:NAME.
    """
    from bincompress.cli import render
    from bincompress.float_training import train_float
    from bincompress.pipeline import Source

    with stdout_for_data(), render.reporter() as reporter:
        result = train_float(
            Source(model, factory=factory, trust=trust, input_shape=parse_shape(input_shape)),
            resolve_recipe(recipe, set_, epochs),
            data=data,
            val=val,
            output=output,
            force=force,
            resume=resume,
            reporter=reporter,
        )
    if as_json:
        print_json(result)
        return
    accuracy = result["accuracy"]
    note(f"{result['output']}: {result['epochs']} epochs" + ("" if accuracy is None else f", {100 * accuracy:.2f} %"))
