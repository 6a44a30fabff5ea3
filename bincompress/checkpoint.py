"""A training checkpoint: a directory that holds the 1-bit network, how it came about and how to go on.

    checkpoint.json             structure of both networks, plan, accuracy, and which epoch the weights are of
    recipe.yaml                 the resolved recipe
    teacher.safetensors         weights of the float network
    epoch-0003/model.safetensors, optimizer.safetensors

Nothing in it is pickled, and rebuilding a network from it runs no code of the user's. `checkpoint.json` is replaced
last and at once, and names the epoch's directory, so that a directory seen at any moment, or left by a crash, holds one
complete epoch.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, fx

from bincompress.binarize import Imitation
from bincompress.errors import ModelLoadError, RecipeError, UsageError
from bincompress.graph import graph_from_json, graph_to_json
from bincompress.program import Normalize
from bincompress.recipe import Recipe, parse_recipe

FORMAT = 1
INDEX = "checkpoint.json"
_RECIPE = "recipe.yaml"
_TEACHER = "teacher.safetensors"
TARGETS = "targets"  # a folder that finetune/teacher.py fills while training lasts
_EPOCH = re.compile(r"epoch-[0-9]+(-final)?")


@dataclass
class Checkpoint:
    """A 1-bit network in training or trained.

    `graph` is the trainable 1-bit graph, `teacher` the float one. `plan` are the rows as `convert --json` prints them.
    `epoch` counts finished epochs; `finished` says that training is over and the BatchNorm statistics are final.
    `accuracy` has `float` and `binary` in 0..1, or None where nobody measured. `history` has one entry per epoch.
    `optimizer` are the optimiser's tensors, empty when training is over.
    """

    graph: fx.GraphModule
    teacher: fx.GraphModule | None
    recipe: Recipe
    plan: list[dict[str, Any]]
    input_shape: tuple[int, int, int]
    normalize: Normalize | None
    sha256: str
    source: str
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    epoch: int = 0
    finished: bool = False
    accuracy: dict[str, float | None] = field(default_factory=lambda: {"float": None, "binary": None})
    history: list[dict[str, Any]] = field(default_factory=list)
    optimizer: dict[str, Tensor] = field(default_factory=dict)


def is_checkpoint(path: str | Path) -> bool:
    """Whether a path is a directory with a checkpoint in it."""
    return (Path(path) / INDEX).is_file()


def is_remnant(path: str | Path) -> bool:
    """Whether a path is a directory with nothing but parts of a checkpoint that was never completed."""
    root = Path(path)
    if not root.is_dir() or is_checkpoint(root):
        return False
    names = [entry.name.removeprefix(".").removesuffix(".tmp") for entry in root.iterdir()]
    heavy = [name for name in names if name in (_TEACHER, TARGETS) or _EPOCH.fullmatch(name)]
    return bool(heavy) and all(name in heavy or name in (_RECIPE, INDEX) for name in names)


def save_checkpoint(checkpoint: Checkpoint, directory: str | Path) -> None:
    """Write a checkpoint, making the directory if need be; what it held before stays valid until the last moment.

    Raises: UsageError if the directory cannot be written.
    """
    root = Path(directory)
    name = f"epoch-{checkpoint.epoch:04d}{'-final' if checkpoint.finished else ''}"
    fresh = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        _replace(root / _RECIPE, checkpoint.recipe.to_yaml().encode())
        if checkpoint.teacher is not None:
            _replace(root / _TEACHER, _tensors(checkpoint.teacher.state_dict()))
        folder = root / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        _replace(folder / "model.safetensors", _tensors(checkpoint.graph.state_dict()))
        if checkpoint.optimizer:
            _replace(folder / "optimizer.safetensors", _tensors(checkpoint.optimizer))
        _replace(root / INDEX, (json.dumps(_index(checkpoint, name), indent=1) + "\n").encode())
        for old in root.glob("epoch-*"):
            if old.name != name:
                shutil.rmtree(old, ignore_errors=True)
    except BaseException as error:
        if fresh and not is_checkpoint(root):
            shutil.rmtree(root, ignore_errors=True)  # what cannot be resumed would only stand in the next run's way
        if isinstance(error, OSError):
            raise UsageError(f"{root}: cannot write the checkpoint: {error.strerror or error}") from error
        raise


def load_checkpoint(directory: str | Path) -> Checkpoint:
    """Read a checkpoint back; its graphs are in evaluation mode, on the CPU.

    Raises: ModelLoadError saying which file is missing or malformed.
    """
    root = Path(directory)
    index = _read_index(root)
    try:
        folder = root / _plain_name(index["epoch_directory"])
        graph = _graph(index["graph"], folder / "model.safetensors")
        graph.meta["imitations"] = tuple(Imitation(**row) for row in index["imitations"])
        teacher = _graph(index["teacher"], root / _TEACHER) if index["teacher"] else None
        optimizer = folder / "optimizer.safetensors"
        normalize = index["normalize"]
        channels, height, width = index["input_shape"]
        return Checkpoint(
            graph=graph,
            teacher=teacher,
            recipe=parse_recipe((root / _RECIPE).read_text(encoding="utf-8"), str(root / _RECIPE)),
            plan=index["plan"],
            input_shape=(int(channels), int(height), int(width)),
            normalize=Normalize(tuple(normalize["mean"]), tuple(normalize["std"])) if normalize else None,
            sha256=index["sha256"],
            source=index["source"],
            classes=tuple(index["classes"]) if index["classes"] else None,
            notes=tuple(index["notes"]),
            epoch=int(index["epoch"]),
            finished=bool(index["finished"]),
            accuracy=index["accuracy"],
            history=index["history"],
            optimizer=_read_tensors(optimizer) if optimizer.is_file() else {},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelLoadError(
            f"{root / INDEX}: malformed checkpoint ({type(error).__name__}: {error}); train it again"
        ) from error
    except (OSError, RecipeError) as error:
        raise ModelLoadError(f"{root}: incomplete checkpoint: {error}") from error


def _index(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    normalize = checkpoint.normalize
    imitations: tuple[Imitation, ...] = checkpoint.graph.meta.get("imitations", ())
    return {
        "format": FORMAT,
        "epoch": checkpoint.epoch,
        "finished": checkpoint.finished,
        "epoch_directory": name,
        "accuracy": checkpoint.accuracy,
        "source": checkpoint.source,
        "sha256": checkpoint.sha256,
        "input_shape": list(checkpoint.input_shape),
        "normalize": {"mean": list(normalize.mean), "std": list(normalize.std)} if normalize else None,
        "classes": list(checkpoint.classes) if checkpoint.classes else None,
        "notes": list(checkpoint.notes),
        "history": checkpoint.history,
        "plan": checkpoint.plan,
        "imitations": [{"norm": row.norm, "layer": row.layer} for row in imitations],
        "graph": graph_to_json(checkpoint.graph),
        "teacher": graph_to_json(checkpoint.teacher) if checkpoint.teacher is not None else None,
    }


def _read_index(root: Path) -> dict[str, Any]:
    try:
        index = json.loads((root / INDEX).read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelLoadError(
            f"{root}: no checkpoint: {INDEX} cannot be read ({error.strerror}); give a directory that finetune wrote"
        ) from error
    except ValueError as error:
        raise ModelLoadError(f"{root / INDEX}: not JSON: {error}") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        found = index.get("format") if isinstance(index, dict) else None
        raise ModelLoadError(
            f"{root / INDEX}: checkpoint format {found}, expected {FORMAT}; train it again or use that version"
        )
    return index


def _plain_name(name: str) -> str:
    if not _EPOCH.fullmatch(name):
        raise ValueError(f"epoch_directory is {name!r}, expected a name like epoch-0003")
    return name


def _graph(structure: dict[str, Any], weights: Path) -> fx.GraphModule:
    graph = graph_from_json(structure)
    try:
        graph.load_state_dict(_read_tensors(weights))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ModelLoadError(f"{weights}: does not fit the network that {INDEX} describes: {reason}") from error
    return graph.eval()


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ModelLoadError(f"{path}: damaged safetensors file: {error}") from error


def _tensors(tensors: dict[str, Tensor]) -> bytes:
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    return bytes(save(plain))


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that its name never stands for anything but the old or the new content."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
