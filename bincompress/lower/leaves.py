"""The leaves of a deploy graph: what an exported layer means, in the fewest torch operations.

FrozenConv, FrozenLinear   exact sums where weights and inputs are +-1 or integers: the result is rounded, so that
                           whichever algorithm torch picks (Winograd included) gives the same integers
ConstantMap                y = x * factors[h, w], one factor per pixel
Affine                     y = x * scale[c] + bias[c], two float32 operations, each rounded
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# float: float weights. weight: +-1 weights, float input. binary: both +-1. u8: +-1 weights, integer pixels.
Kind = Literal["float", "weight", "binary", "u8"]
INTEGER_KINDS = ("binary", "u8")
Padding = tuple[int, int, int, int]


class FrozenConv(nn.Module):
    """Convolution without bias. Shapes: weight (C_out, C_in / groups, kh, kw); padding (top, left, bottom, right)."""

    weight: Tensor

    def __init__(
        self,
        weight: Tensor,
        kind: Kind,
        *,
        stride: tuple[int, int],
        padding: Padding,
        dilation: tuple[int, int],
        groups: int,
        pad_value: int = 0,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.kind: Kind = kind
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.pad_value = pad_value

    def forward(self, x: Tensor) -> Tensor:
        top, left, bottom, right = self.padding
        if (top, left) == (bottom, right) and self.pad_value == 0:
            y = F.conv2d(x, self.weight, None, self.stride, (top, left), self.dilation, self.groups)
        else:
            padded = F.pad(x, (left, right, top, bottom), value=float(self.pad_value))
            y = F.conv2d(padded, self.weight, None, self.stride, 0, self.dilation, self.groups)
        return torch.round(y) if self.kind in INTEGER_KINDS else y

    def extra_repr(self) -> str:
        return f"{self.kind}, {tuple(self.weight.shape)}, stride={self.stride}, padding={self.padding}"


class FrozenLinear(nn.Module):
    """Dense product without bias. Shapes: weight (out, in)."""

    weight: Tensor

    def __init__(self, weight: Tensor, kind: Kind) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.kind: Kind = kind

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight)
        return torch.round(y) if self.kind in INTEGER_KINDS else y

    def extra_repr(self) -> str:
        return f"{self.kind}, {tuple(self.weight.shape)}"


class ConstantMap(nn.Module):
    """y = x * factors[h, w]. Shapes: factors (H, W) float32."""

    factors: Tensor

    def __init__(self, factors: Tensor) -> None:
        super().__init__()
        self.register_buffer("factors", factors)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factors


class Affine(nn.Module):
    """Per-channel multiply, then add. The parameters are kept in float64 until `freeze`, so that merging is exact."""

    scale: Tensor
    bias: Tensor

    def __init__(self, scale: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale.detach().double())
        self.register_buffer("bias", bias.detach().double())

    def freeze(self) -> None:
        """Round the parameters to float32, which is what is exported."""
        self.scale, self.bias = self.scale.float(), self.bias.float()

    def then(self, after: Affine) -> Affine:
        """One affine that stands for this one followed by `after`."""
        return Affine(self.scale * after.scale, self.bias * after.scale + after.bias)

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *([1] * (x.dim() - 2)))
        return x * self.scale.reshape(shape) + self.bias.reshape(shape)

    def extra_repr(self) -> str:
        return f"{self.scale.numel()}"
