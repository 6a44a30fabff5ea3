"""Training of a float network, the parent of 1-bit ones, where no pretrained one is at hand."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from bincompress.checkpoint import is_checkpoint
from bincompress.errors import UsageError
from bincompress.evaluate import no_normalization
from bincompress.finetune import finetune
from bincompress.inputs import choose_normalize, open_splits
from bincompress.outputs import check_directory, check_file, remove_checkpoint
from bincompress.pipeline import Source
from bincompress.plan import Plan
from bincompress.recipe import Recipe, load_recipe
from bincompress.report import SILENT, Reporter

RECIPE = "float"
_SUFFIX = ".safetensors"


def train_float(
    source: Source,
    recipe: Recipe | None = None,
    *,
    data: str | None = None,
    val: str | None = None,
    output: Path,
    force: bool = False,
    resume: bool = False,
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Train a network as it is, from the weights that it has, and write its state dict to `output`.

    Of the recipe (`float` by default) the sections train and data count. A checkpoint beside `output`, with suffix
    `.float.ckpt` so that a conversion's is another, holds what has been trained until it is done; `resume` goes on
    from it.
    Returns: output, accuracy (0..1 on the test split), epochs, history, seconds.
    Raises: BincompressError, before training wherever that can be known.
    """
    began = time.monotonic()
    recipe = recipe or load_recipe(RECIPE)
    directory = output.with_suffix(".float.ckpt")
    if is_checkpoint(source.path):
        raise UsageError(f"{source.path}: is a checkpoint; `finetune` trains 1-bit networks further")
    if source.factory is None and not str(source.path).startswith("zoo:"):
        raise UsageError(
            f"{source.path}: what is written are weights, to be loaded into a network that is known by name; "
            "train zoo:NAME, or give --factory"
        )
    if output.suffix != _SUFFIX:
        raise UsageError(f"{output}: state dicts are written as {_SUFFIX}; name the output {output.stem}{_SUFFIX}")
    check_file(output, force)
    resume = resume and is_checkpoint(directory)
    if not resume:
        if is_checkpoint(directory) and not force:
            raise UsageError(f"{directory} exists: --resume goes on with it, --force trains anew")
        check_directory(directory, force)
        remove_checkpoint(directory)
    reporter.stage(f"loading {source.path}")
    model = source.load()
    train, val_split = open_splits(recipe, data, val, model.input_shape)
    if train is None:
        raise UsageError("training needs data: give --data SPEC (or data.train in the recipe)")
    normalize = choose_normalize(recipe, model, train)
    if normalize is None:
        raise no_normalization(train)
    epochs = sum(stage.epochs for stage in recipe.train.stages)
    reporter.stage(f"training the float network on {train.name}: {epochs} epochs")
    try:
        result = finetune(
            model.graph,
            plan=Plan((), recipe.method),
            recipe=recipe,
            train=train,
            val=val_split,
            normalize=normalize,
            directory=directory,
            resume=resume,
            meta={"input_shape": model.input_shape, "sha256": model.sha256, "source": Path(model.source).name},
            progress=reporter.training,
        )
    except KeyboardInterrupt:
        kept = f"{directory} holds whole epochs: go on with the same command and --resume"
        raise KeyboardInterrupt(f"stopped; {kept if is_checkpoint(directory) else 'nothing has been saved'}") from None
    temporary = output.with_name(f".{output.name}.tmp")
    save_file({name: tensor.contiguous() for name, tensor in result.graph.state_dict().items()}, temporary)
    os.replace(temporary, output)
    shutil.rmtree(directory)
    return {
        "output": str(output),
        "accuracy": result.accuracy,
        "epochs": len(result.history),
        "history": result.history,
        "seconds": time.monotonic() - began,
    }
