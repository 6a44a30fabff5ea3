"""Forwards that modules of a 1-bit graph get while it trains on the C library, and when each may stand for torch's.

A forward looks at each tensor it is given, and falls back on torch for what the kernels do not take.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_void_p
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bincompress.binarize.modules import BinaryConv2d, Pair, Shift, Sign
from bincompress.binarize.native_functions import (
    ESTIMATORS,
    IDENTITY,
    Convolution,
    batch_norm,
    binary_conv2d,
    binary_linear,
)

CHANNELS = 16  # the kernels take multiples of this
_MOST_KERNEL, _MOST_SIDE = 64, 1 << 15  # of bc_train_bits, rows or columns
Condition = Callable[[Tensor], bool]
Front = nn.BatchNorm2d | Shift  # of a sign


def serves_conv(layer: BinaryConv2d) -> bool:
    """Whether the kernels take a convolution of this shape."""
    return (
        layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.in_channels % CHANNELS == 0
        and layer.out_channels % CHANNELS == 0
        and all(p < k <= _MOST_KERNEL for p, k in zip(layer.padding, layer.kernel_size, strict=True))
    )


def serves_norm(module: nn.Module | None) -> TypeGuard[nn.BatchNorm2d]:
    """Whether this is BatchNorm as the kernels compute it; subclasses compute something else."""
    return type(module) is nn.BatchNorm2d and module.affine and module.track_running_stats


def is_native(x: Tensor) -> bool:
    """Whether the kernels take this batch of images (N, C, H, W)."""
    known = x.device.type == "cpu" and x.dtype == torch.float32 and x.dim() == 4
    return known and max(x.shape[2:]) <= _MOST_SIDE


def _trains(norm: nn.BatchNorm2d, x: Tensor) -> bool:
    """Whether a norm takes its statistics from x; from a single pixel there are none, and torch says so."""
    return norm.training and is_native(x) and x.numel() > x.shape[1]


def all_binary(layers: list[BinaryConv2d]) -> Condition:
    """Whether a sign may pass its input on as it is: all that read it take the signs themselves."""
    return lambda x: is_native(x) and all(layer.binarize_weight for layer in layers)


def passes_on(sign: Sign, front: nn.Module) -> Condition:
    """Whether what is in front of a sign may pass its input on as the sign does."""

    def passes(x: Tensor) -> bool:
        ready = not isinstance(front, nn.BatchNorm2d) or _trains(front, x)
        return ready and sign.binarize and sign.deferred is not None and sign.deferred(x)

    return passes


def deferred(module: Front, passes: Condition, trainer: c_void_p) -> Callable[[Tensor], Tensor]:
    """A forward that passes x on where the module behind it will do this one's work."""
    if isinstance(module, nn.BatchNorm2d):
        norm = module
        alone = norm_alone(norm, trainer, relu=False)
        return lambda x: x if _trains(norm, x) and passes(x) else alone(x)
    twin = type(module).forward
    return lambda x: x if passes(x) else twin(module, x)


def norm_alone(norm: nn.BatchNorm2d, trainer: c_void_p, *, relu: bool) -> Callable[[Tensor], Tensor]:
    """A forward of a norm, or of the ReLU behind it too."""
    twin = type(norm).forward

    def forward(x: Tensor) -> Tensor:
        if _trains(norm, x):
            return batch_norm(x, None, norm, trainer, relu=relu)
        return _relu_if(relu, twin(norm, x))

    return forward


def norm_add(norm: nn.BatchNorm2d, index: int, trainer: c_void_p, *, relu: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """An addition of which one operand is the input of a norm that is deferred; or of the ReLU behind it too."""

    def forward(a: Tensor, b: Tensor) -> Tensor:
        x, addend = (a, b) if index == 0 else (b, a)
        if not _trains(norm, x):
            return _relu_if(relu, a + b)
        if not is_native(addend) or addend.shape != x.shape:
            return _relu_if(relu, batch_norm(x, None, norm, trainer) + addend)
        return batch_norm(x, addend, norm, trainer, relu=relu)

    return forward


def _relu_if(wanted: bool, x: Tensor) -> Tensor:
    return F.relu(x) if wanted else x


def dense_product(trainer: c_void_p, sign: Sign | None, floats: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """x (N, in) times weight (out, in) of a dense layer that reads this sign, which is not deferred, or none."""

    def product(x: Tensor, weight: Tensor) -> Tensor:
        binary_input = sign is not None and sign.binarize
        served = x.device.type == "cpu" and x.dtype == torch.float32 and x.dim() == 2
        if not served or not (binary_input or floats):
            return F.linear(x, weight)
        return binary_linear(x, weight, trainer, binary_input=binary_input)

    return product


def conv_product(
    trainer: c_void_p, sign: Sign | None, front: Front | None, floats: bool
) -> Callable[[Tensor, Tensor, Pair, Pair, bool], Tensor]:
    """The product of a convolution that reads this sign, or none; `front` is what may be deferred before the sign."""

    def product(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, binary_weight: bool) -> Tensor:
        binary_input = sign is not None and sign.binarize
        binary = binary_input + binary_weight  # sides
        if not is_native(x) or binary < (1 if floats else 2):
            return F.conv2d(x, weight, None, stride, padding)
        if sign is None or not binary_input:
            return binary_conv2d(x, weight, None, Convolution(trainer, stride, padding, binary_input=False))
        unsigned = sign.deferred is not None and sign.deferred(x)  # the sign passed its input on
        estimator = ESTIMATORS[sign.estimator] if unsigned else IDENTITY
        norm, shift = None, None
        if front is not None and passes_on(sign, front)(x):
            norm, shift = (front, None) if isinstance(front, nn.BatchNorm2d) else (None, front.shift)
        of = Convolution(trainer, stride, padding, estimator, norm, binary_weight=binary_weight)
        return binary_conv2d(x, weight, shift, of)

    return product
