"""bincompress finetune: training only; what it leaves is a checkpoint directory."""

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
    ModelArgument,
    RecipeOption,
    SetOption,
    TrustOption,
    ValOption,
    parse_shape,
    resolve_recipe,
)
from bincompress.cli.output import print_json, stdout_for_data


def finetune(
    model: ModelArgument,
    recipe: RecipeOption = None,
    factory: FactoryOption = None,
    data: DataOption = None,
    val: ValOption = None,
    output: Annotated[
        pathlib.Path | None,
        typer.Option("-o", "--output", metavar="CKPT_DIR", help="Checkpoint; MODEL-METHOD.ckpt here by default."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last epoch of CKPT_DIR.")] = False,
    epochs: EpochsOption = None,
    set_: SetOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    trust: TrustOption = False,
    input_shape: InputShapeOption = None,
) -> None:
    """Fine-tune a 1-bit network without exporting it; `convert CKPT_DIR -o OUT` exports it later.

    MODEL may be a checkpoint directory: --resume goes on with its training, --recipe trains it further into CKPT_DIR.
    """
    from bincompress import pipeline
    from bincompress.checkpoint import is_checkpoint
    from bincompress.cli import render
    from bincompress.errors import UsageError

    with stdout_for_data(), render.reporter() as reporter:
        if is_checkpoint(model):
            if factory or trust or input_shape:
                raise UsageError(f"{model} is a checkpoint: it needs no --factory, --trust or --input-shape")
            if resume and (recipe or output or set_ or epochs is not None):
                raise UsageError(f"{model} is a checkpoint: with --resume it goes on in place, with its own recipe")
            result = pipeline.finetune_checkpoint(
                model,
                None if resume else resolve_recipe(recipe, set_, epochs),
                data=data,
                val=val,
                output=output,
                force=force,
                reporter=reporter,
            )
        else:
            result = pipeline.finetune(
                pipeline.Source(model, factory=factory, trust=trust, input_shape=parse_shape(input_shape)),
                resolve_recipe(recipe, set_, epochs),
                data=data,
                val=val,
                output=output,
                resume=resume,
                force=force,
                reporter=reporter,
            )
    print_json(result) if as_json else render.training(result)
