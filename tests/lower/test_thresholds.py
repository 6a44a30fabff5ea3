"""Folded thresholds against the float expression itself, over every sum that can occur."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bincompress.errors import LoweringError
from bincompress.lower.leaves import Affine
from bincompress.lower.thresholds import curve, decreasing, fold_threshold, is_monotone


def affine(scale: list[float], bias: list[float]) -> Affine:
    module = Affine(torch.tensor(scale, dtype=torch.float64), torch.tensor(bias, dtype=torch.float64))
    module.freeze()
    return module


def check(modules: list[nn.Module], bound: int, channels: int) -> None:
    """Every acc in [-bound, bound]: the threshold on the (maybe negated) sum is the sign of the torch expression."""
    tau, flip = fold_threshold(curve(modules, channels), bound, channels, "test")
    acc = np.arange(-bound, bound + 1)
    y = torch.from_numpy(acc.astype(np.float32)).reshape(1, 1, -1, 1).repeat(1, channels, 1, 1)
    with torch.no_grad():
        for module in modules:
            y = module(y)
    expected = (y < 0).numpy()[0, :, :, 0]
    got = np.where(flip, -1, 1)[:, None] * acc[None] < tau[:, None]
    np.testing.assert_array_equal(got, expected)
    assert tau.dtype == np.int32


@pytest.mark.parametrize("k_bits", [1, 2, 31, 64, 65, 576, 577])
def test_exhaustive_over_random_channels(k_bits: int) -> None:
    rng = np.random.default_rng(k_bits)
    channels = 400
    scale = rng.normal(size=channels) * 10.0 ** rng.uniform(-6, 3, channels)
    bias = -scale * rng.integers(-k_bits - 2, k_bits + 3, channels)  # ties: zero exactly on, or next to, an integer
    bias[::2] += rng.normal(size=200) * np.abs(scale[::2])
    scale[::17] = 0
    bias[::19] = 0
    bias[::23] = -0.0
    check([affine(scale.tolist(), bias.tolist())], k_bits, channels)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**9), st.integers(1, 700))
def test_chains_of_monotone_layers(seed: int, k_bits: int) -> None:
    rng = np.random.default_rng(seed)
    channels = 12

    def random_affine() -> Affine:
        return affine(rng.normal(size=channels).tolist(), (rng.normal(size=channels) * 3).tolist())

    prelu = nn.PReLU(channels)
    nn.init.uniform_(prelu.weight, 0, 2)
    kinds = [random_affine, nn.ReLU, nn.Hardtanh, lambda: prelu, lambda: nn.LeakyReLU(0.1), random_affine]
    modules = [kinds[int(i)]() for i in rng.integers(0, len(kinds), int(rng.integers(1, 5)))]
    assert all(is_monotone(module) for module in modules)
    check(modules, k_bits, channels)


def test_an_all_zero_filter_and_a_dead_gamma_are_constant() -> None:
    for scale, bias, bit in ((0.0, 0.0, False), (0.0, -1e-30, True), (-0.0, -0.0, False), (1e-30, -1.0, True)):
        tau, flip = fold_threshold(curve([affine([scale], [bias])], 1), 9, 1, "test")
        assert not flip[0]
        assert tau[0] == (10 if bit else -9)


def test_order_reverses_with_each_negative_scale() -> None:
    first, second = affine([1.0, -1.0, 1.0, -1.0], [0.0] * 4), affine([1.0, 1.0, -1.0, -1.0], [0.0] * 4)
    np.testing.assert_array_equal(decreasing([first, nn.ReLU(), second], 4), [False, True, True, False])


def test_what_is_not_monotone_is_not_folded() -> None:
    bent = nn.PReLU(1)
    nn.init.constant_(bent.weight, -0.5)
    assert not is_monotone(bent)
    assert not is_monotone(nn.LeakyReLU(-0.1))
    assert not is_monotone(nn.Hardtanh(0.0, 6.0))
    assert not is_monotone(nn.AvgPool2d(2))


def test_overflow_is_reported() -> None:
    with pytest.raises(LoweringError, match="layer7"):
        fold_threshold(curve([affine([3e38], [0.0])], 1), 9, 1, "layer7")
