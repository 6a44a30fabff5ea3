"""The leaves that surgery puts into a graph: layers with 1-bit weights, signs, and what goes with them.

What each leaf computes in eval mode is the contract with `lower/`; training may use a cheaper equal form.

    BinaryConv2d   y = conv2d(pad(x), B, stride, dilation, groups) * alpha[c] + bias[c]      each a float32 torch op
    BinaryLinear   y = linear(x, B) * alpha[c] + bias[c]
                     B = binary_weight() of +-1; alpha = alpha() of (C_out,); the product with alpha is left out where
                     `has_alpha` is false (alpha = 1), the sum with bias where bias is None. With x of +-1 or integers
                     conv2d gives exact integers, for alpha never multiplies the weights. pad(x) writes `pad_value`
                     (0, +1 or -1) outside, *after* the sign: with 0 an outside tap adds nothing.
    Sign           y = +1 if x >= 0 else -1
    InputQuantizer y = 2 u - offset,  u = clamp(round((x * denominator + offset) / 2), 0, 255): the raw pixel's integer
    ActScale       (N, C, H, W) -> (N, 1, H', W'): avg_pool2d(mean_c |x|, kernel, stride, padding) that divides by
                     the whole kernel's area; (N, F) -> (N, 1): mean |x|
    MulMap         y = a * b, b of one channel
    Shift          y = x + shift[c]
    OutputMap      y = x * map[h, w]

Flags that the stages of training switch, all true in a network that is exported: `binarize_weight` (false: the latent
float weights are used as they are) and `Sign.binarize` (false: hardtanh(x), whose gradient is the STE's). `progress`,
which `set_progress` sets, is how far training is, for estimators and transforms that change on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bincompress.binarize.estimators import binarize_tensor, scale_signs, sgn
from bincompress.graph import register_leaf
from bincompress.methods import GRADIENTS, SCALES, TRANSFORMS

Pair = tuple[int, int]


def _pair(value: Any) -> Pair:
    first, second = (value, value) if isinstance(value, int) else value
    return int(first), int(second)


@dataclass(frozen=True)
class WeightOptions:
    """How a layer's latent weights become alpha * sgn(W); the names are those of a recipe's `weight` section.

    `granularity` (none: alpha is 1; channel: one for each filter; layer: one) and `kind` (see `methods.SCALES`) choose
    alpha, `transform` and `center` the tensor that is signed: centred over C_in, differentiably (True) or as a
    projection of the latents after each step ("latents"). `estimator` and `gradient` are what training sees of both.
    `learned_input_scale` multiplies alpha with one more learned scalar, the scale of the +-1 input.
    """

    stochastic: bool = False
    clip: float | None = 1.0
    center: bool | str = False
    transform: str = "none"
    granularity: str = "channel"
    kind: str = "analytic"
    estimator: str = "ste"
    gradient: str = "exact"
    learned_input_scale: bool = False


class BinaryWeightLayer(nn.Module):
    """Latent float weights whose signs, times a scaling factor alpha, are what the forward pass uses.

    `weight` (C_out, C_in / groups, ...) holds the latents. `progress` is how far training is, 0..1, for what changes
    over training; a network that is not being trained is at 1.
    """

    def __init__(self, weight_shape: tuple[int, ...], *, bias: bool, **options: Any) -> None:
        super().__init__()
        chosen = WeightOptions(**options)
        self.stochastic = chosen.stochastic
        self.clip = chosen.clip
        self.center = chosen.center
        self.transform = chosen.transform
        self.granularity = chosen.granularity
        self.kind = chosen.kind
        self.estimator = chosen.estimator
        self.gradient = chosen.gradient
        self.weight = nn.Parameter(torch.empty(weight_shape))
        self.bias = nn.Parameter(torch.zeros(weight_shape[0])) if bias else None
        self.binarize_weight = True
        self.progress = 1.0
        learned = SCALES[self.kind].learned and self.granularity != "none"
        count = weight_shape[0] if self.granularity == "channel" else 1
        self.learned_alpha = nn.Parameter(torch.ones(count)) if learned else None
        self.input_scale = nn.Parameter(torch.ones(())) if chosen.learned_input_scale else None
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.reset_alpha()

    def weight_config(self) -> dict[str, Any]:
        """Constructor keywords that all layers with 1-bit weights share."""
        return {
            "bias": self.bias is not None,
            "stochastic": self.stochastic,
            "clip": self.clip,
            "center": self.center,
            "transform": self.transform,
            "granularity": self.granularity,
            "kind": self.kind,
            "estimator": self.estimator,
            "gradient": self.gradient,
            "learned_input_scale": self.input_scale is not None,
        }

    def transformed_weight(self) -> Tensor:
        """The tensor that is signed: the latents, centred and transformed where the method says so."""
        weight: Tensor = self.weight
        if self.center is True:
            weight = weight - weight.mean(dim=1, keepdim=True)
        return TRANSFORMS[self.transform].apply(weight, self.progress)

    def binary_weight(self) -> Tensor:
        """The deterministic +-1 weights, detached, (C_out, C_in / groups, ...); a latent of exactly 0 gives +1."""
        return sgn(self.transformed_weight().detach())

    def alpha(self) -> Tensor:
        """Scaling factors (C_out,), differentiable; ones where granularity is none; 0 for an all-zero filter."""
        return self._alpha_of(self.transformed_weight()).expand(self.weight.shape[0])

    def _alpha_of(self, weight: Tensor) -> Tensor:
        """(C_out,) or (1,)."""
        alpha = self.learned_alpha if self.learned_alpha is not None else self._analytic_alpha(weight)
        return alpha if self.input_scale is None else alpha * self.input_scale

    def _analytic_alpha(self, weight: Tensor) -> Tensor:
        if self.granularity == "none":
            return weight.new_ones(1)
        return SCALES[self.kind].of(weight.flatten(1) if self.granularity == "channel" else weight.reshape(1, -1))

    @property
    def has_alpha(self) -> bool:
        """Whether the output is multiplied by alpha at all."""
        return self.granularity != "none" or self.input_scale is not None

    @torch.no_grad()
    def reset_alpha(self) -> None:
        """Start learned scales from their analytic values; call it after the latents have been set."""
        if self.learned_alpha is not None:
            self.learned_alpha.copy_(self._analytic_alpha(self.transformed_weight()))
        if self.input_scale is not None:
            self.input_scale.fill_(1.0)

    @torch.no_grad()
    def project_latents(self) -> None:
        """Bring the latents back to where the method keeps them, after each step: centred, then clipped.

        What has gone far beyond the clip could hardly flip again.
        """
        if self.center == "latents":
            self.weight.sub_(self.weight.mean(dim=1, keepdim=True))
        if self.clip is not None:
            self.weight.clamp_(-self.clip, self.clip)

    def _training_weight(self) -> Tensor:
        """alpha * sgn(W) with its gradients: equal to scaling the output, but it touches the small tensor only."""
        if not self.binarize_weight:
            return self.weight
        weight = self.transformed_weight()
        signs = binarize_tensor(weight, self.estimator, self.stochastic, self.progress)
        if not self.has_alpha:
            return signs
        exact = GRADIENTS[self.gradient].split is None
        return scale_signs(signs, self._alpha_of(weight if exact else weight.detach()), weight, self.gradient)

    def _apply_weight(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        if self.training or not self.binarize_weight:
            return self._apply_weight(x, self._training_weight(), self.bias)
        y = self._apply_weight(x, self.binary_weight(), None)
        shape = (1, -1, *([1] * (y.dim() - 2)))
        if self.has_alpha:
            y = y * self.alpha().reshape(shape)
        return y if self.bias is None else y + self.bias.reshape(shape)


class BinaryConv2d(BinaryWeightLayer):
    """Convolution with 1-bit weights; `binary` if a Sign feeds it, else weight-only. `options`: see `WeightOptions`.

    Shapes: (N, C_in, H, W) -> (N, C_out, H', W'). Source: XNOR-Net, arXiv 1603.05279, section 3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        *,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = False,
        pad_value: int = 0,
        **options: Any,
    ) -> None:
        self_kernel = _pair(kernel_size)
        super().__init__((out_channels, in_channels // groups, *self_kernel), bias=bias, **options)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = self_kernel
        self.stride = _pair(stride)
        self.padding = _pair(padding)
        self.dilation = _pair(dilation)
        self.groups = groups
        self.pad_value = pad_value
        # product(x, weight, stride, padding, binarize_weight) that stands in for conv2d
        self.product: Callable[[Tensor, Tensor, Pair, Pair, bool], Tensor] | None = None

    def config(self) -> dict[str, Any]:
        """Constructor keywords that rebuild this layer."""
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "kernel_size": list(self.kernel_size),
            "stride": list(self.stride),
            "padding": list(self.padding),
            "dilation": list(self.dilation),
            "groups": self.groups,
            "pad_value": self.pad_value,
            **self.weight_config(),
        }

    def _apply_weight(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.pad_value and padding != (0, 0):
            x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]), value=float(self.pad_value))
            padding = (0, 0)
        if self.product is None:
            return F.conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)
        y = self.product(x, weight, self.stride, padding, self.binarize_weight)
        return y if bias is None else y + bias.reshape(1, -1, 1, 1)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, alpha={self.granularity}"


class BinaryLinear(BinaryWeightLayer):
    """Dense layer with 1-bit weights; `binary` if a Sign feeds it, else weight-only. `options`: see `WeightOptions`.

    Shapes: (N, in) -> (N, out).
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False, **options: Any) -> None:
        super().__init__((out_features, in_features), bias=bias, **options)
        self.in_features = in_features
        self.out_features = out_features
        # product(x, weight), both as in training, that stands in for linear where weights are binary
        self.product: Callable[[Tensor, Tensor], Tensor] | None = None

    def config(self) -> dict[str, Any]:
        """Constructor keywords that rebuild this layer."""
        return {"in_features": self.in_features, "out_features": self.out_features, **self.weight_config()}

    def _apply_weight(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.product is None or not self.binarize_weight:
            return F.linear(x, weight, bias)
        y = self.product(x, weight)
        return y if bias is None else y + bias

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, alpha={self.granularity}"


class Sign(nn.Module):
    """Activation of one bit: forward sgn, backward the estimator; sampled in training where `stochastic`."""

    def __init__(self, estimator: str = "ste", *, stochastic: bool = False) -> None:
        super().__init__()
        self.estimator = estimator
        self.stochastic = stochastic
        self.binarize = True
        self.progress = 1.0
        # deferred(x): whether the products that read this sign take it, and its gradient, upon themselves
        self.deferred: Callable[[Tensor], bool] | None = None

    def config(self) -> dict[str, Any]:
        """Constructor keywords that rebuild this leaf."""
        return {"estimator": self.estimator, "stochastic": self.stochastic}

    def forward(self, x: Tensor) -> Tensor:
        if not self.binarize:
            return F.hardtanh(x)
        if self.deferred is not None and self.deferred(x):
            return x
        return binarize_tensor(x, self.estimator, self.stochastic and self.training, self.progress)

    def extra_repr(self) -> str:
        return self.estimator


class InputQuantizer(nn.Module):
    """Turn the normalised image back into the integers 2 u - offset of its pixel bytes u, so that a first layer with
    1-bit weights sums exact integers.

    For x = (u / 255 - mean) / std with one mean and std for all channels: denominator = 510 std, offset = 510 mean.
    """

    def __init__(self, offset: int, denominator: float) -> None:
        super().__init__()
        self.offset = offset
        self.denominator = denominator

    def config(self) -> dict[str, Any]:
        """Constructor keywords that rebuild this leaf."""
        return {"offset": self.offset, "denominator": self.denominator}

    def forward(self, x: Tensor) -> Tensor:
        u = ((x * self.denominator + self.offset) / 2).round().clamp(0, 255)
        return u * 2 - self.offset

    def extra_repr(self) -> str:
        return f"offset={self.offset}, denominator={self.denominator}"


class ActScale(nn.Module):
    """XNOR-Net's map K: the mean magnitude of what each output pixel sees, (N, C, H, W) -> (N, 1, H', W').

    Source: XNOR-Net, arXiv 1603.05279, section 3.2; outside taps count as 0.
    """

    def __init__(self, kernel_size: int | Pair = 1, stride: int | Pair = 1, padding: int | Pair = 0) -> None:
        super().__init__()
        self.kernel_size = _pair(kernel_size)
        self.stride = _pair(stride)
        self.padding = _pair(padding)

    def config(self) -> dict[str, Any]:
        """Constructor keywords that rebuild this leaf."""
        return {"kernel_size": list(self.kernel_size), "stride": list(self.stride), "padding": list(self.padding)}

    def forward(self, x: Tensor) -> Tensor:
        magnitude = x.abs().mean(dim=1, keepdim=True)
        if x.dim() == 2:
            return magnitude
        return F.avg_pool2d(magnitude, self.kernel_size, self.stride, self.padding, count_include_pad=True)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MulMap(nn.Module):
    """Multiply every channel of the first input with the one-channel second input."""

    def config(self) -> dict[str, Any]:
        """Constructor keywords that rebuild this leaf."""
        return {}

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b


class Shift(nn.Module):
    """Learned per-channel shift, y = x + shift[c]; half of ReActNet's RSign and RPReLU (arXiv 2003.03488)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))

    def config(self) -> dict[str, Any]:
        """Constructor keywords that rebuild this leaf."""
        return {"channels": self.shift.numel()}

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift.reshape(1, -1, *([1] * (x.dim() - 2)))


class OutputMap(nn.Module):
    """Learned factor of each output pixel, the same for all channels: XNOR-Net++'s beta[h, w] or beta[h] gamma[w].

    Shapes: (N, C, height, width) -> the same. Source: XNOR-Net++, arXiv 1909.13863, cases 3 and 4.
    """

    def __init__(self, height: int, width: int, *, factored: bool) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.ones(height, 1 if factored else width))
        self.columns = nn.Parameter(torch.ones(1, width)) if factored else None

    def config(self) -> dict[str, Any]:
        """Constructor keywords that rebuild this leaf."""
        height, width = self.map().shape
        return {"height": height, "width": width, "factored": self.columns is not None}

    def map(self) -> Tensor:
        """The factors (height, width)."""
        return self.rows if self.columns is None else self.rows * self.columns

    def forward(self, x: Tensor) -> Tensor:
        return x * self.map()


def set_progress(graph: nn.Module, fraction: float) -> None:
    """Tell estimators and transforms how far training is: 0 in the first epoch, 1 when it is over."""
    for module in graph.modules():
        if isinstance(module, BinaryWeightLayer | Sign):
            module.progress = fraction


register_leaf(BinaryConv2d, "BinaryConv2d", BinaryConv2d.config)
register_leaf(BinaryLinear, "BinaryLinear", BinaryLinear.config)
register_leaf(Sign, "Sign", Sign.config)
register_leaf(InputQuantizer, "InputQuantizer", InputQuantizer.config)
register_leaf(ActScale, "ActScale", ActScale.config)
register_leaf(MulMap, "MulMap", MulMap.config)
register_leaf(Shift, "Shift", Shift.config)
register_leaf(OutputMap, "OutputMap", OutputMap.config)
