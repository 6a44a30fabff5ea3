"""A training run: what it is made of, what it reports, how it begins or goes on, and what it refuses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from bincompress.binarize.modules import BinaryWeightLayer, Sign
from bincompress.checkpoint import Checkpoint, is_checkpoint, load_checkpoint, save_checkpoint
from bincompress.data import Split
from bincompress.errors import DataError, RecipeError, UsageError
from bincompress.finetune.augment import default_transforms, normalized
from bincompress.finetune.bn import evaluating
from bincompress.finetune.feed import Feed, hold_out
from bincompress.finetune.keep import Keeper
from bincompress.finetune.optimizer import optimizer_tensors
from bincompress.finetune.precision import choose_precision
from bincompress.finetune.teacher import Features, Teacher, forget, load_teacher
from bincompress.methods import METHODS
from bincompress.plan import Plan
from bincompress.program import Normalize
from bincompress.recipe import Recipe

EVAL_BATCH = 250


@dataclass(frozen=True)
class Progress:
    """How far training is; `flips` is the share of binary weights that changed sign, per step.

    `val_accuracy` is set in an epoch's last report: over the images held out of training, else over at most 2,000
    validation images, if there are any.
    """

    stage: str
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    flips: float
    seconds: float
    seconds_left: float
    val_accuracy: float | None = None


@dataclass(frozen=True)
class Result:
    """The trained graph in evaluation mode, its accuracy (0..1) on `val` if there was one, and one row per epoch."""

    graph: fx.GraphModule
    accuracy: float | None
    history: list[dict[str, Any]]
    notes: tuple[str, ...]


@dataclass
class Run:
    """What the functions of the loop share; `original` is the float network that was converted."""

    recipe: Recipe
    train: Split
    held_out: Split | None
    val: Split | None
    original: fx.GraphModule | None
    normalize: Normalize
    checkpoint: Checkpoint
    directory: Path | None
    progress: Callable[[Progress], None] | None
    device: torch.device
    feed: Feed
    precision: torch.dtype = torch.float32
    teacher: Teacher | None = None
    features: Features | None = None
    started: float = field(default_factory=time.monotonic)
    first_epoch: int = 0

    @property
    def graph(self) -> fx.GraphModule:
        return self.checkpoint.graph

    @property
    def epochs(self) -> int:
        return sum(stage.epochs for stage in self.recipe.train.stages)

    def save(self, optimizers: Iterable[torch.optim.Optimizer] = (), keeper: Keeper | None = None) -> None:
        """Write the checkpoint, if there is a directory for it: first what it needs, then the epoch itself."""
        self.checkpoint.optimizer = optimizer_tensors(self.graph, optimizers) | (keeper.tensors() if keeper else {})
        if self.directory is None:
            return
        if self.teacher is not None and not self.checkpoint.finished:
            self.teacher.save(self.directory)
        save_checkpoint(self.checkpoint, self.directory)
        if self.checkpoint.finished:
            forget(self.directory)

    def images(self, count: int) -> Iterator[Tensor]:
        """A fixed random choice of batches, augmented as in training.

        The weights have adapted to the statistics of augmented images (crops bring in black borders): with those of
        plain images a BWN ResNet-20 loses 2.5 points on plain test images.
        """
        return (batch.x for batch in islice(self.feed.epoch(-1), count))

    @torch.no_grad()
    def accuracy(self, split: Split | None, samples: int | None = None) -> float | None:
        """Share of the first `samples` images, or of all, that the network gets right as it is now."""
        if split is None:
            return None
        images, labels = torch.from_numpy(split.images[:samples]), torch.from_numpy(split.labels[:samples])
        correct = 0
        with evaluating(self.graph):
            for start in range(0, len(labels), EVAL_BATCH):
                x = normalized(images[start : start + EVAL_BATCH].to(self.device), self.normalize)
                answers = self.graph(x).flatten(1).argmax(1).cpu()
                correct += int((answers == labels[start : start + EVAL_BATCH]).sum())
        return correct / len(labels)

    def move(self, device: torch.device, memory_format: torch.memory_format) -> None:
        """Bring both networks to a device, in the memory format that its convolutions want."""
        for network in (self.graph, self.original):
            if network is not None:
                network.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]

    def report(self, progress: Progress) -> None:
        """Tell whoever watches."""
        if self.progress is not None:
            self.progress(progress)

    def how_to_resume(self) -> str:
        """What to say when training is stopped by hand."""
        epoch = self.checkpoint.epoch
        if self.directory is None or epoch == self.first_epoch == 0:
            return f"stopped in epoch {epoch + 1} of {self.epochs}; nothing has been saved"
        return (
            f"stopped in epoch {min(epoch + 1, self.epochs)} of {self.epochs}; {self.directory} holds epoch "
            f"{epoch}: go on with finetune {self.directory} --resume --data SPEC"
        )


def start_run(
    graph: fx.GraphModule,
    *,
    plan: Plan,
    recipe: Recipe,
    train: Split,
    val: Split | None,
    original: fx.GraphModule | None,
    normalize: Normalize,
    directory: Path | None,
    resume: bool,
    meta: dict[str, Any],
    progress: Callable[[Progress], None] | None,
    device: torch.device,
) -> Run:
    """A run that begins, or goes on from the checkpoint in `directory`.

    Raises: RecipeError, UsageError or DataError for what does not fit together.
    """
    _check_recipe(recipe, graph)
    checkpoint = _checkpoint(graph, plan, recipe, original, normalize, meta, directory if resume else None)
    _check_data(train, checkpoint, recipe)
    held_out = None
    if recipe.train.holdout:
        train, held_out = hold_out(train, recipe.train.holdout, recipe.train.seed)
    transforms = recipe.data.transforms
    feed = Feed(
        train,
        normalize,
        recipe.train.batch_size,
        seed=recipe.train.seed,
        transforms=default_transforms(train.name) if transforms is None else transforms,
        mixup=recipe.train.mixup,
        device=device,
    )
    run = Run(recipe, train, held_out, val, original, normalize, checkpoint, directory, progress, device, feed)
    run.first_epoch = checkpoint.epoch
    run.precision = choose_precision(recipe.train.precision, device)
    if not checkpoint.finished:
        _hire_teacher(run, resume)
    return run


def _hire_teacher(run: Run, resume: bool) -> None:
    distill = run.recipe.train.distill
    if distill is None:
        return
    network, normalize = run.original, run.normalize
    if distill.teacher != "original":
        network, own = load_teacher(distill, tuple(run.train.images.shape[1:]))
        theirs, ours = (_classes(net, run.train) for net in (network, run.graph))
        if theirs != ours:
            where = run.recipe.at("train", "distill", "teacher")
            raise RecipeError(f"{where}: answers with {theirs} classes, the network with {ours}")
        network.to(device=run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        normalize = own or normalize
    if network is None:
        return
    observed = distill.attention is not None
    run.teacher = Teacher(
        network, distill, run.train, normalize=(run.normalize, normalize), observed=observed, precision=run.precision
    )
    if distill.attention is not None:
        run.features = Features(run.graph, network, distill.attention.layers)
    if run.directory is not None and resume:
        run.teacher.load(run.directory, run.device)
    elif run.directory is not None:
        forget(run.directory)


def _classes(network: fx.GraphModule, split: Split) -> int:
    with torch.no_grad(), evaluating(network):
        return int(network(torch.zeros(1, *split.images.shape[1:])).flatten(1).shape[1])


def _checkpoint(
    graph: fx.GraphModule,
    plan: Plan,
    recipe: Recipe,
    original: fx.GraphModule | None,
    normalize: Normalize,
    meta: dict[str, Any],
    resume_from: Path | None,
) -> Checkpoint:
    """The checkpoint of a run that begins, or the one that a resumed run goes on from."""
    fresh = Checkpoint(
        graph=graph,
        teacher=original,
        recipe=recipe,
        plan=plan.to_json(),
        input_shape=meta.get("input_shape", (0, 0, 0)),
        normalize=normalize,
        sha256=meta.get("sha256", ""),
        source=meta.get("source", ""),
        classes=meta.get("classes"),
        notes=(*meta.get("notes", ()), *METHODS[recipe.method].notes(recipe.model_dump())),
        accuracy={"float": meta.get("float_accuracy"), "binary": None},
    )
    if resume_from is None or not is_checkpoint(resume_from):
        return fresh
    found = load_checkpoint(resume_from)
    if found.recipe.to_yaml() != recipe.to_yaml():
        raise UsageError(f"{resume_from}: was trained with another recipe; resume with its own recipe.yaml")
    if found.sha256 != fresh.sha256:
        raise UsageError(f"{resume_from}: was trained from another model ({found.source}); resume with that one")
    return found


def _check_recipe(recipe: Recipe, graph: fx.GraphModule) -> None:
    kinds = {"weight": BinaryWeightLayer, "activation": Sign}
    needed = {what for what, kind in kinds.items() if any(isinstance(m, kind) for m in graph.modules())}
    trained = [(i, stage) for i, stage in enumerate(recipe.train.stages) if stage.epochs]
    if trained and (missing := needed - set(trained[-1][1].binarize)):
        index, stage = trained[-1]
        raise RecipeError(
            f"{recipe.at('train', 'stages', index, 'binarize')}: the last stage, {stage.name!r}, leaves "
            f"{' and '.join(sorted(missing))} float, but the packed file has them binary; add them"
        )
    for index, stage in trained:
        if stage.optimizer.name == "bop" and "weight" not in stage.binarize:
            raise RecipeError(
                f"{recipe.at('train', 'stages', index, 'optimizer')}: bop flips signs, but stage {stage.name!r} has "
                "float weights; add weight to its binarize, or choose another optimizer"
            )


def _check_data(train: Split, checkpoint: Checkpoint, recipe: Recipe) -> None:
    shape = tuple(train.images.shape[1:])
    if checkpoint.input_shape != (0, 0, 0) and shape != tuple(checkpoint.input_shape):
        raise DataError(f"{train.name}: images are {shape}, the model wants {tuple(checkpoint.input_shape)}")
    if checkpoint.classes and len(checkpoint.classes) != len(train.classes):
        raise DataError(
            f"{train.name}: has {len(train.classes)} classes, the data of this checkpoint {len(checkpoint.classes)}; "
            "give the data of that run"
        )
    if len(train) - recipe.train.holdout < 2:
        kept = f" less {recipe.train.holdout} held out" if recipe.train.holdout else ""
        raise DataError(f"{train.name}: {len(train)} images{kept}; training needs 2 at least")
