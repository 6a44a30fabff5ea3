"""sgn, its surrogate gradients, and sampled signs."""

from __future__ import annotations

import pytest
import torch

from bincompress.binarize.estimators import ESTIMATORS, binarize_tensor, sample_signs, sgn
from bincompress.recipe import ESTIMATORS as RECIPE_ESTIMATORS

ABOVE_ONE = 1 + 2**-23
POINTS = [0.0, -0.0, 1e-45, -1e-45, 0.5, -0.5, 1.0, -1.0, ABOVE_ONE, -ABOVE_ONE, 7.0, -7.0]
SIGNS = [1, 1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1]
GRADIENTS = {
    "ste": [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0],
    "identity": [1] * 12,
    "approxsign": [2, 2, 2, 2, 1, 1, 0, 0, 0, 0, 0, 0],
}


def test_recipes_know_exactly_the_registered_estimators() -> None:
    assert set(ESTIMATORS) == set(RECIPE_ESTIMATORS)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_signs_and_gradient_at_the_edges(name: str) -> None:
    x = torch.tensor(POINTS, requires_grad=True)
    y = binarize_tensor(x, name)
    assert y.tolist() == SIGNS
    (gradient,) = torch.autograd.grad(y, x, torch.full_like(y, 3.0))
    assert gradient.tolist() == [3.0 * value for value in GRADIENTS[name]]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_sampled_signs_have_the_same_gradient(name: str) -> None:
    x = torch.tensor(POINTS, requires_grad=True)
    (gradient,) = torch.autograd.grad(binarize_tensor(x, name, stochastic=True).sum(), x)
    assert gradient.tolist() == GRADIENTS[name]


def test_sampled_signs_follow_the_hard_sigmoid() -> None:
    torch.manual_seed(0)
    for value, share in ((-2.0, 0.0), (-1.0, 0.0), (-0.5, 0.25), (0.0, 0.5), (0.6, 0.8), (1.0, 1.0), (3.0, 1.0)):
        signs = sample_signs(torch.full((100_000,), value))
        assert set(signs.unique().tolist()) <= {-1.0, 1.0}
        assert float((signs > 0).float().mean()) == pytest.approx(share, abs=0.01)


def test_memory_format_is_kept() -> None:
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert sgn(x).stride() == x.stride()
