"""`sign(f(acc))` -> one integer comparison per channel.

1. acc is an exact integer, |acc| <= bound (K for +-1 inputs; K times the largest pixel value otherwise; zero padding
   only takes terms away).
2. f is the float32 expression of the deploy graph between the sum and the sign: affines (two roundings), ReLU,
   hardtanh, PReLU with slope >= 0. Multiplying by a constant, adding one, clamping, and rounding each keep order or,
   for a negative constant, reverse it. So f over the integers is monotone, rounding included, whatever gamma is.
3. Hence the bit b(acc) = [f(acc) < 0] changes at most once on [-bound, bound], and its two ends say which way:
     b(-bound) = b(bound)   a constant channel (gamma = 0, or a bias that outweighs every sum)
     1 at the low end       b(acc) = [acc < tau],  tau = the least acc with f(acc) >= 0
     1 at the high end      b(acc) = [acc > t] = [-acc < -t],  t = the greatest acc with f(acc) >= 0: the filter's
                            weights are negated, which negates every acc exactly, padding included; tau = -t
4. The switch point is found by bisection of f itself, so ties and roundings come out as the deploy graph has them; no
   formula for T = mean - beta * sigma / gamma can promise that. sgn(0) = +1 is the `>= 0`.
5. With a max-pool between two such functions, sign(g(max_i f(acc_i))): g increasing gives the maximum of signs, that is
   AND of bits; g decreasing the minimum, OR of bits. So bits are made first and pooled afterwards, 1/4 of the pooling
   being on 1/32 of the data.
Idea: FINN, arXiv 1612.07119; Larq Compute Engine flips weights in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from bincompress.errors import LoweringError
from bincompress.lower.leaves import Affine

Array = npt.NDArray[Any]
Curve = Callable[[Array], Array]


def is_monotone(module: nn.Module) -> bool:
    """Whether `module` is a per-channel function that step 2 covers."""
    if isinstance(module, nn.PReLU):
        return bool((module.weight >= 0).all())
    if isinstance(module, nn.LeakyReLU):
        return module.negative_slope >= 0
    if isinstance(module, nn.Hardtanh):
        return module.min_val == -1 and module.max_val == 1
    return isinstance(module, Affine | nn.ReLU)


def curve(modules: Sequence[nn.Module], channels: int) -> Curve:
    """The float32 function of (C,) that a chain of monotone modules computes, operation by operation."""
    parts = [_part(module, channels) for module in modules]

    def run(acc: Array) -> Array:
        y = acc.astype(np.float32)
        for part in parts:
            y = part(y)
        return y

    return run


def decreasing(modules: Sequence[nn.Module], channels: int) -> Array:
    """Which channels of the chain reverse order. Returns: (C,) bool."""
    reverse = np.zeros(channels, bool)
    for module in modules:
        if isinstance(module, Affine):
            reverse ^= module.scale.numpy() < 0
    return reverse


def fold_threshold(function: Curve, bound: int, channels: int, name: str) -> tuple[Array, Array]:
    """Turn `sign(function(acc))`, |acc| <= bound, into `acc < tau` after negating some filters.

    Returns: tau (C,) int32, output bit = acc < tau; flip (C,) bool, filters whose weights must be negated.
    Raises: LoweringError if the function is not finite at its ends.
    Source: derivation above.
    """
    low = np.full(channels, -bound, np.int64)
    high = np.full(channels, bound, np.int64)
    with np.errstate(over="ignore"):
        ends = function(low), function(high)
    if not all(np.isfinite(end).all() for end in ends):
        raise LoweringError(f"{name}: its BatchNorm overflows float32; the training has diverged")
    low_bit, high_bit = ends[0] < 0, ends[1] < 0
    flip = ~low_bit & high_bit
    # invariant: in the direction of growth, f(side * inside) < 0 and f(side * outside) >= 0
    side = np.where(flip, -1, 1)
    inside, outside = low.copy(), high.copy()
    while (outside - inside > 1).any():
        middle = (inside + outside) // 2
        negative = function(side * middle) < 0
        inside, outside = np.where(negative, middle, inside), np.where(negative, outside, middle)
    tau = np.where(low_bit == high_bit, np.where(low_bit, bound + 1, -bound), outside)
    return tau.astype(np.int32), flip


def _part(module: nn.Module, channels: int) -> Curve:
    if isinstance(module, Affine):
        scale, bias = module.scale.numpy(), module.bias.numpy()
        return lambda y: y * scale + bias
    if isinstance(module, nn.ReLU):
        return lambda y: np.maximum(y, np.float32(0))
    if isinstance(module, nn.Hardtanh):
        return lambda y: np.clip(y, np.float32(-1), np.float32(1))
    slope = prelu_slope(module, channels)
    return lambda y: np.where(y >= 0, y, y * slope)


def prelu_slope(module: nn.Module, channels: int) -> Array:
    """One slope per channel of a PReLU or LeakyReLU, (C,) float32."""
    if isinstance(module, nn.PReLU):
        return np.broadcast_to(module.weight.detach().numpy(), (channels,)).astype(np.float32)
    assert isinstance(module, nn.LeakyReLU)
    return np.full(channels, module.negative_slope, np.float32)
