"""Schedules against their formulas."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from pydantic import ValidationError

from bincompress.finetune.schedule import lr_factor
from bincompress.recipe import Stage

SCHEDULES = ("cosine", "linear", "constant", "step", "exponential")


def curve(schedule: str, epochs: int, steps_per_epoch: int, **options: Any) -> list[float]:
    """All factors of a stage, with a rate of 0.1."""
    options = {"lr_end": 1e-4} | options if schedule == "exponential" else options
    stage = Stage.model_validate({"schedule": schedule, "epochs": epochs, "optimizer": {"lr": 0.1}} | options)
    return [lr_factor(stage, step, steps_per_epoch) for step in range(epochs * steps_per_epoch)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_start_at_one_and_never_rise(name: str) -> None:
    factors = curve(name, 10, 10)
    assert factors[0] == 1
    assert all(later <= earlier for earlier, later in pairwise(factors))
    assert all(value >= 0 for value in factors)


def test_cosine_and_linear_end_where_they_are_told_to() -> None:
    assert curve("cosine", 10, 10)[50] == pytest.approx(0.5)
    assert curve("linear", 10, 10)[75] == pytest.approx(0.25)
    for t, factor in enumerate(curve("cosine", 5, 2, lr_end=0.02)):
        assert 0.1 * factor == pytest.approx(0.02 + 0.08 * (1 + math.cos(math.pi * t / 10)) / 2)
    for t, factor in enumerate(curve("linear", 5, 2, lr_end=0.02)):
        assert 0.1 * factor == pytest.approx(0.1 - 0.08 * t / 10)


def test_steps_fall_at_milestones() -> None:
    assert curve("step", 4, 1) == pytest.approx([1, 1, 0.1, 0.01])
    halved = curve("step", 5, 2, milestones=[0.2, 0.4, 0.6, 0.8], decay=0.5)  # BNN's Torch code: halved every n epochs
    assert halved == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625])


def test_exponential_multiplies_once_per_epoch_as_in_binaryconnects_code() -> None:
    start, end, epochs = 0.1, 1e-4, 6
    decay = (end / start) ** (1 / epochs)
    rate, expected = start, []
    for _ in range(epochs):
        expected += [rate] * 3
        rate *= decay
    assert [0.1 * factor for factor in curve("exponential", epochs, 3)] == pytest.approx(expected)


def test_warmup_rises_to_the_full_rate_then_the_schedule_begins() -> None:
    factors = curve("linear", 14, 1, warmup_epochs=4)
    assert factors[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert factors[-1] == pytest.approx(0.1)
    assert curve("linear", 2, 4, warmup_epochs=1)[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert len(set(curve("exponential", 3, 4, warmup_epochs=1)[4:8])) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "exponential"}, "needs lr_end"),
        ({"lr_end": 0.5}, "lr_end 0.5 is above optimizer.lr 0.001"),
        ({"schedule": "step", "milestones": [1.5]}, "less than or equal to 1"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Stage.model_validate(options)
