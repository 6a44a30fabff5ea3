"""Learning rate over the steps of one stage: warm-up from zero, then a curve that ends at or near zero."""

from __future__ import annotations

import math
from collections.abc import Callable

_DROPS = (0.5, 0.75)  # `step` divides by ten here

SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda t: 0.5 * (1 + math.cos(math.pi * t)),
    "linear": lambda t: 1 - t,
    "constant": lambda t: 1.0,
    "step": lambda t: 0.1 ** sum(t >= drop for drop in _DROPS),
}


def lr_factor(schedule: str, step: int, steps: int, warmup: int = 0) -> float:
    """What the stage's learning rate is multiplied with in step 0 <= step < steps; the first `warmup` rise linearly."""
    if step < warmup:
        return (step + 1) / warmup
    return SCHEDULES[schedule]((step - warmup) / max(1, steps - warmup))
