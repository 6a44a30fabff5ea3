"""Contracts of every method: a recipe of its name that does what its defaults say, latents with the same signs."""

from __future__ import annotations

import pytest
import torch

from bincompress.methods import METHODS, Method, register
from bincompress.recipe import WeightConfig, load_recipe
from tests.binarize.networks import converted, recipe, zoo_model


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_a_recipe_of_its_name(name: str) -> None:
    own, defaults = load_recipe(name), recipe(name)
    assert own.method == name
    for key in ("scale", "transform", "estimator", "gradient"):
        assert getattr(own.defaults.weight, key) == getattr(defaults.defaults.weight, key)
    assert own.defaults.activation == defaults.defaults.activation
    assert own.defaults.estimator == defaults.defaults.estimator
    assert own.surgery == defaults.surgery
    assert (own.layers.first, own.layers.last) == (defaults.layers.first, defaults.layers.last)
    assert len(own.with_epochs(1).train.stages) == len(own.train.stages)
    converted(zoo_model("lenet5"), own)


@pytest.mark.parametrize("name", METHODS)
def test_latents_keep_signs_and_shape(name: str) -> None:
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 3, 3) * 0.05
    weight[0, 0, 0] = 0.0
    for config in (WeightConfig(), WeightConfig.model_validate({"clip": None, "scale": {"granularity": "none"}})):
        latents = METHODS[name].latents(weight, config.model_dump())
        assert latents.shape == weight.shape
        assert torch.equal(latents >= 0, weight >= 0)
        assert config.clip is None or float(latents.abs().max()) <= config.clip
    assert torch.equal(METHODS[name].latents(torch.zeros(2, 2), WeightConfig().model_dump()), torch.zeros(2, 2))


def test_only_stochastic_binaryconnect_has_a_note() -> None:
    assert not any(METHODS[name].notes(recipe(name).model_dump()) for name in METHODS)
    assert METHODS["bc"].notes(recipe("bc", defaults={"weight": {"stochastic": True}}).model_dump())


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="Method 'bc' is registered twice"):
        register(Method("bc", "again", "none", {}))
