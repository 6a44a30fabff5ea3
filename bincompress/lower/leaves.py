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
# i8: +-1 weights, float input that is rounded to 8 bits.
Kind = Literal["float", "weight", "binary", "u8", "i8"]
INTEGER_KINDS = ("binary", "u8")
Padding = tuple[int, int, int, int]
I8_SMALLEST = 2.0**-96


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """Round each sample to integers of -127..127 times its scale: `i8` of `program.py`, in the same float operations.

    Shapes: x (N, ...).
    Returns: the integers, as floats, and the scales (N, 1, ...).
    """
    largest = x.abs().flatten(1).amax(1).clamp(min=I8_SMALLEST).reshape(-1, *([1] * (x.dim() - 1)))
    most = torch.full_like(largest, 127)  # 127 / largest would be a reciprocal, rounded, times 127
    return torch.round((x * (most / largest)).clamp(-127, 127)), largest / most


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
        if self.kind == "i8":
            q, scale = quantize(x)
            return self._product(q.double(), self.weight.double()).float() * scale
        y = self._product(x, self.weight)
        return torch.round(y) if self.kind in INTEGER_KINDS else y

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        top, left, bottom, right = self.padding
        if (top, left) == (bottom, right) and self.pad_value == 0:
            return F.conv2d(x, weight, None, self.stride, (top, left), self.dilation, self.groups)
        padded = F.pad(x, (left, right, top, bottom), value=float(self.pad_value))
        return F.conv2d(padded, weight, None, self.stride, 0, self.dilation, self.groups)

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
        if self.kind == "i8":
            q, scale = quantize(x)
            return F.linear(q.double(), self.weight.double()).float() * scale
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
