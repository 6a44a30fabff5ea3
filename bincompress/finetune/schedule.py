"""Learning rate over the steps of one stage: a linear warm-up, then a curve that starts at `optimizer.lr`."""

from __future__ import annotations

import math

from bincompress.recipe import Stage


def lr_factor(stage: Stage, step: int, steps_per_epoch: int) -> float:
    """What rates are multiplied with in step 0 <= step < epochs * steps_per_epoch of a stage.

    With t the share of the stage behind it, warm-up left out, and e = lr_end / lr:
        cosine      e + (1 - e) (1 + cos(pi t)) / 2
        linear      e + (1 - e) (1 - t)
        exponential e^t, t of the epoch's first step: BinaryConnect's rate, constant in each epoch
        step        decay^(number of milestones <= t)
        constant    1
    """
    warmup = stage.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / warmup
    steps = stage.epochs * steps_per_epoch
    if stage.schedule == "exponential":
        step -= step % steps_per_epoch
    t = (step - warmup) / max(1, steps - warmup)
    end = stage.lr_end / stage.optimizer.lr
    match stage.schedule:
        case "cosine":
            return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * t))
        case "linear":
            return end + (1 - end) * (1 - t)
        case "exponential":
            return float(end**t)
        case "step":
            return float(stage.decay ** sum(t >= milestone for milestone in stage.milestones))
        case "constant":
            return 1.0
