"""sgn and its surrogate gradients: one autograd function and one registry row per straight-through estimator.

Every estimator has the same forward, `sgn(x) = +1 if x >= 0 else -1` (so sgn(0) = sgn(-0.0) = +1, never `torch.sign`),
or, where training is stochastic, +1 with probability `hs(x) = clip((x + 1) / 2, 0, 1)`. They differ in d sgn / dx.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# The next float32 above 1: aten's fused hardtanh_backward masks strictly, so this bound makes it 1{|x| <= 1} exactly.
_JUST_ABOVE_ONE = 1.0 + 2.0**-23


def sgn(x: Tensor) -> Tensor:
    """+1 where x >= 0, else -1, in x's dtype and memory format; no gradient.

    Three cheap vectorised passes: `torch.where` with scalars is seven times slower on CPU.
    """
    out = torch.empty_like(x)
    with torch.no_grad():
        torch.ge(x, 0, out=out)
        return out.mul_(2).sub_(1)


def sample_signs(x: Tensor) -> Tensor:
    """+1 with probability hs(x), else -1, drawn from torch's global generator (BinaryConnect section 2.3)."""
    return sgn(torch.rand_like(x).mul_(-2).add_(1).add_(x))


def _forward(x: Tensor, stochastic: bool) -> Tensor:
    return sample_signs(x) if stochastic else sgn(x)


class _Ste(torch.autograd.Function):
    """d sgn / dx := 1{|x| <= 1}."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stochastic: bool) -> Tensor:
        ctx.save_for_backward(x)
        return _forward(x, stochastic)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grads[0], x, -_JUST_ABOVE_ONE, _JUST_ABOVE_ONE), None


class _Identity(torch.autograd.Function):
    """d sgn / dx := 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stochastic: bool) -> Tensor:
        return _forward(x, stochastic)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _ApproxSign(torch.autograd.Function):
    """d sgn / dx := max(0, 2 - 2 |x|)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stochastic: bool) -> Tensor:
        ctx.save_for_backward(x)
        return _forward(x, stochastic)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return x.abs().mul_(-2).add_(2).clamp_min_(0).mul_(grads[0]), None


@dataclass(frozen=True)
class Estimator:
    """A surrogate gradient of sgn: its name in recipes, its formula, where it comes from and the function itself."""

    name: str
    formula: str
    paper: str
    apply: Callable[[Tensor, bool], Tensor]


_ROWS = (
    Estimator("ste", "1{|x| <= 1}", "BNN, arXiv 1602.02830, eq. 4", _Ste.apply),
    Estimator("identity", "1", "BinaryConnect, arXiv 1511.00363: clipped latents need no mask", _Identity.apply),
    Estimator("approxsign", "max(0, 2 - 2|x|)", "Bi-Real Net, arXiv 1808.00278, eq. 7", _ApproxSign.apply),
)
ESTIMATORS: dict[str, Estimator] = {row.name: row for row in _ROWS}


def binarize_tensor(x: Tensor, estimator: str, stochastic: bool = False) -> Tensor:
    """Signs of `x` whose gradient is the named estimator's.

    Returns: +-1 in x's shape and dtype; sampled instead of decided where `stochastic`.
    Raises: KeyError for an unknown estimator (recipes are checked before they come here).
    """
    return ESTIMATORS[estimator].apply(x, stochastic)
