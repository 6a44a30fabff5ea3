"""sgn and its surrogate gradients, which the methods register (`bincompress.methods.ESTIMATORS`).

Every estimator has the same forward, `sgn(x) = +1 if x >= 0 else -1` (so sgn(0) = sgn(-0.0) = +1, never `torch.sign`),
or, where training is stochastic, +1 with probability `hs(x) = clip((x + 1) / 2, 0, 1)`. They differ in d sgn / dx. One
autograd function serves them all; the most used ones have a faster one of their own that computes the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bincompress.methods import ESTIMATORS, GRADIENTS, Estimator

# The next float32 above 1: aten's fused hardtanh_backward masks strictly, so this bound makes it 1{|x| <= 1} exactly.
_JUST_ABOVE_ONE = 1.0 + 2.0**-23
_ONE = torch.ones(())  # on the CPU: a number to every kernel


def sgn(x: Tensor) -> Tensor:
    """+1 where x >= 0, else -1, in x's dtype and memory format; no gradient.

    Three cheap vectorised passes: `torch.where` with scalars is seven times slower on CPU. On a GPU, where each pass is
    a launch, two: adding 0 turns -0.0 into 0.0, whose sign bit says +1.
    """
    with torch.no_grad():
        if x.is_cuda:
            return torch.copysign(_ONE, x + 0.0)
        out = torch.empty_like(x)
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


class _Surrogate(torch.autograd.Function):
    """d sgn / dx := the gradient of an estimator's row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stochastic: bool, estimator: Estimator, progress: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.estimator, ctx.parameters = estimator, estimator.parameters(progress)
        return _forward(x, stochastic)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * ctx.estimator.gradient(x, *ctx.parameters), None, None, None


FAST: dict[str, Callable[[Tensor, bool], Tensor]] = {
    "ste": _Ste.apply,
    "identity": _Identity.apply,
    "approxsign": _ApproxSign.apply,
}


def binarize_tensor(x: Tensor, estimator: str, stochastic: bool = False, progress: float = 1.0) -> Tensor:
    """Signs of `x` whose gradient is the named estimator's at this point of training (0..1).

    Returns: +-1 in x's shape and dtype; sampled instead of decided where `stochastic`.
    Raises: KeyError for an unknown estimator (recipes are checked before they come here).
    """
    fast = FAST.get(estimator)
    if fast is not None:
        return fast(x, stochastic)
    signs: Tensor = _Surrogate.apply(x, stochastic, ESTIMATORS[estimator], progress)  # type: ignore[no-untyped-call]
    return signs


class _ScaledSigns(torch.autograd.Function):
    """signs * alpha, whose gradient a `WeightGradient` divides between the signs and the weights behind them."""

    @staticmethod
    def forward(ctx: Any, signs: Tensor, alpha: Tensor, weight: Tensor, gradient: str, n: int) -> Tensor:
        ctx.save_for_backward(signs, alpha)
        ctx.gradient, ctx.n = gradient, n
        return signs * alpha

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None, None]:
        signs, alpha = ctx.saved_tensors
        split = GRADIENTS[ctx.gradient].split
        assert split is not None
        to_signs, to_weight = split(grads[0], alpha, ctx.n, signs.shape[1])
        to_alpha = (grads[0] * signs).sum_to_size(alpha.shape) if ctx.needs_input_grad[1] else None
        return to_signs, to_alpha, to_weight, None, None


def scale_signs(signs: Tensor, alpha: Tensor, weight: Tensor, gradient: str) -> Tensor:
    """alpha * signs with the gradient of the named rule.

    Shapes: signs and weight (C_out, C_in / groups, ...), signs being those of weight; alpha (C_out,) or (1,).
    """
    per_filter = alpha.reshape(-1, *([1] * (signs.dim() - 1)))
    if GRADIENTS[gradient].split is None:
        return signs * per_filter
    count = signs.numel() // alpha.numel()
    scaled: Tensor = _ScaledSigns.apply(signs, per_filter, weight, gradient, count)  # type: ignore[no-untyped-call]
    return scaled
