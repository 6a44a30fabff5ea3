"""Fine-tuning: one readable loop over stages, epochs and batches.

Every epoch is a function of the weights at its start, the recipe's seed and its own number, for all random choices are
drawn from generators seeded with those: a run that is stopped and resumed ends in the same bits as one that is not,
given the same number of threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from bincompress.binarize import Imitation, check_signs, set_progress
from bincompress.binarize.modules import BinaryWeightLayer, Sign
from bincompress.checkpoint import Checkpoint, is_checkpoint, load_checkpoint, save_checkpoint
from bincompress.data import Split
from bincompress.errors import DataError, RecipeError, UsageError
from bincompress.finetune.augment import batches, default_transforms, normalized, steps_per_epoch
from bincompress.finetune.bn import evaluating, imitate, reestimate_bn
from bincompress.finetune.losses import training_loss
from bincompress.finetune.memory import keep_freed_memory
from bincompress.finetune.optimizer import (
    FlipCounter,
    build_optimizer,
    clip_latents,
    optimizer_tensors,
    restore_optimizer,
    set_lr,
)
from bincompress.finetune.schedule import lr_factor
from bincompress.methods import METHODS
from bincompress.plan import Plan
from bincompress.program import Normalize
from bincompress.recipe import Recipe, Stage

_REPORT_EVERY = 20  # steps
_VAL_SAMPLES = 2000  # looked at after each epoch; the final accuracy is over all
_EVAL_BATCH = 250
_SEED_STRIDE = 1_000_003  # seeds of different epochs and runs must not meet


@dataclass(frozen=True)
class Progress:
    """How far training is; `flips` is the share of binary weights that changed sign, per step.

    `val_accuracy` is set in an epoch's last report, over at most 2,000 validation images, if there are any.
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
class _Run:
    """What the functions below share."""

    recipe: Recipe
    train: Split
    val: Split | None
    teacher: fx.GraphModule | None
    normalize: Normalize
    checkpoint: Checkpoint
    directory: Path | None
    progress: Callable[[Progress], None] | None
    started: float = field(default_factory=time.monotonic)
    first_epoch: int = 0

    @property
    def graph(self) -> fx.GraphModule:
        return self.checkpoint.graph

    def save(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        self.checkpoint.optimizer = optimizer_tensors(self.graph, optimizer) if optimizer else {}
        if self.directory is not None:
            save_checkpoint(self.checkpoint, self.directory)


def finetune(
    graph: fx.GraphModule,
    *,
    plan: Plan,
    recipe: Recipe,
    train: Split,
    val: Split | None = None,
    teacher: fx.GraphModule | None = None,
    normalize: Normalize,
    directory: Path | None = None,
    resume: bool = False,
    meta: dict[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Train a graph that `binarize` made, as `recipe.train` says; with 0 epochs only BatchNorm is re-estimated.

    `teacher` is the float graph. `val` is only ever reported, never selected by: the last epoch is the result.
    `directory` receives a checkpoint after each epoch and at the end; `resume` goes on from the one that it holds.
    `meta` has what a checkpoint says of the model: input_shape, sha256, source, classes, notes, float_accuracy.
    Returns: the trained graph (the one given, trained in place, unless resumed), in evaluation mode.
    Raises: RecipeError for a recipe that leaves layers float, UsageError for a resume that does not fit, DataError
        for data that does not, KeyboardInterrupt saying how to go on.
    """
    _check_recipe(recipe, graph)
    checkpoint = _start(graph, plan, recipe, teacher, normalize, meta or {}, directory if resume else None)
    _check_data(train, checkpoint, recipe)
    run = _Run(recipe, train, val, teacher, normalize, checkpoint, directory, progress)
    run.first_epoch = checkpoint.epoch
    keep_freed_memory()
    try:
        with _settings(recipe.train.threads), evaluating(teacher if teacher is not None else graph):
            if not checkpoint.finished:
                _train(run)
                _finish(run)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_how_to_resume(run)) from None
    _set_memory_format(run, torch.contiguous_format)
    graph = run.graph.eval()
    return Result(graph, checkpoint.accuracy["binary"], checkpoint.history, checkpoint.notes)


def _train(run: _Run) -> None:
    _set_memory_format(run, torch.channels_last)  # what the CPU's convolutions want
    done = 0
    for stage in run.recipe.train.stages:
        start = run.checkpoint.epoch - done  # epochs of this stage that a resumed run has behind it
        if 0 <= start < stage.epochs:
            _train_stage(run, stage, start, done)
        done += stage.epochs


def _train_stage(run: _Run, stage: Stage, start: int, epochs_before: int) -> None:
    set_binarized(run.graph, stage.binarize)
    optimizer = build_optimizer(run.graph, stage, run.recipe.train.lr_scale)
    if start == 0:  # other layers are binary now: their statistics are void
        _reestimate(run)
    else:
        restore_optimizer(run.graph, optimizer, run.checkpoint.optimizer)
    for epoch in range(start, stage.epochs):
        row = _train_epoch(run, stage, optimizer, epoch, epochs_before + epoch)
        run.checkpoint.epoch = epochs_before + epoch + 1
        run.checkpoint.history.append(row)
        run.save(optimizer)


def _train_epoch(run: _Run, stage: Stage, optimizer: torch.optim.Optimizer, epoch: int, number: int) -> dict[str, Any]:
    """One pass over the training data; `epoch` counts in the stage, `number` in the whole run."""
    train, graph = run.recipe.train, run.graph
    loss_of = training_loss(train)
    steps = steps_per_epoch(len(run.train), train.batch_size)
    generator = _seed(train.seed, number)
    flips = FlipCounter(graph)
    began = time.monotonic()
    total_loss = correct = seen = flipped = 0.0
    graph.train()
    set_progress(graph, number / sum(s.epochs for s in train.stages))
    data = batches(run.train, run.normalize, train.batch_size, generator=generator, transforms=_transforms(run))
    for step, (x, y) in enumerate(data):  # x (B, C, H, W), y (B,)
        factor = lr_factor(stage.schedule, epoch * steps + step, stage.epochs * steps, stage.warmup_epochs * steps)
        set_lr(optimizer, stage.optimizer.lr * factor)
        logits = graph(x)
        loss = loss_of(logits, y, _teach(run, x))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        clip_latents(graph)

        total_loss += float(loss.detach()) * len(y)
        correct += float((logits.detach().argmax(1) == y).sum())
        seen += len(y)
        if (step + 1) % _REPORT_EVERY == 0 or step + 1 == steps:
            flipped = flips.per_step(step % _REPORT_EVERY + 1)
            report = _progress(run, stage, number, step + 1, steps, total_loss / seen, correct / seen, flipped)
            if step + 1 < steps:
                _report(run, report)
    val_accuracy = _accuracy(run, _VAL_SAMPLES)
    _report(run, replace(report, val_accuracy=val_accuracy))
    return {
        "stage": stage.name,
        "loss": total_loss / seen,
        "accuracy": correct / seen,
        "flips": flipped,
        "val_accuracy": val_accuracy,
        "seconds": round(time.monotonic() - began, 1),
    }


def _teach(run: _Run, x: Tensor) -> Tensor | None:
    if run.teacher is None or run.recipe.train.distill is None:
        return None
    with torch.no_grad():
        logits: Tensor = run.teacher(x)
    return logits


def _finish(run: _Run) -> None:
    """Binarize everything, give BatchNorm its final statistics, measure and save."""
    set_binarized(run.graph, ("activation", "weight"))
    set_progress(run.graph, 1.0)
    _reestimate(run)
    check_signs(run.graph)
    run.checkpoint.accuracy["binary"] = _accuracy(run, None)
    run.checkpoint.finished = True
    run.save()


def _reestimate(run: _Run) -> None:
    count = run.recipe.train.bn_reestimate_batches
    imitations: tuple[Imitation, ...] = run.graph.meta.get("imitations", ())
    if imitations and run.teacher is not None:
        imitate(run.graph, run.teacher, imitations, _images(run, max(1, count // 10)))
        run.graph.meta["imitations"] = ()
    reestimate_bn(run.graph, _images(run, count))


def _images(run: _Run, count: int) -> Iterator[Tensor]:
    """A fixed random choice of batches, augmented as in training.

    The weights have adapted to the statistics of augmented images (crops bring in black borders): with those of plain
    images a BWN ResNet-20 loses 2.5 points on plain test images.
    """
    train = run.recipe.train
    generator = _seed(train.seed, -1)
    shuffled = batches(run.train, run.normalize, train.batch_size, generator=generator, transforms=_transforms(run))
    return (x for x, _ in islice(shuffled, count))


def _transforms(run: _Run) -> tuple[str, ...]:
    chosen = run.recipe.data.transforms
    return default_transforms(run.train.name) if chosen is None else chosen


@torch.no_grad()
def _accuracy(run: _Run, samples: int | None) -> float | None:
    if run.val is None:
        return None
    labels = torch.from_numpy(run.val.labels[:samples])
    images = torch.from_numpy(run.val.images[:samples])
    correct = 0
    with evaluating(run.graph):
        for start in range(0, len(labels), _EVAL_BATCH):
            x = normalized(images[start : start + _EVAL_BATCH], run.normalize)
            correct += int((run.graph(x).argmax(1) == labels[start : start + _EVAL_BATCH]).sum())
    return correct / len(labels)


def set_binarized(graph: fx.GraphModule, what: tuple[str, ...]) -> None:
    """Switch the signs of weights and activations on or off: `what` of "weight" and "activation" is on."""
    for module in graph.modules():
        if isinstance(module, BinaryWeightLayer):
            module.binarize_weight = "weight" in what
        elif isinstance(module, Sign):
            module.binarize = "activation" in what


def _set_memory_format(run: _Run, memory_format: torch.memory_format) -> None:
    networks: tuple[nn.Module | None, ...] = (run.graph, run.teacher)
    for network in networks:
        if network is not None:
            network.to(memory_format=memory_format)  # type: ignore[call-overload]


def _start(
    graph: fx.GraphModule,
    plan: Plan,
    recipe: Recipe,
    teacher: fx.GraphModule | None,
    normalize: Normalize,
    meta: dict[str, Any],
    resume_from: Path | None,
) -> Checkpoint:
    """The checkpoint of a run that begins, or the one that a resumed run goes on from."""
    fresh = Checkpoint(
        graph=graph,
        teacher=teacher,
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
    needed = {"weight"} | ({"activation"} if any(isinstance(m, Sign) for m in graph.modules()) else set())
    trained = [(i, stage) for i, stage in enumerate(recipe.train.stages) if stage.epochs]
    if trained and (missing := needed - set(trained[-1][1].binarize)):
        index, stage = trained[-1]
        raise RecipeError(
            f"{recipe.at('train', 'stages', index, 'binarize')}: the last stage, {stage.name!r}, leaves "
            f"{' and '.join(sorted(missing))} float, but the packed file has them binary; add them"
        )


def _check_data(train: Split, checkpoint: Checkpoint, recipe: Recipe) -> None:
    shape = tuple(train.images.shape[1:])
    if checkpoint.input_shape != (0, 0, 0) and shape != tuple(checkpoint.input_shape):
        raise DataError(f"{train.name}: images are {shape}, the model wants {tuple(checkpoint.input_shape)}")
    if len(train) < 2 or recipe.train.batch_size < 2:
        raise DataError(f"{train.name}: {len(train)} images in batches of {recipe.train.batch_size}; need 2 at least")


def _seed(seed: int, epoch: int) -> torch.Generator:
    """Seed torch's global generator (stochastic signs, dropout) and return one for the order of the data."""
    value = seed * _SEED_STRIDE + epoch + 1
    torch.manual_seed(value)
    return torch.Generator().manual_seed(value)


@contextmanager
def _settings(threads: int | None) -> Iterator[None]:
    """Deterministic kernels and the recipe's number of threads, as they were before afterwards."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


def _progress(
    run: _Run, stage: Stage, number: int, step: int, steps: int, loss: float, accuracy: float, flips: float
) -> Progress:
    epochs = sum(s.epochs for s in run.recipe.train.stages)
    seconds = time.monotonic() - run.started
    done = (number - run.first_epoch) * steps + step
    left = seconds / done * ((epochs - run.first_epoch) * steps - done)
    return Progress(stage.name, number + 1, epochs, step, steps, loss, accuracy, flips, seconds, left)


def _report(run: _Run, progress: Progress) -> None:
    if run.progress is not None:
        run.progress(progress)


def _how_to_resume(run: _Run) -> str:
    epochs = sum(stage.epochs for stage in run.recipe.train.stages)
    if run.directory is None or run.checkpoint.epoch == run.first_epoch == 0:
        return f"stopped in epoch {run.checkpoint.epoch + 1} of {epochs}; nothing has been saved"
    return (
        f"stopped in epoch {min(run.checkpoint.epoch + 1, epochs)} of {epochs}; {run.directory} holds epoch "
        f"{run.checkpoint.epoch}: go on with finetune {run.directory} --resume"
    )
