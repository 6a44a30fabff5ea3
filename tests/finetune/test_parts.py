"""Schedules, losses, augmentation, optimiser groups and BatchNorm statistics."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bincompress.data import Split
from bincompress.finetune.augment import batches, default_transforms, hflip, normalized, random_crop
from bincompress.finetune.bn import imitate, reestimate_bn
from bincompress.finetune.losses import distillation, squared_hinge, training_loss
from bincompress.finetune.optimizer import FlipCounter, build_optimizer, clip_latents, glorot_scale, set_lr
from bincompress.finetune.schedule import SCHEDULES, lr_factor
from bincompress.graph import trace
from bincompress.lower.emulate import normalize_pixels
from bincompress.program import Normalize
from bincompress.recipe import Stage, Train
from tests.finetune.synthetic import NORMALIZE, prepared, recipe, task


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_start_at_one_and_never_rise(name: str) -> None:
    curve = [lr_factor(name, step, 100) for step in range(100)]
    assert curve[0] == 1
    assert all(later <= earlier for earlier, later in pairwise(curve))
    assert all(value >= 0 for value in curve)


def test_schedule_values() -> None:
    assert lr_factor("cosine", 50, 100) == pytest.approx(0.5)
    assert lr_factor("linear", 75, 100) == pytest.approx(0.25)
    assert lr_factor("constant", 99, 100) == 1
    assert [lr_factor("step", step, 4) for step in range(4)] == pytest.approx([1, 1, 0.1, 0.01])


def test_warmup_rises_to_the_full_rate_then_the_schedule_begins() -> None:
    curve = [lr_factor("linear", step, 14, warmup=4) for step in range(14)]
    assert curve[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert curve[-1] == pytest.approx(0.1)


def test_squared_hinge_is_the_mean_over_batch_and_classes() -> None:
    logits, labels = torch.tensor([[2.0, -3.0, 0.5], [0.0, 0.0, 0.0]]), torch.tensor([0, 2])
    expected = (0 + 0 + 1.5**2 + 1 + 1 + 1) / 6
    assert float(squared_hinge(logits, labels, 0.0)) == pytest.approx(expected)


def test_distillation_is_the_scaled_divergence_and_zero_for_the_teacher_itself() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 7), torch.randn(5, 7)
    p, q = F.softmax(teacher / 3, 1), F.softmax(student / 3, 1)
    expected = 9 * float((p * (p / q).log()).sum(1).mean())
    assert float(distillation(student, teacher, 3.0)) == pytest.approx(expected, rel=1e-5)
    assert float(distillation(teacher, teacher, 3.0)) == pytest.approx(0, abs=1e-6)


def test_training_loss_weighs_task_and_teacher() -> None:
    torch.manual_seed(0)
    student, teacher, labels = torch.randn(5, 4), torch.randn(5, 4), torch.randint(0, 4, (5,))
    train = Train.model_validate({"distill": {"temperature": 2, "weight": 0.25}, "label_smoothing": 0.1})
    task_loss = F.cross_entropy(student, labels, label_smoothing=0.1)
    expected = 0.75 * task_loss + 0.25 * distillation(student, teacher, 2.0)
    torch.testing.assert_close(training_loss(train)(student, labels, teacher), expected)
    torch.testing.assert_close(training_loss(train)(student, labels, None), task_loss)


def test_normalisation_is_the_one_that_everything_else_uses() -> None:
    pixels = torch.randint(0, 256, (4, 3, 5, 6), dtype=torch.uint8)
    normalize = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected = torch.from_numpy(normalize_pixels(pixels.numpy(), normalize))
    assert torch.equal(normalized(pixels, normalize), expected)


def test_crops_are_shifts_and_flips_are_mirrors() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.arange(1, 65, dtype=torch.uint8).reshape(1, 1, 8, 8).expand(200, 2, 8, 8)
    crops = random_crop(pixels, generator)
    padded = F.pad(pixels[0], (1, 1, 1, 1))
    windows = [padded[:, r : r + 8, c : c + 8] for r in range(3) for c in range(3)]
    found = [next(i for i, window in enumerate(windows) if torch.equal(window, crop)) for crop in crops]
    assert set(found) == set(range(9))
    flips = hflip(pixels, generator)
    mirrored = [torch.equal(flip, pixels[0].flip(2)) for flip in flips]
    assert all(torch.equal(flip, pixels[0]) or mirror for flip, mirror in zip(flips, mirrored, strict=True))
    assert 60 < sum(mirrored) < 140


def test_batches_shuffle_by_seed_and_drop_an_incomplete_one() -> None:
    split = task(70)

    def labels(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        data = list(batches(split, NORMALIZE, 32, generator=generator, transforms=("random_crop", "hflip")))
        assert [x.shape for x, _ in data] == [(32, 1, 8, 8)] * 2
        return torch.cat([y for _, y in data]).tolist()

    assert labels(1) == labels(1) != labels(2)
    plain = list(batches(split, NORMALIZE, 32))
    assert [len(y) for _, y in plain] == [32, 32, 6]
    assert torch.cat([y for _, y in plain]).tolist() == split.labels.tolist()


def test_augmentation_by_data_set() -> None:
    assert default_transforms("cifar10#train") == ("random_crop", "hflip")
    assert default_transforms("mnist#train") == default_transforms("digits#train") == default_transforms("mine") == ()


def test_only_float_weights_of_layers_decay() -> None:
    _, _, graph = prepared(recipe("xnor"))
    stage = Stage.model_validate({"weight_decay": 0.1, "optimizer": {"name": "sgd", "lr": 0.5}})
    optimizer = build_optimizer(graph, stage, "none")
    names = {id(p): name for name, p in graph.named_parameters()}
    decayed = {names[id(p)] for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]}
    assert decayed == {"conv1.weight", "fc.weight"}
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == set(names)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_latent_without_gradient_does_not_move(name: str) -> None:
    """Weight decay, momentum from nothing, or clipping would show here."""
    _, _, graph = prepared(recipe("xnor"))
    stage = Stage.model_validate({"weight_decay": 0.5, "optimizer": {"name": name, "lr": 0.1}})
    optimizer = build_optimizer(graph, stage, "none")
    before = graph.get_submodule("conv2").weight.detach().clone()
    for parameter in graph.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    clip_latents(graph)
    assert torch.equal(graph.get_submodule("conv2").weight, before)
    assert not torch.equal(graph.get_submodule("conv1").weight, torch.zeros(()))


def test_glorot_scales_the_steps_of_latents() -> None:
    assert glorot_scale(torch.empty(128, 128, 3, 3)) == pytest.approx(math.sqrt(2 * 128 * 9 / 1.5))  # about 39
    assert glorot_scale(torch.empty(1024, 10)) == pytest.approx(math.sqrt(1034 / 1.5))
    _, _, graph = prepared(recipe("bc"))
    stage = Stage.model_validate({"optimizer": {"name": "sgd", "lr": 1.0, "momentum": 0.0}})
    optimizer = build_optimizer(graph, stage, "glorot")
    set_lr(optimizer, 0.5)
    latent, gamma = graph.get_submodule("conv2").weight, graph.get_submodule("bn2").weight
    before = latent.detach().clone(), gamma.detach().clone()
    for parameter in graph.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizer.step()
    torch.testing.assert_close(before[0] - latent, torch.full_like(latent, 0.5e-3 * glorot_scale(latent)))
    torch.testing.assert_close(before[1] - gamma, torch.full_like(gamma, 0.5e-3))


def test_latents_are_clipped_where_the_recipe_has_a_clip() -> None:
    for clip, largest in ((0.25, 0.25), (None, 9.0)):
        _, _, graph = prepared(recipe("xnor", defaults={"weight": {"clip": clip}}))
        layer = graph.get_submodule("conv2")
        nn.init.constant_(layer.weight, -9.0)
        clip_latents(graph)
        assert float(layer.weight.detach().abs().max()) == largest
        assert float(graph.get_submodule("conv1").weight.detach().abs().max()) < 9


def test_flips_are_counted_per_weight_and_step() -> None:
    _, _, graph = prepared(recipe("xnor"))
    counter = FlipCounter(graph)
    latents = graph.get_submodule("conv2").weight
    with torch.no_grad():
        latents[0] *= -1
    total = graph.get_submodule("conv3").weight.numel() + latents.numel()
    assert counter.per_step(3) == pytest.approx(latents[0].numel() / total / 3)
    assert counter.per_step(3) == 0


def test_reestimated_statistics_are_plain_averages_and_modes_are_restored() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.9))
    graph = trace(network)
    graph.train()
    norm = graph.get_submodule("1")
    norm.running_mean.fill_(99.0)
    images = [torch.randn(8, 1, 4, 4) for _ in range(3)]
    assert reestimate_bn(graph, images) == 3
    outputs = [graph.get_submodule("0")(x) for x in images]
    means = torch.stack([y.mean((0, 2, 3)) for y in outputs]).mean(0)
    variances = torch.stack([y.var((0, 2, 3)) for y in outputs]).mean(0)
    torch.testing.assert_close(norm.running_mean, means.detach())
    torch.testing.assert_close(norm.running_var, variances.detach())
    assert norm.momentum == 0.1
    assert all(module.training for module in graph.modules())
    before = norm.running_mean.clone()
    assert reestimate_bn(graph, []) == 0
    assert torch.equal(norm.running_mean, before)


def test_an_inserted_batchnorm_imitates_the_float_layer() -> None:
    float_model, _, graph = prepared(recipe("bc"))
    imitations = graph.meta["imitations"]
    assert [row.layer for row in imitations] == ["conv3", "fc"]
    images = [normalized(torch.from_numpy(task().images[:128]), NORMALIZE)]
    imitate(graph, float_model.graph, imitations, images)
    reestimate_bn(graph, images)
    graph.eval(), float_model.graph.eval()
    torch.testing.assert_close(graph(images[0]).mean(0), float_model.graph(images[0]).mean(0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(graph(images[0]).std(0), float_model.graph(images[0]).std(0), rtol=0.02, atol=1e-3)


def test_a_single_batch_is_enough() -> None:
    small = Split(task(5).images, task(5).labels, task().classes, "task")
    data = list(batches(small, NORMALIZE, 32, generator=torch.Generator().manual_seed(0)))
    assert [len(y) for _, y in data] == [5]
