"""The float network that teaches: its answers, kept per augmented view where the recipe says so, and its layers."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, fx, nn

from bincompress.binarize.modules import BinaryWeightLayer
from bincompress.checkpoint import TARGETS
from bincompress.data import Split
from bincompress.errors import ModelLoadError, RecipeError, UsageError
from bincompress.finetune.feed import Batch
from bincompress.finetune.folded import folded
from bincompress.finetune.precision import rounded
from bincompress.graph import Add
from bincompress.load import load_model
from bincompress.program import Normalize
from bincompress.recipe import Distill

_LOGITS, _DATA = "logits", "labels_crc32"
Pairs = dict[str, tuple[Tensor, Tensor]]


class Teacher:
    """Answers of a float network for the batches of a run.

    `views` of the recipe says how many views of each image there are: epoch e shows view e mod views, and what the
    network says of it is kept, float32, in memory and beside the checkpoint. The epochs that come back to a view then
    cost no pass of the teacher.
    """

    def __init__(
        self,
        graph: nn.Module,
        distill: Distill,
        train: Split,
        *,
        normalize: tuple[Normalize, Normalize] | None = None,
        observed: bool = False,
        precision: torch.dtype = torch.float32,
    ) -> None:
        """`normalize`: of the student and of the teacher, where they differ. `observed`: hooks look at its layers, so
        that it must run as it is; otherwise what answers is `folded` of it, its products in this `precision`.
        """
        self._graph = graph
        self._quick: nn.Module | None = graph if observed or not isinstance(graph, fx.GraphModule) else None
        self._precision = torch.float32 if observed else precision
        self._views = distill.views
        self._images = len(train)
        self._labels_crc32 = zlib.crc32(train.labels.tobytes())
        self._renormalize = _affine(*normalize) if normalize is not None and normalize[0] != normalize[1] else None
        self._known: dict[int, Tensor] = {}  # view -> (images, classes), NaN where nobody has asked
        self._asked: dict[int, Tensor] = {}  # view -> (images,) of bool, on the CPU, which must not wait for a GPU
        self._unsaved: set[int] = set()

    def view(self, epoch: int) -> int:
        """Which view of the images an epoch shows."""
        return epoch % self._views if self._views else epoch

    @torch.no_grad()
    def answer(self, batch: Batch, view: int) -> Tensor:
        """Logits (B, classes) for a batch of this view."""
        if not self._views:
            return self._ask(batch.x)
        asked = self._asked.setdefault(view, torch.zeros(self._images, dtype=torch.bool))
        there = batch.indices.to(batch.x.device, non_blocking=True)
        (new,) = torch.where(~asked[batch.indices])
        if len(new) == len(there):
            logits = self._ask(batch.x)
        else:
            logits = self._known[view][there]
            if not len(new):
                return logits
            rows = new.to(batch.x.device)
            logits[rows] = self._ask(batch.x[rows])
        if view not in self._known:
            self._known[view] = logits.new_full((self._images, logits.shape[1]), torch.nan)
        self._known[view][there] = logits
        asked[batch.indices] = True
        self._unsaved.add(view)
        return logits

    def _ask(self, x: Tensor) -> Tensor:
        if self._renormalize is not None:
            factor, shift = (t.to(x.device) for t in self._renormalize)
            self._renormalize = factor, shift
            x = x * factor + shift
        if self._quick is None:  # only now: training has brought the network to its device
            assert isinstance(self._graph, fx.GraphModule)
            self._quick = folded(self._graph)
        logits: Tensor = rounded(self._quick, self._precision, x)
        return logits.flatten(1).float()

    def save(self, directory: Path) -> None:
        """Write the views that have changed, each file at once.

        Raises: UsageError if they cannot be written.
        """
        for view in sorted(self._unsaved):
            path = _path(directory, view)
            temporary = path.with_name(f".{path.name}.tmp")
            tensors = {_LOGITS: self._known[view].cpu(), _DATA: torch.tensor(self._labels_crc32)}
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                save_file(tensors, temporary)
                os.replace(temporary, path)
            except (OSError, SafetensorError) as error:
                raise UsageError(f"{path}: cannot be written: {error}") from error
        self._unsaved.clear()

    def load(self, directory: Path, device: torch.device) -> None:
        """Read the views that an earlier part of this run has written.

        Raises: ModelLoadError for a damaged file, or one of other data.
        """
        for view in range(self._views):
            path = _path(directory, view)
            if not path.is_file():
                continue
            try:
                tensors = load_file(path)
            except SafetensorError as error:
                raise ModelLoadError(f"{path}: damaged: {error}; delete it, it will be computed anew") from error
            same = int(tensors.get(_DATA, torch.tensor(-1))) == self._labels_crc32
            if not same or len(tensors[_LOGITS]) != self._images:
                raise ModelLoadError(f"{path}: holds the teacher's answers to other data; give the data of that run")
            self._known[view] = tensors[_LOGITS].to(device)
            self._asked[view] = ~tensors[_LOGITS].isnan().any(dim=1)


def forget(directory: Path) -> None:
    """Delete a run's answers: they are of use only while it lasts."""
    folder = directory / TARGETS
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def load_teacher(distill: Distill, input_shape: tuple[int, int, int]) -> tuple[fx.GraphModule, Normalize | None]:
    """The network of `distill.teacher` where that is a path, in evaluation mode.

    Raises: LoadError if it cannot be read, or does not take images of this shape.
    """
    model = load_model(distill.teacher, factory=distill.factory, input_shape=input_shape)
    return model.graph.eval(), model.normalize


class Features:
    """Outputs of matched layers of a student and its teacher, caught while both run."""

    def __init__(self, student: nn.Module, teacher: nn.Module, layers: tuple[str, ...] | None) -> None:
        pairs = [(name, name) for name in matching_layers(student, teacher)] if layers is None else _named(layers)
        self._caught: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
        self._handles = []
        for pair in pairs:
            label = ":".join(dict.fromkeys(pair))
            for network, name, caught in zip((student, teacher), pair, self._caught, strict=True):
                self._handles.append(_layer(network, name).register_forward_hook(_catcher(caught, label)))

    def take(self) -> Pairs:
        """The student's and the teacher's output of every pair in their last pass, by name.

        Raises: RecipeError if a pair's images differ in size.
        """
        students, teachers = self._caught
        pairs = {label: (output, teachers[label]) for label, output in students.items()}
        students.clear()
        teachers.clear()
        for label, (student, teacher) in pairs.items():
            if student.shape[2:] != teacher.shape[2:] or (student.dim() == 2 and student.shape != teacher.shape):
                raise RecipeError(
                    f"train.distill.attention: {label}: the student's output is {tuple(student.shape[1:])}, the "
                    f"teacher's {tuple(teacher.shape[1:])}; match layers of one size"
                )
        return pairs

    def close(self) -> None:
        """Take the hooks out of both networks."""
        for handle in self._handles:
            handle.remove()


def matching_layers(student: nn.Module, teacher: nn.Module) -> tuple[str, ...]:
    """Layers of the same name: the sums that end residual blocks, else the 1-bit layers.

    Raises: RecipeError if there are none.
    """
    theirs = dict(teacher.named_modules())
    for kind in (Add, BinaryWeightLayer):
        names = tuple(name for name, m in student.named_modules() if isinstance(m, kind) and name in theirs)
        if names:
            return names
    raise RecipeError("train.distill.attention: no layers of the two networks match by name; list them under layers")


def _named(layers: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, other or name) for name, _, other in (layer.partition(":") for layer in layers)]


def _layer(network: nn.Module, name: str) -> nn.Module:
    try:
        return network.get_submodule(name)
    except AttributeError:
        known = ", ".join(n for n, m in network.named_modules() if n and not list(m.children()))
        raise RecipeError(f"train.distill.attention: there is no layer {name!r}; there are: {known}") from None


def _catcher(caught: dict[str, Tensor], label: str) -> Any:
    def catch(module: nn.Module, inputs: Any, output: Tensor) -> None:
        caught[label] = output

    return catch


def _affine(student: Normalize, teacher: Normalize) -> tuple[Tensor, Tensor]:
    """x_teacher = x_student * factor + shift, for x = (u / 255 - mean) / std of each."""
    mean_s, std_s, mean_t, std_t = (
        torch.tensor(values, dtype=torch.float64).reshape(1, -1, 1, 1)
        for values in (student.mean, student.std, teacher.mean, teacher.std)
    )
    return (std_s / std_t).float(), ((mean_s - mean_t) / std_t).float()


def _path(directory: Path, view: int) -> Path:
    return directory / TARGETS / f"view-{view:04d}.safetensors"
