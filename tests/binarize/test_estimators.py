"""sgn, its surrogate gradients, and sampled signs."""

from __future__ import annotations

import math

import pytest
import torch

from bincompress.binarize.estimators import FAST, binarize_tensor, sample_signs, sgn
from bincompress.methods import ESTIMATORS

ABOVE_ONE = 1 + 2**-23
POINTS = [0.0, -0.0, 1e-45, -1e-45, 0.5, -0.5, 1.0, -1.0, ABOVE_ONE, -ABOVE_ONE, 7.0, -7.0]
SIGNS = [1, 1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1]
GRADIENTS = {
    "ste": [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0],
    "identity": [1] * 12,
    "approxsign": [2, 2, 2, 2, 1, 1, 0, 0, 0, 0, 0, 0],
}


@pytest.mark.parametrize("name", FAST)
def test_signs_and_gradient_at_the_edges(name: str) -> None:
    x = torch.tensor(POINTS, requires_grad=True)
    y = binarize_tensor(x, name)
    assert y.tolist() == SIGNS
    (gradient,) = torch.autograd.grad(y, x, torch.full_like(y, 3.0))
    assert gradient.tolist() == [3.0 * value for value in GRADIENTS[name]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_signs_in_the_same_order_of_memory() -> None:
    x = torch.tensor(POINTS).reshape(1, 3, 2, 2).to(memory_format=torch.channels_last)
    signs = sgn(x.cuda())
    assert torch.equal(signs.cpu(), sgn(x))
    assert signs.stride() == x.stride()


@pytest.mark.parametrize("name", FAST)
def test_a_fast_form_computes_what_the_method_registered(name: str) -> None:
    x = torch.cat([torch.tensor(POINTS), torch.randn(100)]).requires_grad_()
    incoming = torch.randn_like(x)
    (gradient,) = torch.autograd.grad(binarize_tensor(x, name), x, incoming)
    assert torch.equal(gradient, incoming * ESTIMATORS[name].gradient(x.detach()))


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_signs_and_is_finite_and_even(name: str, progress: float) -> None:
    x = torch.tensor(POINTS, requires_grad=True)
    y = binarize_tensor(x, name, progress=progress)
    assert y.tolist() == SIGNS
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.isfinite(gradient).all()
    assert torch.equal(gradient[0::2], gradient[1::2])
    assert (gradient >= 0).all()
    assert float(gradient[4]) > 0  # at 0.5
    large = torch.full((3,), 1e4, requires_grad=True)
    (far,) = torch.autograd.grad(binarize_tensor(large, name, progress=progress).sum(), large)
    assert math.isfinite(float(far.sum()))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_sampled_signs_have_the_same_gradient(name: str) -> None:
    x = torch.tensor(POINTS, requires_grad=True)
    (sampled,) = torch.autograd.grad(binarize_tensor(x, name, stochastic=True).sum(), x)
    (decided,) = torch.autograd.grad(binarize_tensor(x, name).sum(), x)
    assert torch.equal(sampled, decided)


def test_sampled_signs_follow_the_hard_sigmoid() -> None:
    torch.manual_seed(0)
    for value, share in ((-2.0, 0.0), (-1.0, 0.0), (-0.5, 0.25), (0.0, 0.5), (0.6, 0.8), (1.0, 1.0), (3.0, 1.0)):
        signs = sample_signs(torch.full((100_000,), value))
        assert set(signs.unique().tolist()) <= {-1.0, 1.0}
        assert float((signs > 0).float().mean()) == pytest.approx(share, abs=0.01)


def test_memory_format_is_kept() -> None:
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert sgn(x).stride() == x.stride()
