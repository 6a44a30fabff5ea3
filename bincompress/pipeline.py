"""The whole way, one call per stage: load, plan, binarize, finetune, then lower, pack and verify (`export.py`)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bincompress.binarize import binarize
from bincompress.checkpoint import Checkpoint, is_checkpoint, load_checkpoint, save_checkpoint
from bincompress.data import Split
from bincompress.errors import RecipeError, UsageError
from bincompress.evaluate import accuracy_of_graph, no_normalization
from bincompress.export import check_exportable, export_checkpoint
from bincompress.finetune import finetune as run_finetune
from bincompress.gates import require_data_for_gates
from bincompress.graph import FloatModel
from bincompress.inputs import choose_normalize, open_split, open_splits
from bincompress.load import load_model
from bincompress.outputs import check_directory, check_file, remove_checkpoint
from bincompress.plan import Plan, make_plan
from bincompress.recipe import Recipe, load_recipe
from bincompress.report import SILENT, Reporter

Result = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A float model and what is needed to read it; see `load_model`."""

    path: str | Path
    factory: str | None = None
    trust: bool = False
    input_shape: tuple[int, int, int] | None = None

    def load(self) -> FloatModel:
        """Read it."""
        return load_model(self.path, factory=self.factory, trust=self.trust, input_shape=self.input_shape)


def convert(
    model: str | Path | Source,
    recipe: str | Path | Recipe,
    *,
    data: str | None = None,
    val: str | None = None,
    output: str | Path | None = None,
    factory: str | None = None,
    force: bool = False,
    reporter: Reporter = SILENT,
) -> Result:
    """Turn a float model into a packed 1-bit file; the checkpoint of its training stays beside it, with suffix `.ckpt`.

    Returns: what `convert --json` prints.
    Raises: BincompressError, before anything is written wherever that can be known.
    """
    began = time.monotonic()
    source = model if isinstance(model, Source) else Source(model, factory)
    resolved = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    target = Path(output) if output else Path(f"{_stem(source.path)}-{resolved.method}.gguf")
    directory = target.with_suffix(".ckpt")
    check_file(target, force)
    if directory == target:
        raise UsageError(f"{target}: the checkpoint beside the file is called so; name the file {target.stem}.gguf")
    check_directory(directory, force)
    checkpoint, val_split = _train(source, resolved, data, val, directory, reporter)
    result = export_checkpoint(checkpoint, target, val_split, reporter)
    return result | {"checkpoint": str(directory), "seconds": time.monotonic() - began}


def export(
    checkpoint: str | Path,
    *,
    val: str | None = None,
    output: str | Path | None = None,
    force: bool = False,
    reporter: Reporter = SILENT,
) -> Result:
    """Export a checkpoint directory; returns what `convert --json` prints."""
    began = time.monotonic()
    target = Path(output) if output else Path(f"{_stem(checkpoint)}.gguf")
    check_file(target, force)
    found = load_checkpoint(checkpoint)
    if not found.finished:
        raise UsageError(f"{checkpoint}: its training has not ended; first finetune {checkpoint} --resume --data SPEC")
    require_data_for_gates(found.recipe, val is not None)
    split = open_split(val, found.input_shape, "test") if val else None
    result = export_checkpoint(found, target, split, reporter)
    return result | {"checkpoint": str(checkpoint), "seconds": time.monotonic() - began}


def finetune(
    model: str | Path | Source,
    recipe: str | Path | Recipe,
    *,
    data: str | None = None,
    val: str | None = None,
    output: str | Path | None = None,
    force: bool = False,
    resume: bool = False,
    reporter: Reporter = SILENT,
) -> Result:
    """Train without exporting.

    Returns: checkpoint, epochs, accuracy, history, notes, seconds.
    """
    began = time.monotonic()
    source = model if isinstance(model, Source) else Source(model)
    resolved = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    directory = Path(output) if output else Path(f"{_stem(source.path)}-{resolved.method}.ckpt")
    if not resume:
        check_directory(directory, force)
    elif not is_checkpoint(directory):
        raise UsageError(f"{directory}: no checkpoint to resume; run without --resume")
    checkpoint, _ = _train(source, resolved, data, val, directory, reporter, resume=resume)
    return _training_result(checkpoint, directory, began)


def finetune_checkpoint(
    checkpoint: str | Path,
    recipe: Recipe | None = None,
    *,
    data: str | None = None,
    val: str | None = None,
    output: str | Path | None = None,
    force: bool = False,
    reporter: Reporter = SILENT,
) -> Result:
    """Go on with the training that a checkpoint directory holds; returns the same as `finetune`.

    With a recipe, train its network further into another directory: its sections train, data, export and gates are
    new, the others must be the checkpoint's, for they made the network.
    """
    began = time.monotonic()
    found = load_checkpoint(checkpoint)
    directory, resolved = Path(checkpoint), found.recipe
    if recipe is not None:
        directory = Path(output) if output else Path(f"{_stem(checkpoint)}-more.ckpt")
        check_directory(directory, force and directory.resolve() != Path(checkpoint).resolve())
        _check_same_network(checkpoint, resolved, recipe)
        resolved = recipe
    train, val_split = open_splits(resolved, data, val, found.input_shape)
    if train is None:
        raise UsageError(f"{checkpoint}: training needs data; give --data SPEC")
    normalize = found.normalize or choose_normalize(resolved, found, train)
    if normalize is None:
        raise no_normalization(train)
    if recipe is not None:
        remove_checkpoint(directory)
    run_finetune(
        found.graph,
        plan=Plan.from_json(found.plan, resolved.method),
        recipe=resolved,
        train=train,
        val=val_split,
        teacher=found.teacher,
        normalize=normalize,
        directory=directory,
        resume=recipe is None,
        meta={
            "input_shape": found.input_shape,
            "sha256": found.sha256,
            "source": found.source,
            "classes": found.classes,
            "notes": found.notes,
            "float_accuracy": found.accuracy["float"],
        },
        progress=reporter.training,
    )
    return _training_result(load_checkpoint(directory), directory, began)


def dry_run(model: str | Path | Source, recipe: str | Path | Recipe) -> Plan:
    """The plan alone: what `convert --dry-run` shows.

    Raises: BincompressError for what a conversion would end with.
    """
    source = model if isinstance(model, Source) else Source(model)
    resolved = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    loaded = source.load()
    plan = make_plan(loaded, resolved)
    check_exportable(binarize(loaded, plan, resolved), resolved, loaded)
    return plan


def _train(
    source: Source,
    recipe: Recipe,
    data: str | None,
    val: str | None,
    directory: Path,
    reporter: Reporter,
    *,
    resume: bool = False,
) -> tuple[Checkpoint, Split | None]:
    """Everything from the float file to a finished checkpoint in `directory`."""
    _require_inputs(recipe, data, val)
    reporter.stage(f"loading {source.path}")
    model = source.load()
    plan = make_plan(model, recipe)
    train, val_split = open_splits(recipe, data, val, model.input_shape)
    model = replace(model, normalize=choose_normalize(recipe, model, train or val_split))
    graph = binarize(model, plan, recipe)
    if train is not None:  # else the export comes at once
        check_exportable(graph, recipe, model)
        _check_teacher(recipe, model)
    float_accuracy = None
    if val_split is not None:
        reporter.stage(f"accuracy of the float model on {val_split.name}")
        float_accuracy = accuracy_of_graph(model.graph, val_split, model.normalize)["top1"]
    if not resume:
        remove_checkpoint(directory)
    if train is None or model.normalize is None:
        save_checkpoint(_untrained(graph, model, plan, recipe, float_accuracy), directory)
    else:
        reporter.stage(f"training on {train.name}: {sum(stage.epochs for stage in recipe.train.stages)} epochs")
        run_finetune(
            graph,
            plan=plan,
            recipe=recipe,
            train=train,
            val=val_split,
            teacher=model.graph,
            normalize=model.normalize,
            directory=directory,
            resume=resume,
            meta={
                "input_shape": model.input_shape,
                "sha256": model.sha256,
                "source": Path(model.source).name,
                "classes": train.classes,
                "notes": model.notes,
                "float_accuracy": float_accuracy,
            },
            progress=reporter.training,
        )
    return load_checkpoint(directory), val_split


def _untrained(graph: Any, model: FloatModel, plan: Plan, recipe: Recipe, float_accuracy: float | None) -> Checkpoint:
    """The checkpoint of a conversion without data: signs of the float weights, statistics as they were."""
    return Checkpoint(
        graph=graph,
        teacher=model.graph,
        recipe=recipe,
        plan=plan.to_json(),
        input_shape=model.input_shape,
        normalize=model.normalize,
        sha256=model.sha256,
        source=Path(model.source).name,
        classes=model.classes,
        notes=(*model.notes, "not trained: there was no data"),
        finished=True,
        accuracy={"float": float_accuracy, "binary": None},
    )


def _training_result(checkpoint: Checkpoint, directory: Path, began: float) -> Result:
    return {
        "checkpoint": str(directory),
        "epochs": checkpoint.epoch,
        "accuracy": checkpoint.accuracy,
        "history": checkpoint.history,
        "notes": list(dict.fromkeys(checkpoint.notes)),
        "seconds": time.monotonic() - began,
    }


def _require_inputs(recipe: Recipe, data: str | None, val: str | None) -> None:
    """Refuse what cannot work without data, or without ONNX Runtime, before a model is loaded."""
    if not (data or recipe.data.train) and any(stage.epochs for stage in recipe.train.stages):
        raise UsageError("training needs data: give --data SPEC (or data.train in the recipe), or --epochs 0 for none")
    require_data_for_gates(recipe, bool(data or val or recipe.data.train or recipe.data.val))
    if recipe.gates.min_speedup is not None:
        from bincompress.bench.baselines import require_onnxruntime

        require_onnxruntime()


def _check_same_network(checkpoint: str | Path, found: Recipe, wanted: Recipe) -> None:
    """Refuse a recipe of another network than the one that is there, rather than ignore what it asks for."""
    for section in ("method", "defaults", "surgery", "layers"):
        if getattr(found, section) != getattr(wanted, section):
            raise RecipeError(
                f"{wanted.at(section)}: is not that of {Path(checkpoint) / 'recipe.yaml'}, whose network this is; more "
                "training changes train, data, export and gates alone: take these from another recipe, or convert the "
                "float network anew"
            )


def _check_teacher(recipe: Recipe, model: FloatModel) -> None:
    """Refuse a teacher that knows nothing."""
    distill = recipe.train.distill
    learns = any(stage.epochs for stage in recipe.train.stages)
    if not model.pretrained and learns and distill is not None and distill.teacher == "original":
        raise RecipeError(
            f"{recipe.at('train', 'distill')}: the teacher is {model.source} itself, whose weights are random; first "
            f"`bincompress train {model.source}`, or name another teacher, or have none: --set train.distill=null"
        )


def _stem(path: str | Path) -> str:
    """What an output is called that the user did not name."""
    return Path(str(path).removeprefix("zoo:")).name.partition(".")[0]
