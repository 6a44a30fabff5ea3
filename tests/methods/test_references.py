"""Every method's formulas against references of a few lines, and its gradients against differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from bincompress.binarize.estimators import binarize_tensor, sgn
from bincompress.binarize.modules import BinaryConv2d, set_progress
from bincompress.methods import ESTIMATORS, METHODS

Array = npt.NDArray[np.float64]
PROGRESS = (0.0, 0.3, 1.0)


def ste(x: float, progress: float) -> float:
    return min(max(x, -1), 1)


def identity(x: float, progress: float) -> float:
    return x


def approxsign(x: float, progress: float) -> float:
    """Bi-Real Net: 2x + x^2 for x < 0, 2x - x^2 for x >= 0, constant beyond 1."""
    return math.copysign(1, x) if abs(x) >= 1 else 2 * x - math.copysign(x * x, x)


def ede(x: float, progress: float) -> float:
    """IR-Net: k tanh(t x), log10 t from -3 to 1."""
    t = 10 ** (-3 + 4 * progress)
    return max(1 / t, 1) * math.tanh(t * x)


def reste(x: float, progress: float) -> float:
    """ReSTE: sgn(x) |x|^(1/o) between 0.1 and 1.5, its chord through 0 below, constant beyond."""
    o = 1 + 2 * (1 - math.cos(progress * math.pi / 2))
    size = min(abs(x), 1.5)
    return math.copysign(0.1 ** (1 / o) * size / 0.1 if size < 0.1 else size ** (1 / o), x)


PRIMITIVES: dict[str, Callable[[float, float], float]] = {
    "ste": ste,
    "identity": identity,
    "approxsign": approxsign,
    "ede": ede,
    "reste": reste,
}


@pytest.mark.parametrize("progress", PROGRESS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_is_the_derivative_of_its_primitive(name: str, progress: float) -> None:
    points = [x + 0.013 for x in np.linspace(-2, 2, 81)]  # off every kink
    x = torch.tensor(points, requires_grad=True)
    (gradient,) = torch.autograd.grad(binarize_tensor(x, name, progress=progress).sum(), x)
    step = 1e-6
    primitive = PRIMITIVES[name]
    for point, found in zip(x.tolist(), gradient.tolist(), strict=True):
        expected = (primitive(point + step, progress) - primitive(point - step, progress)) / (2 * step)
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


def layer_of(method: str, progress: float = 0.5, **options: Any) -> BinaryConv2d:
    """A convolution of 4 channels to 6 with a method's own settings and random latents, some beyond 1."""
    torch.manual_seed(3)
    chosen = dict(METHODS[method].defaults["defaults"]["weight"])
    scale = {"granularity": "channel", "kind": "analytic"} | chosen.pop("scale")
    chosen.pop("binarizer")
    made = BinaryConv2d(4, 6, 3, **{**chosen, **scale, **options})
    nn.init.normal_(made.weight, mean=0.1, std=0.6)
    set_progress(made, progress)
    made.reset_alpha()
    return made


def numpy_weight(layer: BinaryConv2d) -> Array:
    return layer.weight.detach().double().numpy()


def sign(w: Array) -> Array:
    return np.where(w >= 0, 1.0, -1.0)


def irnet_weight(w: Array, progress: float) -> tuple[Array, Array]:
    flat = w.reshape(len(w), -1)
    standard = (flat - flat.mean(1, keepdims=True)) / flat.std(1, ddof=1, keepdims=True)
    return sign(standard).reshape(w.shape), 2.0 ** np.rint(np.log2(np.abs(standard).mean(1)))


def recu_standard(w: Array, progress: float) -> Array:
    flat = w.reshape(len(w), -1)
    flat = flat - flat.mean(1, keepdims=True)
    standard = flat / np.sqrt(flat.var(1, ddof=1, keepdims=True) + 1e-5) * 2 * np.sqrt(2)
    tau = 0.85 + 0.14 * (np.exp(progress) - 1) / (np.e - 1)
    bound = -np.abs(standard).mean() * np.log(2 - 2 * tau)
    return np.clip(standard, -bound, bound)


def recu_weight(w: Array, progress: float) -> tuple[Array, Array]:
    standard = recu_standard(w, progress)
    return sign(standard).reshape(w.shape), np.abs(standard).mean(1)


def per_filter(w: Array, progress: float) -> tuple[Array, Array]:
    return sign(w), np.abs(w).mean((1, 2, 3))


def per_layer(w: Array, progress: float) -> tuple[Array, Array]:
    return sign(w), np.full(len(w), np.abs(w).mean())


def centred(w: Array, progress: float) -> tuple[Array, Array]:
    return per_filter(w - w.mean(1, keepdims=True), progress)


def unscaled(w: Array, progress: float) -> tuple[Array, Array]:
    return sign(w), np.ones(len(w))


FORWARD = {
    "bc": unscaled,
    "bnn": unscaled,
    "bwn": centred,
    "xnor": centred,
    "xnor_pp": per_filter,
    "dorefa": per_layer,
    "bireal": per_filter,
    "reactnet": per_filter,
    "irnet": irnet_weight,
    "reste": per_layer,
    "recu": recu_weight,
}


@pytest.mark.parametrize("progress", PROGRESS)
@pytest.mark.parametrize("method", METHODS)
def test_forward_weights(method: str, progress: float) -> None:
    layer = layer_of(method, progress)
    signs, alpha = FORWARD[method](numpy_weight(layer), progress)
    assert np.array_equal(layer.binary_weight().numpy(), signs)
    np.testing.assert_allclose(layer.alpha().detach().numpy(), alpha, rtol=2e-5)
    np.testing.assert_allclose(layer._training_weight().detach().numpy(), signs * alpha.reshape(-1, 1, 1, 1), rtol=2e-5)


def gradient_of(layer: BinaryConv2d) -> tuple[Array, Array]:
    """The gradient that a random one of the scaled weights gives the latents, and that random one."""
    torch.manual_seed(4)
    upstream = torch.randn_like(layer.weight)
    layer._training_weight().backward(upstream)
    assert layer.weight.grad is not None
    return layer.weight.grad.double().numpy(), upstream.double().numpy()


def inner(g: Array, w: Array) -> Array:
    return (g * sign(w)).sum((1, 2, 3), keepdims=True)


def test_gradient_of_bwn_and_its_variants() -> None:
    """Exact: alpha g 1{|W| <= 1} + sgn(W)/n sum_j g_j sgn(W_j); paper: its diagonal; code: that times (1 - 1/c) n."""
    options = {"center": False, "clip": 1.0, "estimator": "ste"}
    for gradient in ("exact", "detached", "paper", "code", "straight_through"):
        layer = layer_of("bwn", gradient=gradient, **options)
        w = numpy_weight(layer)
        found, g = gradient_of(layer)
        n, alpha, mask = w[0].size, np.abs(w).mean((1, 2, 3), keepdims=True), np.abs(w) <= 1
        expected = {
            "exact": alpha * g * mask + sign(w) / n * inner(g, w),
            "detached": alpha * g * mask,
            "paper": g * (1 / n + alpha * mask),
            "code": g * (1 / n + alpha * mask) * (1 - 1 / 4) * n,
            "straight_through": g * mask,
        }[gradient]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_gradient_through_centring_is_the_projection_of_the_exact_one() -> None:
    layer = layer_of("xnor", estimator="ste")
    w = numpy_weight(layer)
    found, g = gradient_of(layer)
    c = w - w.mean(1, keepdims=True)
    exact = np.abs(c).mean((1, 2, 3), keepdims=True) * g * (np.abs(c) <= 1) + sign(c) / w[0].size * inner(g, c)
    np.testing.assert_allclose(found, exact - exact.mean(1, keepdims=True), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["bc", "dorefa"])
def test_gradient_that_passes_as_it_is(method: str) -> None:
    found, g = gradient_of(layer_of(method))
    np.testing.assert_allclose(found, g, rtol=1e-6)


@pytest.mark.parametrize("method", ["bnn", "bireal", "reactnet", "xnor_pp"])
def test_gradient_that_is_masked_beyond_one(method: str) -> None:
    layer = layer_of(method)
    found, g = gradient_of(layer)
    np.testing.assert_allclose(found, g * (np.abs(numpy_weight(layer)) <= 1), rtol=1e-6)


def test_gradient_of_reste_is_the_exact_one_with_its_own_derivative() -> None:
    layer = layer_of("reste")
    w = numpy_weight(layer)
    found, g = gradient_of(layer)
    slope = ESTIMATORS["reste"].gradient(torch.from_numpy(w), *ESTIMATORS["reste"].parameters(0.5)).numpy()
    mean = (g * sign(w)).sum() * sign(w) / w.size
    np.testing.assert_allclose(found, np.abs(w).mean() * g * slope + mean, rtol=1e-4, atol=1e-6)


def numeric(function: Callable[[Tensor], Tensor], w: Tensor) -> Array:
    """Central differences of a scalar function of float64 weights."""
    result = torch.zeros_like(w)
    for index in range(w.numel()):
        for side in (1, -1):
            moved = w.clone()
            moved.view(-1)[index] += side * 1e-6
            result.view(-1)[index] += side * float(function(moved)) / 2e-6
    return result.numpy()


@pytest.mark.parametrize("method", ["irnet", "recu"])
def test_gradient_through_a_transform(method: str) -> None:
    """With the sign replaced by its primitive the forward pass is smooth, and differences give the gradient."""
    layer = layer_of(method)
    found, g = gradient_of(layer)
    t = 10 ** (-3 + 4 * 0.5)

    def smooth(w: Tensor) -> Tensor:
        flat = w.flatten(1)
        flat = flat - flat.mean(1, keepdim=True)
        if method == "irnet":
            scaled = torch.tanh(t * flat / flat.std(1, keepdim=True)) * max(1 / t, 1)
        else:
            standard = flat / (flat.var(1, keepdim=True) + 1e-5).sqrt() * 2 * math.sqrt(2)
            scaled = standard.clamp(-bound, bound)
        return (torch.from_numpy(g).flatten(1) * scaled * alpha).sum()

    bound = float(np.abs(recu_standard(numpy_weight(layer), 0.5)).max())
    alpha = layer.alpha().detach().double().reshape(-1, 1)
    np.testing.assert_allclose(found, numeric(smooth, layer.weight.detach().double()), rtol=1e-3, atol=1e-5)


def test_a_learned_alpha_has_its_own_gradient() -> None:
    for method in ("xnor_pp", "recu"):
        layer = layer_of(method)
        _, g = gradient_of(layer)
        assert layer.learned_alpha is not None
        expected = (g * layer.binary_weight().numpy()).sum((1, 2, 3))
        np.testing.assert_allclose(layer.learned_alpha.grad.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_stochastic_signs_average_to_the_hard_sigmoid() -> None:
    torch.manual_seed(0)
    layer = layer_of("bc", stochastic=True)
    with torch.no_grad():
        mean = sum(layer._training_weight() for _ in range(4000)) / 4000
    expected = 2 * np.clip((numpy_weight(layer) + 1) / 2, 0, 1) - 1
    np.testing.assert_allclose(mean.numpy(), expected, atol=5 * 1 / math.sqrt(4000))


def test_latents_are_projected_as_the_released_code_does() -> None:
    layer = layer_of("bwn", center="latents", clip=0.4)
    w = numpy_weight(layer)
    layer.project_latents()
    np.testing.assert_allclose(numpy_weight(layer), np.clip(w - w.mean(1, keepdims=True), -0.4, 0.4), atol=1e-6)
    assert torch.equal(layer.binary_weight(), sgn(layer.weight.detach()))
