"""Accuracy and gates: the numbers that decide whether a build passes."""

from __future__ import annotations

import numpy as np
import pytest

from bincompress.data import Split
from bincompress.errors import DataError, RecipeError
from bincompress.evaluate import _measure, check_fits
from bincompress.gates import check_gates, require_data_for_gates
from bincompress.recipe import parse_recipe


def split_of(labels: list[int], classes: int) -> Split:
    images = np.zeros((len(labels), 1, 2, 2), np.uint8)
    images[:, 0, 0, 0] = np.arange(len(labels))
    return Split(images, np.array(labels, np.int64), tuple(map(str, range(classes))), "made#test")


def measured(logits: list[list[float]], labels: list[int]) -> dict[str, float]:
    table = np.array(logits, np.float32)
    return _measure(lambda images: table[images[:, 0, 0, 0]], split_of(labels, table.shape[1]))


def test_top1_and_top5_count_ranks() -> None:
    logits = [[9, 8, 7, 6, 5, 4, 3], [9, 8, 7, 6, 5, 4, 3], [9, 8, 7, 6, 5, 4, 3]]
    result = measured(logits, [0, 4, 5])
    assert result["top1"] == pytest.approx(1 / 3)
    assert result["top5"] == pytest.approx(2 / 3)
    assert result["samples"] == 3


def test_ties_go_to_the_lower_class_as_argmax_does() -> None:
    assert measured([[1, 1, 0], [1, 1, 0]], [0, 1])["top1"] == 0.5


def test_nan_is_never_a_right_answer() -> None:
    result = measured([[float("nan"), 0, 0]], [0])
    assert (result["top1"], result["top5"]) == (0, 0)


def test_data_that_does_not_fit_the_model_is_named() -> None:
    with pytest.raises(DataError, match="a label is 3, but the model has 2 outputs"):
        _measure(lambda images: np.zeros((len(images), 2), np.float32), split_of([3], 4))
    with pytest.raises(DataError, match="images are 1x2x2, the model reads 3x32x32"):
        check_fits(split_of([0], 1), (3, 32, 32))


@pytest.mark.parametrize(
    ("gate", "value", "passed"),
    [
        ("max_drop: 0.05", 0.05, True),
        ("max_drop: 0.05", 0.051, False),
        ("min_accuracy: 0.9", 0.9, True),
        ("min_accuracy: 0.9", 0.89, False),
        ("max_bytes: 100", 101, False),
        ("min_speedup: 2", 2.5, True),
        ("max_float_macs: 0.2", None, False),
    ],
)
def test_a_gate_passes_on_its_limit_and_fails_beyond(gate: str, value: float | None, passed: bool) -> None:
    recipe = parse_recipe(f"method: xnor\ngates: {{{gate}}}", "r.yaml")
    name = gate.partition(":")[0]
    (row,) = check_gates(recipe, {name: value})
    assert (row["name"], row["value"], row["passed"]) == (name, value, passed)


def test_no_limits_no_gates() -> None:
    assert check_gates(parse_recipe("method: xnor", "r.yaml"), {}) == []


def test_an_accuracy_gate_needs_data() -> None:
    recipe = parse_recipe("method: xnor\ngates: {min_accuracy: 0.9}", "r.yaml")
    require_data_for_gates(recipe, True)
    with pytest.raises(RecipeError, match=r"r\.yaml:2:9: gates\.min_accuracy: needs data"):
        require_data_for_gates(recipe, False)
