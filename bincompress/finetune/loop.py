"""Fine-tuning: one readable loop over stages, epochs and batches.

Every epoch is a function of the weights at its start, the recipe's seed and its own number, for all random choices are
drawn from generators seeded with those: a run that is stopped and resumed ends in the same bits as one that is not,
given the same number of threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import fx

from bincompress.binarize import Imitation, check_signs, native_products, set_progress
from bincompress.binarize.modules import BinaryWeightLayer, Sign
from bincompress.data import Split
from bincompress.finetune.bn import evaluating, imitate, reestimate_bn
from bincompress.finetune.device import choose_device, device_name, settings
from bincompress.finetune.keep import choose_keeper
from bincompress.finetune.memory import keep_freed_memory
from bincompress.finetune.optimizer import (
    FlipCounter,
    Optimizers,
    build_optimizers,
    choose_parameters,
    restore_optimizers,
    set_lr,
)
from bincompress.finetune.precision import rounded_products
from bincompress.finetune.run import Progress, Result, Run, start_run
from bincompress.finetune.schedule import lr_factor
from bincompress.finetune.step import Step
from bincompress.plan import Plan
from bincompress.program import Normalize
from bincompress.recipe import Recipe, Stage

_REPORT_EVERY = 20  # steps
_VAL_SAMPLES = 2000  # looked at after each epoch; the final accuracy is over all


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

    `teacher` is the float graph that was converted. `val` is only ever reported, never selected by: what selects is a
    part of `train`, held out as the recipe says.
    `directory` receives a checkpoint after each epoch and at the end; `resume` goes on from the one that it holds.
    `meta` has what a checkpoint says of the model: input_shape, sha256, source, classes, notes, float_accuracy.
    Returns: the trained graph (the one given, trained in place, unless resumed), in evaluation mode, on the CPU.
    Raises: RecipeError for a recipe that leaves layers float, UsageError for a resume that does not fit, DataError
        for data that does not, KeyboardInterrupt saying how to go on.
    """
    device = choose_device(recipe.train.device)
    run = start_run(
        graph,
        plan=plan,
        recipe=recipe,
        train=train,
        val=val,
        original=teacher,
        normalize=normalize,
        directory=directory,
        resume=resume,
        meta=meta or {},
        progress=progress,
        device=device,
    )
    keep_freed_memory()
    try:
        with settings(device, recipe.train.threads), evaluating(teacher if teacher is not None else run.graph):
            if not run.checkpoint.finished:
                run.move(device, torch.channels_last)
                with (
                    native_products(run.graph, floats=run.precision == torch.float32),
                    rounded_products(run.graph, run.precision),
                ):
                    _train(run)
                    _finish(run)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(run.how_to_resume()) from None
    finally:
        run.move(torch.device("cpu"), torch.contiguous_format)
        if run.features is not None:
            run.features.close()
    checkpoint = run.checkpoint
    return Result(run.graph.eval(), checkpoint.accuracy["binary"], checkpoint.history, checkpoint.notes)


def _train(run: Run) -> None:
    done = 0
    for stage in run.recipe.train.stages:
        start = run.checkpoint.epoch - done
        if 0 <= start < stage.epochs:
            _train_stage(run, stage, start, done)
        done += stage.epochs


def _train_stage(run: Run, stage: Stage, start: int, epochs_before: int) -> None:
    set_binarized(run.graph, stage.binarize)
    choose_parameters(run.graph, stage)
    optimizers = build_optimizers(run.graph, stage, run.recipe.train.lr_scale)
    keeper = choose_keeper(run.graph, run.recipe.train)
    take_step = Step(run, optimizers, keeper)
    if start == 0:  # other layers are binary now: their statistics are void
        _reestimate(run)
    else:
        restore_optimizers(run.graph, optimizers, run.checkpoint.optimizer)
        keeper.restore(run.checkpoint.optimizer)
    for epoch in range(start, stage.epochs):
        row = _train_epoch(run, stage, optimizers, take_step, epoch, epochs_before + epoch)
        keeper.epoch(row["val_accuracy"])
        run.checkpoint.epoch = epochs_before + epoch + 1
        run.checkpoint.history.append(row)
        run.save(optimizers, keeper)


def _train_epoch(
    run: Run, stage: Stage, optimizers: Optimizers, take_step: Step, epoch: int, number: int
) -> dict[str, Any]:
    """One pass over the training data; `epoch` counts in the stage, `number` in the whole run."""
    graph, steps = run.graph, run.feed.steps
    flips = FlipCounter(graph)
    began = time.monotonic()
    seen, flipped = 0, 0.0
    graph.train()
    set_progress(graph, number / run.epochs)
    view = run.teacher.view(number) if run.teacher is not None else number
    take_step.begin()
    for step, batch in enumerate(run.feed.epoch(number, view)):
        set_lr(optimizers, lr_factor(stage, epoch * steps + step, steps))
        take_step(batch, run.teacher.answer(batch, view) if run.teacher is not None else None)
        seen += len(batch.labels)
        if (step + 1) % _REPORT_EVERY == 0 or step + 1 == steps:
            flipped = flips.per_step(step % _REPORT_EVERY + 1)
            loss, accuracy = take_step.loss_sum / seen, take_step.correct / seen
            report = _progress(run, stage, number, step + 1, float(loss), float(accuracy), flipped)
            if step + 1 < steps:
                run.report(report)
    val_accuracy = run.accuracy(run.held_out) if run.held_out else run.accuracy(run.val, _VAL_SAMPLES)
    run.report(replace(report, val_accuracy=val_accuracy))
    return {
        "stage": stage.name,
        "loss": report.loss,
        "accuracy": report.accuracy,
        "flips": flipped,
        "val_accuracy": val_accuracy,
        "seconds": round(time.monotonic() - began, 1),
        "device": device_name(run.device),
        "threads": torch.get_num_threads(),
    }


def _finish(run: Run) -> None:
    """Take the average or the best epoch if asked, binarize everything, settle BatchNorm, measure and save."""
    keeper = choose_keeper(run.graph, run.recipe.train)
    keeper.restore(run.checkpoint.optimizer)
    keeper.apply()
    for parameter in run.graph.parameters():
        parameter.requires_grad_(True)
    set_progress(run.graph, 1.0)
    if any(isinstance(module, BinaryWeightLayer) and module.stochastic for module in run.graph.modules()):
        set_binarized(run.graph, ("activation",))  # how BinaryConnect's paper tests what it trained on sampled signs
        _reestimate(run)
        run.checkpoint.accuracy["real_weights"] = run.accuracy(run.val)
    set_binarized(run.graph, ("activation", "weight"))
    _reestimate(run)
    check_signs(run.graph)
    run.checkpoint.accuracy["binary"] = run.accuracy(run.val)
    run.checkpoint.finished = True
    run.save()


def _reestimate(run: Run) -> None:
    count = run.recipe.train.bn_reestimate_batches
    imitations: tuple[Imitation, ...] = run.graph.meta.get("imitations", ())
    if imitations and run.original is not None:
        imitate(run.graph, run.original, imitations, run.images(max(1, count // 10)))
        run.graph.meta["imitations"] = ()
    reestimate_bn(run.graph, run.images(count))


def set_binarized(graph: fx.GraphModule, what: tuple[str, ...]) -> None:
    """Switch the signs of weights and activations on or off: `what` of "weight" and "activation" is on."""
    for module in graph.modules():
        if isinstance(module, BinaryWeightLayer):
            module.binarize_weight = "weight" in what
        elif isinstance(module, Sign):
            module.binarize = "activation" in what


def _progress(run: Run, stage: Stage, number: int, step: int, loss: float, accuracy: float, flips: float) -> Progress:
    seconds, steps = time.monotonic() - run.started, run.feed.steps
    done = (number - run.first_epoch) * steps + step
    left = seconds / done * ((run.epochs - run.first_epoch) * steps - done)
    return Progress(stage.name, number + 1, run.epochs, step, steps, loss, accuracy, flips, seconds, left)
