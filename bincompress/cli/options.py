"""Arguments and options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Annotated

import typer

from bincompress.errors import UsageError

if TYPE_CHECKING:
    from bincompress.recipe import Recipe

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="State dict (.pt .pth .th .tar .safetensors), ONNX file, zoo:NAME, or a checkpoint directory.",
    ),
]
PackedArgument = Annotated[pathlib.Path, typer.Argument(metavar="PACKED", help="Packed model file (.gguf).")]
RecipeOption = Annotated[
    str | None, typer.Option("--recipe", "-r", metavar="R", help="Recipe: a path or a bundled name.")
]
FactoryOption = Annotated[
    str | None,
    typer.Option(
        "--factory",
        metavar="F",
        help="Builds the network that a state dict belongs to: package.module:function or file.py:function.",
    ),
]
TrustOption = Annotated[
    bool, typer.Option("--trust", help="Unpickle MODEL, which runs whatever code it holds. Off by default.")
]
InputShapeOption = Annotated[
    str | None, typer.Option("--input-shape", metavar="C,H,W", help="Input of the network where MODEL does not say.")
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SPEC",
        help="mnist:DIR fashion-mnist:DIR cifar10:DIR cifar100:DIR svhn:DIR imagefolder:DIR npz:FILE file.py:function "
        "or digits; #train or #test selects the split.",
    ),
]
ValOption = Annotated[
    str | None, typer.Option("--val", metavar="SPEC", help="Data for accuracy; the test split of --data by default.")
]
EpochsOption = Annotated[
    int | None,
    typer.Option("--epochs", metavar="N", min=0, help="Rescale the recipe's stages to N epochs; 0: no training."),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe value, e.g. train.seed=1.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite an output that exists.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, everything else on stderr.")]
MOST_THREADS = 256  # of a session (kernels/src/session.c): said before anything long begins
ThreadsOption = Annotated[
    int, typer.Option("--threads", metavar="N", min=1, max=MOST_THREADS, help="Threads of the C library.")
]
IsaOption = Annotated[
    str | None, typer.Option("--isa", metavar="ISA", help="Instruction set of the C library; the best one by default.")
]


def resolve_recipe(recipe: str | None, overrides: list[str] | None, epochs: int | None) -> Recipe:
    """The recipe that --recipe, --set and --epochs ask for together.

    Raises: UsageError if there is none, RecipeError if it is wrong.
    """
    from bincompress.recipe import load_recipe

    if recipe is None:
        raise UsageError("--recipe is missing; `bincompress recipe list` names the bundled ones")
    resolved = load_recipe(recipe, overrides or ())
    return resolved if epochs is None else resolved.with_epochs(epochs)


def parse_shape(text: str | None) -> tuple[int, int, int] | None:
    """Read `C,H,W`.

    Raises: UsageError if it is anything else.
    """
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--input-shape {text}: expected three positive numbers C,H,W, for example 3,32,32")
    return int(parts[0]), int(parts[1]), int(parts[2])
