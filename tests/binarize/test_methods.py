"""Contracts that every method keeps: registered everywhere, with a recipe that does what the method's defaults say."""

from __future__ import annotations

import pytest
import torch

from bincompress.binarize import METHODS, get_method
from bincompress.recipe import METHODS as RECIPE_METHODS
from bincompress.recipe import WeightConfig, load_recipe
from bincompress.recipe.methods import METHOD_DEFAULTS
from tests.binarize.networks import converted, recipe, zoo_model


def test_every_method_is_registered_everywhere() -> None:
    assert set(METHODS) == set(RECIPE_METHODS) == set(METHOD_DEFAULTS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_a_recipe_of_its_name(name: str) -> None:
    own, defaults = load_recipe(name), recipe(name)
    assert own.method == name
    assert own.defaults.weight.scale == defaults.defaults.weight.scale
    assert own.defaults.activation == defaults.defaults.activation
    assert own.surgery == defaults.surgery
    assert (own.layers.first, own.layers.last) == (defaults.layers.first, defaults.layers.last)
    assert 1 <= sum(stage.epochs for stage in own.train.stages) <= 5
    assert len(own.with_epochs(1).train.stages) == len(own.train.stages)
    converted(zoo_model("lenet5"), own)


@pytest.mark.parametrize("name", METHODS)
def test_latents_keep_signs_and_shape(name: str) -> None:
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 3, 3) * 0.05
    weight[0, 0, 0] = 0.0
    for config in (WeightConfig(), WeightConfig.model_validate({"clip": None, "scale": {"granularity": "none"}})):
        latents = get_method(name).latents(weight, config)
        assert latents.shape == weight.shape
        assert torch.equal(latents >= 0, weight >= 0)
        assert config.clip is None or float(latents.abs().max()) <= config.clip
    assert torch.equal(get_method(name).latents(torch.zeros(2, 2), WeightConfig()), torch.zeros(2, 2))


def test_only_stochastic_binaryconnect_has_a_note() -> None:
    assert not any(get_method(name).notes(recipe(name)) for name in METHODS)
    assert get_method("bc").notes(recipe("bc", defaults={"weight": {"stochastic": True}}))
