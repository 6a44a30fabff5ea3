"""Losses against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bincompress.finetune.losses import (
    attention_distance,
    cross_entropy,
    distillation,
    squared_hinge,
    training_loss,
)
from bincompress.recipe import Train


def test_squared_hinge_is_the_mean_over_batch_and_classes() -> None:
    logits, labels = torch.tensor([[2.0, -3.0, 0.5], [0.0, 0.0, 0.0]]), torch.tensor([0, 2])
    expected = (0 + 0 + 1.5**2 + 1 + 1 + 1) / 6
    assert float(squared_hinge(logits, labels, 0.0)) == pytest.approx(expected)


def test_soft_targets_are_what_classes_are_in_the_limit() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 4), torch.randint(0, 4, (6,))
    for loss in (cross_entropy, squared_hinge):
        hard = loss(logits, labels, 0.1)
        torch.testing.assert_close(loss(logits, F.one_hot(labels, 4).float(), 0.1), hard)
    halves = torch.tensor([[0.5, 0.5, 0.0]])
    assert float(squared_hinge(torch.tensor([[3.0, -2.0, 0.0]]), halves, 0.0)) == pytest.approx((1 + 1 + 1) / 3)
    mixed = float(cross_entropy(torch.tensor([[3.0, -2.0, 0.0]]), halves, 0.0))
    log_p = F.log_softmax(torch.tensor([3.0, -2.0, 0.0]), 0)
    assert mixed == pytest.approx(-0.5 * float(log_p[0] + log_p[1]))


def test_distillation_is_the_scaled_divergence_and_zero_for_the_teacher_itself() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 7), torch.randn(5, 7)

    def divergence(temperature: float) -> float:
        p, q = F.softmax(teacher / temperature, 1), F.softmax(student / temperature, 1)
        return temperature**2 * float((p * (p / q).log()).sum(1).mean())

    assert float(distillation(student, teacher, (3.0,))) == pytest.approx(divergence(3), rel=1e-5)
    several = (divergence(1) + divergence(3) + divergence(8)) / 3
    assert float(distillation(student, teacher, (1.0, 3.0, 8.0))) == pytest.approx(several, rel=1e-5)
    assert float(distillation(teacher, teacher, (3.0,))) == pytest.approx(0, abs=1e-6)


def test_at_temperature_one_it_is_reactnets_distributional_loss() -> None:
    """- sum softmax(teacher) log_softmax(student): the same gradient, a value that differs by the teacher's entropy."""
    torch.manual_seed(0)
    teacher, student = torch.randn(5, 7), torch.randn(5, 7, requires_grad=True)
    p = F.softmax(teacher, 1)
    theirs = -(p * F.log_softmax(student, 1)).sum(1).mean()
    train = Train.model_validate({"distill": {"temperature": 1, "weight": 1}})
    ours = training_loss(train, student, torch.zeros(5, dtype=torch.int64), teacher)
    entropy = -(p * p.log()).sum(1).mean()
    torch.testing.assert_close(theirs - ours, entropy)
    torch.testing.assert_close(torch.autograd.grad(theirs, student)[0], torch.autograd.grad(ours, student)[0])


def test_training_loss_weighs_task_and_teacher() -> None:
    torch.manual_seed(0)
    student, teacher, labels = torch.randn(5, 4), torch.randn(5, 4), torch.randint(0, 4, (5,))
    train = Train.model_validate({"distill": {"temperature": 2, "weight": 0.25}, "label_smoothing": 0.1})
    task_loss = F.cross_entropy(student, labels, label_smoothing=0.1)
    expected = 0.75 * task_loss + 0.25 * distillation(student, teacher, (2.0,))
    torch.testing.assert_close(training_loss(train, student, labels, teacher), expected)
    torch.testing.assert_close(training_loss(train, student, labels), task_loss)


def test_label_smoothing_spreads_its_share_over_all_classes() -> None:
    logits, labels = torch.tensor([[1.0, 2.0, -1.0]]), torch.tensor([1])
    target = torch.tensor([[0.1, 0.8, 0.1]])  # 0.3 of the mass over three classes
    expected = -(target * F.log_softmax(logits, 1)).sum()
    torch.testing.assert_close(cross_entropy(logits, labels, 0.3), expected)


def test_attention_is_the_distance_of_unit_maps_of_mean_squares() -> None:
    random = np.random.default_rng(0)
    student, teacher = random.normal(size=(3, 4, 5, 6)), random.normal(size=(3, 8, 5, 6))
    distances = []
    for s, t in zip(student, teacher, strict=True):
        maps = [(features**2).mean(axis=0).ravel() for features in (s, t)]
        units = [m / np.sqrt((m**2).sum()) for m in maps]
        distances.append(np.sqrt(((units[0] - units[1]) ** 2).sum()))
    found = attention_distance(torch.from_numpy(student), torch.from_numpy(teacher))
    assert float(found) == pytest.approx(np.mean(distances))
    twice = attention_distance(torch.from_numpy(student), torch.from_numpy(2 * student))
    assert float(twice) == pytest.approx(0, abs=1e-6)  # its size plays no part


def test_attention_joins_the_loss_with_its_weight() -> None:
    torch.manual_seed(0)
    student, teacher, labels = torch.randn(5, 4), torch.randn(5, 4), torch.randint(0, 4, (5,))
    layers = {"a": (torch.randn(5, 2, 3, 3), torch.randn(5, 2, 3, 3)), "b": (torch.randn(5, 9), torch.randn(5, 9))}
    plain = Train.model_validate({"distill": {}})
    train = Train.model_validate({"distill": {"attention": {"weight": 3}}})
    added = training_loss(train, student, labels, teacher, layers) - training_loss(plain, student, labels, teacher)
    expected = 3 * (attention_distance(*layers["a"]) + attention_distance(*layers["b"]))
    torch.testing.assert_close(added, expected)


def test_no_gradient_is_nan_where_maps_agree() -> None:
    features = torch.randn(2, 3, 4, 4, requires_grad=True)
    attention_distance(features, features.detach()).backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
