"""bincompress convert: float model -> fine-tuned 1-bit model -> packed file, verified."""

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
from bincompress.cli.output import note, print_json, stdout_for_data


def convert(
    model: ModelArgument,
    recipe: RecipeOption = None,
    factory: FactoryOption = None,
    data: DataOption = None,
    val: ValOption = None,
    output: Annotated[
        pathlib.Path | None,
        typer.Option("-o", "--output", metavar="OUT", help="Packed file; MODEL-METHOD.gguf here by default."),
    ] = None,
    epochs: EpochsOption = None,
    set_: SetOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
    trust: TrustOption = False,
    input_shape: InputShapeOption = None,
) -> None:
    """Convert a float model into a packed 1-bit model, or export a checkpoint directory.

    The checkpoint of the training stays beside OUT, with the suffix .ckpt, for eval, verify and a later export.
    """
    from bincompress import pipeline
    from bincompress.checkpoint import is_checkpoint
    from bincompress.cli import render
    from bincompress.errors import GateError, UsageError

    if is_checkpoint(model):
        options = {
            "--recipe": recipe,
            "--epochs": epochs,
            "--set": set_ or None,
            "--factory": factory,
            "--trust": trust or None,
            "--input-shape": input_shape,
        }
        given = [name for name, value in options.items() if value is not None]
        if given or dry_run:
            raise UsageError(f"{', '.join(given) or '--dry-run'}: {model} is a checkpoint, and is exported as it is")
        with stdout_for_data(), render.reporter() as reporter:
            result = pipeline.export(model, output=output, val=val or data, force=force, reporter=reporter)
    else:
        source = pipeline.Source(model, factory=factory, trust=trust, input_shape=parse_shape(input_shape))
        resolved = resolve_recipe(recipe, set_, epochs)
        if dry_run:
            with stdout_for_data():
                plan = pipeline.dry_run(source, resolved)
            print_json({"layers": plan.to_json()}) if as_json else render.plan(plan)
            return
        with stdout_for_data(), render.reporter() as reporter:
            result = pipeline.convert(
                source, resolved, data=data, val=val, output=output, force=force, reporter=reporter
            )
    print_json(result) if as_json else render.conversion(result)
    failed = [gate for gate in result["gates"] if not gate["passed"]]
    if failed:
        names = ", ".join(f"{gate['name']} (limit {gate['limit']}, is {gate['value']})" for gate in failed)
        note(f"{result['output']} was written, but is outside the recipe's gates")
        raise GateError(f"gates: {names}")
