"""BNN's shift-based BatchNorm: every multiplication of its inference is a shift."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bincompress.graph import register_leaf

MOMENTUM = 0.125  # of the paper's Torch code: itself a power of two


def ap2(x: Tensor) -> Tensor:
    """Approximate power of two, sgn(x) 2^round(log2 |x|); 0 stays 0. Source: BNN, arXiv 1602.02830."""
    magnitude = x.abs()
    return torch.where(magnitude > 0, x.sign() * magnitude.log2().round().exp2(), torch.zeros_like(x))


class _Ap2(torch.autograd.Function):
    """AP2 whose derivative is taken for 1, as it is on average over an octave."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return ap2(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class ShiftBatchNorm(nn.BatchNorm2d):
    """y = (x - mean) AP2(1 / sqrt(variance + eps)) AP2(gamma) + beta, variance = mean(c AP2(c)) of c = x - mean.

    Dense or spatial input, whichever comes. Source: BNN, arXiv 1602.02830, shift-based
    batch normalization; its derivative is taken as if AP2 were the identity.
    """

    def __init__(self, num_features: int, eps: float = 1e-4, momentum: float | None = MOMENTUM) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum)

    @classmethod
    @torch.no_grad()
    def like(cls, norm: nn.Module) -> ShiftBatchNorm:
        """One with the parameters and statistics of a BatchNorm."""
        assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
        made = cls(norm.num_features, norm.eps)
        made.load_state_dict(norm.state_dict(), strict=False)  # a norm without gamma and beta has those of a new one
        return made

    def config(self) -> dict[str, Any]:
        """Constructor keywords that rebuild this leaf."""
        return {"num_features": self.num_features, "eps": self.eps, "momentum": self.momentum}

    def scale(self, variance: Tensor) -> Tensor:
        """AP2(1 / sqrt(variance + eps)) AP2(gamma): powers of two, so their product is exact."""
        inverse: Tensor = _Ap2.apply((variance + self.eps).rsqrt())  # type: ignore[no-untyped-call]
        gamma: Tensor = _Ap2.apply(self.weight)  # type: ignore[no-untyped-call]
        return inverse * gamma

    def forward(self, input: Tensor) -> Tensor:
        shape = (1, -1, *([1] * (input.dim() - 2)))
        assert self.running_mean is not None
        assert self.running_var is not None
        if not self.training:
            centred = input - self.running_mean.reshape(shape)
            return centred * self.scale(self.running_var).reshape(shape) + self.bias.reshape(shape)
        axes = [axis for axis in range(input.dim()) if axis != 1]
        mean = input.mean(axes)
        centred = input - mean.reshape(shape)
        power: Tensor = _Ap2.apply(centred)  # type: ignore[no-untyped-call]
        variance = (centred * power).mean(axes)
        self._track(mean, variance)
        return centred * self.scale(variance).reshape(shape) + self.bias.reshape(shape)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        """Running averages, exponential or, with momentum None, cumulative; as `nn.BatchNorm2d` has them."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        factor = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, factor)
        self.running_var.lerp_(variance, factor)


register_leaf(ShiftBatchNorm, "ShiftBatchNorm", ShiftBatchNorm.config)
