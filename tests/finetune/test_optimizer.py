"""Optimisers against their definitions; who decays, who is scaled, who learns, who is clipped."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import fx, nn

from bincompress.binarize.shift_norm import ap2
from bincompress.errors import RecipeError
from bincompress.finetune.bop import Bop
from bincompress.finetune.optimizer import (
    FlipCounter,
    build_optimizers,
    choose_parameters,
    clip_latents,
    glorot_scale,
    set_lr,
)
from bincompress.finetune.shift_adamax import ShiftAdaMax
from bincompress.recipe import Stage
from tests.finetune.synthetic import prepared, recipe

BOP = {"optimizer": {"name": "bop", "lr": 1e-2, "gamma": 0.1, "threshold": 1e-3}}


def test_only_float_weights_of_layers_decay() -> None:
    _, _, graph = prepared(recipe("xnor"))
    stage = Stage.model_validate({"weight_decay": 0.1, "optimizer": {"name": "sgd", "lr": 0.5}})
    optimizers = build_optimizers(graph, stage, "none")
    names = {id(p): name for name, p in graph.named_parameters()}
    decayed = {names[id(p)] for g in optimizers[0].param_groups if g["weight_decay"] for p in g["params"]}
    assert decayed == {"conv1.weight", "fc.weight"}
    assert {id(p) for g in optimizers[0].param_groups for p in g["params"]} == set(names)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "shift_adamax"])
def test_a_latent_without_gradient_does_not_move(name: str) -> None:
    """Weight decay, momentum from nothing, or clipping would show here."""
    _, _, graph = prepared(recipe("xnor"))
    stage = Stage.model_validate({"weight_decay": 0.5, "optimizer": {"name": name, "lr": 0.1}})
    optimizers = build_optimizers(graph, stage, "none")
    before = graph.get_submodule("conv2").weight.detach().clone()
    for parameter in graph.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizers[0].step()
    clip_latents(graph)
    assert torch.equal(graph.get_submodule("conv2").weight, before)
    assert not torch.equal(graph.get_submodule("conv1").weight, torch.zeros(()))


def test_glorot_scales_the_steps_of_latents() -> None:
    assert glorot_scale(torch.empty(128, 128, 3, 3)) == pytest.approx(math.sqrt(2 * 128 * 9 / 1.5))  # about 39
    assert glorot_scale(torch.empty(1024, 10)) == pytest.approx(math.sqrt(1034 / 1.5))
    _, _, graph = prepared(recipe("bc"))
    stage = Stage.model_validate({"optimizer": {"name": "sgd", "lr": 1.0, "momentum": 0.0}})
    optimizers = build_optimizers(graph, stage, "glorot")
    set_lr(optimizers, 0.5)
    latent, gamma = graph.get_submodule("conv2").weight, graph.get_submodule("bn2").weight
    before = latent.detach().clone(), gamma.detach().clone()
    for parameter in graph.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizers[0].step()
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


def test_shift_adamax_is_its_definition() -> None:
    random = np.random.default_rng(0)
    w = random.normal(size=7)
    lr, beta1, beta2, glorot = 0.02, 0.9, 0.999, 39.2
    parameter = nn.Parameter(torch.from_numpy(w.copy()))
    group = {"params": [parameter], "lr_scale": glorot}
    optimizer = ShiftAdaMax([group], lr=lr, betas=(beta1, beta2))

    def power(x: np.ndarray | float) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.sign(x) * np.exp2(np.round(np.log2(np.abs(x))))

    m, v = np.zeros(7), np.zeros(7)
    for t in range(1, 30):
        g = random.normal(size=7) * 10.0 ** random.integers(-6, 2)
        g[3] = 0.0
        parameter.grad = torch.from_numpy(g.copy())
        optimizer.step()
        m = beta1 * m + (1 - beta1) * g
        v = power(np.maximum(beta2 * v, np.abs(g)))
        w = w - power(lr / (1 - beta1**t)) * m / (v + 2.0**-27) * power(glorot)
        np.testing.assert_allclose(parameter.detach().numpy(), w, rtol=1e-9)


def test_shift_adamax_takes_scaled_steps_once() -> None:
    _, _, graph = prepared(recipe("bc"))
    stage = Stage.model_validate({"optimizer": {"name": "shift_adamax", "lr": 2**-6}})
    optimizers = build_optimizers(graph, stage, "glorot")
    set_lr(optimizers, 0.5)
    latent = graph.get_submodule("conv2").weight
    before = latent.detach().clone()
    latent.grad = torch.ones_like(latent)
    optimizers[0].step()
    step = float(ap2(torch.tensor(2**-7 / 0.1))) * 0.1 * float(ap2(torch.tensor(glorot_scale(latent))))
    torch.testing.assert_close(before - latent, torch.full_like(latent, step))


def test_bop_flips_where_the_average_gradient_agrees_with_the_sign() -> None:
    random = np.random.default_rng(0)
    w = np.where(random.random(500) < 0.5, -1.0, 1.0)
    parameter = nn.Parameter(torch.from_numpy(w.copy()))
    optimizer = Bop([parameter], gamma=0.3, threshold=0.2)
    m = np.zeros(500)
    flips = 0
    for _ in range(12):
        g = random.normal(size=500)
        parameter.grad = torch.from_numpy(g)
        optimizer.step()
        m = (1 - 0.3) * m + 0.3 * g
        for i in range(500):
            if abs(m[i]) > 0.2 and np.sign(m[i]) == np.sign(w[i]):
                w[i] = -w[i]
                flips += 1
        assert parameter.detach().numpy().tolist() == w.tolist()
    assert flips > 100


def learned(method: str = "xnor") -> fx.GraphModule:
    """A graph whose weights can do without latents."""
    scale = {"scale": {"kind": "learned"}, "center": False}
    return prepared(recipe(method, defaults={"weight": scale}))[2]


def test_bop_has_no_latents_and_adam_has_the_rest() -> None:
    graph = learned()
    before = {name: graph.get_submodule(name).binary_weight() for name in ("conv2", "conv3")}
    optimizers = build_optimizers(graph, Stage.model_validate(BOP), "none")
    assert [type(optimizer) for optimizer in optimizers] == [Bop, torch.optim.Adam]
    for name, signs in before.items():
        assert torch.equal(graph.get_submodule(name).weight, signs)
    names = {id(p): name for name, p in graph.named_parameters()}
    groups = [{names[id(p)] for g in optimizer.param_groups for p in g["params"]} for optimizer in optimizers]
    assert groups[0] == {"conv2.weight", "conv3.weight"}
    assert groups[0] | groups[1] == set(names.values())
    assert not groups[0] & groups[1]
    set_lr(optimizers, 0.1)
    assert [g["lr"] for optimizer in optimizers for g in optimizer.param_groups] == pytest.approx([0.01, 1e-3])


def test_bop_refuses_layers_that_need_magnitudes() -> None:
    for weight, reason in (
        ({"center": False}, "conv2: bop keeps no latent weights"),
        ({"center": True, "scale": {"kind": "learned"}}, "conv2: bop flips signs as they are"),
    ):
        _, _, graph = prepared(recipe("xnor", defaults={"weight": weight}))
        with pytest.raises(RecipeError, match=reason):
            build_optimizers(graph, Stage.model_validate(BOP), "none")


def test_only_the_chosen_parts_learn() -> None:
    graph = learned()
    kinds = {"binary": {"conv2.weight", "conv3.weight"}}
    norms = {name for name, m in graph.named_modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)}
    kinds["batchnorm"] = {f"{name}.{part}" for name in norms for part in ("weight", "bias")}
    everything = {name for name, _ in graph.named_parameters()}
    kinds["float"] = everything - kinds["binary"] - kinds["batchnorm"]
    assert {"conv1.weight", "fc.weight", "conv2.learned_alpha"} <= kinds["float"]
    for name, expected in kinds.items():
        stage = Stage.model_validate({"parameters": [name]})
        choose_parameters(graph, stage)
        optimizers = build_optimizers(graph, stage, "none")
        names = {id(p): n for n, p in graph.named_parameters()}
        assert {names[id(p)] for o in optimizers for g in o.param_groups for p in g["params"]} == expected
    choose_parameters(graph, Stage())
    assert all(p.requires_grad for p in graph.parameters())


def test_adamw_decays_apart_from_the_gradient() -> None:
    _, _, graph = prepared(recipe("xnor"))
    stage = Stage.model_validate({"optimizer": {"name": "adamw", "lr": 0.1}, "weight_decay": 0.2})
    optimizers = build_optimizers(graph, stage, "none")
    weight = graph.get_submodule("conv1").weight
    before = weight.detach().clone()
    weight.grad = torch.zeros_like(weight)
    optimizers[0].step()
    torch.testing.assert_close(weight.detach(), before * (1 - 0.1 * 0.2))
