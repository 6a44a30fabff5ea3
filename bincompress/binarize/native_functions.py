"""Differentiable functions on the C library's training kernels; tensors are float32 on the CPU, kept as N, H, W, C.

Each is what a module or a chain of modules computes on torch: those are the readable twins.
"""

from __future__ import annotations

from ctypes import byref, c_void_p
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bincompress.binarize.modules import Pair
from bincompress.native import BcConv, BcDense, BcNorm, call, library

ESTIMATORS = {"identity": 0, "ste": 1, "approxsign": 2}  # bc_estimator
IDENTITY = ESTIMATORS["identity"]


@dataclass(frozen=True)
class Convolution:
    """What a convolution is besides its tensors: which of them are binary; `norm`: the deferred BatchNorm in front of
    its sign.
    """

    trainer: c_void_p
    stride: Pair
    padding: Pair
    estimator: int = IDENTITY
    norm: nn.BatchNorm2d | None = None
    binary_input: bool = True
    binary_weight: bool = True


def binary_conv2d(x: Tensor, w: Tensor, shift: Tensor | None, convolution: Convolution) -> Tensor:
    """conv2d(sgn(x), w), zero padded; with the sign's gradient. Without a binary input, conv2d(x, w).

    In front of the sign goes `convolution.norm`, or else x + shift[c], or nothing. The magnitude of binary weights is
    the same all over a filter.
    Shapes: x (N, C_in, H, W), w (C_out, C_in, KH, KW) -> (N, C_out, H', W').
    """
    norm = convolution.norm
    weight, bias = (norm.weight, norm.bias) if norm is not None else (None, shift)
    y: Tensor = _BinaryConv2d.apply(x, w, weight, bias, convolution)  # type: ignore[no-untyped-call]
    return y


class _BinaryConv2d(torch.autograd.Function):
    """`weight` and `bias`: of the norm; without one, bias is the shift."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, weight: Tensor | None, bias: Tensor | None, of: Convolution) -> Tensor:
        (n, c_in, height, width), (c_out, _, kh, kw) = x.shape, w.shape
        conv = BcConv(n, height, width, c_in, c_out, kh, kw, *of.stride, *of.padding)
        image, signs = channels_last(x), channels_last(w)
        alpha = w[:, 0, 0, 0].abs() if of.binary_weight else None
        stats = None
        if of.norm is not None:
            stats = norm_statistics(of.trainer, image, of.norm)
        elif bias is not None:
            stats = torch.stack([torch.zeros_like(bias), torch.ones_like(bias), torch.ones_like(bias), bias])
        out_height = (height + 2 * of.padding[0] - kh) // of.stride[0] + 1
        out_width = (width + 2 * of.padding[1] - kw) // of.stride[1] + 1
        y = empty(n, c_out, out_height, out_width)
        bits = torch.empty(library().bc_train_bits(byref(conv)), dtype=torch.uint8) if of.binary_input else None
        signed = None if stats is None else stats[2:]
        operands = (image, signed, signs, alpha, y, bits)  # named, so that they outlive the call
        call("convolution", library().bc_train_forward, of.trainer, byref(conv), *map(pointer, operands))
        saved = image if bits is None or of.estimator != IDENTITY or stats is not None else None
        ctx.save_for_backward(bits, signs, alpha, saved, stats)
        ctx.conv, ctx.of, ctx.shifted = conv, of, bias is not None
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, Tensor | None, None]:
        bits, signs, alpha, image, stats = ctx.saved_tensors
        conv: BcConv = ctx.conv
        of: Convolution = ctx.of
        needed = ctx.needs_input_grad[0] or stats is not None
        dx = empty(conv.n, conv.c_in, conv.h, conv.w) if needed else None
        dw, dy = empty(*signs.shape), channels_last(grads[0])
        signed, center, sums = None, None, None
        if stats is not None:
            signed, center, sums = stats[2:], stats[0], torch.empty(2, conv.c_in, dtype=torch.float64)
        inputs = map(pointer, (bits, signs, alpha, dy, image, signed, center))
        outputs = map(pointer, (dx, sums, dw))
        backward = library().bc_train_backward
        call("gradient of a convolution", backward, of.trainer, byref(conv), *inputs, of.estimator, *outputs)
        if of.norm is not None:
            assert dx is not None
            d_weight, d_bias = norm_gradients(of.trainer, image, stats, dx, sums, dx)
            return dx, dw, d_weight, d_bias, None
        return dx, dw, None, sums[0].float() if sums is not None else None, None


def binary_linear(x: Tensor, w: Tensor, trainer: c_void_p, *, binary_input: bool) -> Tensor:
    """linear(x, w) of w whose magnitude is the same all over a filter; a binary x is +-1. (N, in) -> (N, out)."""
    y: Tensor = _BinaryLinear.apply(x, w, trainer, binary_input)  # type: ignore[no-untyped-call]
    return y


class _BinaryLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, trainer: c_void_p, binary_input: bool) -> Tensor:
        dense = BcDense(x.shape[0], x.shape[1], w.shape[0])
        x, signs, alpha, y = x.contiguous(), w.contiguous(), w[:, 0].abs(), x.new_empty(x.shape[0], w.shape[0])
        x_bits = _bits(dense.n, dense.c_in) if binary_input else None
        w_bits = _bits(dense.c_out, dense.c_in)
        operands = (x, signs, alpha, y, x_bits, w_bits)
        call("dense layer", library().bc_train_dense_forward, trainer, byref(dense), *map(pointer, operands))
        ctx.save_for_backward(None if binary_input else x, alpha, x_bits, w_bits)
        ctx.dense, ctx.trainer = dense, trainer
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, alpha, x_bits, w_bits = ctx.saved_tensors
        dense: BcDense = ctx.dense
        dy = grads[0].contiguous()
        dx = dy.new_empty(dense.n, dense.c_in) if ctx.needs_input_grad[0] else None
        dw = dy.new_empty(dense.c_out, dense.c_in) if x is None else None
        backward, operands = library().bc_train_dense_backward, (x_bits, w_bits, alpha, dy, dx, dw)
        call("gradient of a dense layer", backward, ctx.trainer, byref(dense), *map(pointer, operands))
        return dx, dy.t() @ x if dw is None else dw, None, None


def _bits(rows: int, columns: int) -> Tensor:
    return torch.empty(library().bc_train_dense_bits(rows, columns), dtype=torch.uint8)


def norm_statistics(
    trainer: c_void_p,
    image: Tensor,
    norm: nn.BatchNorm2d,
    y: Tensor | None = None,
    addend: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """A BatchNorm (affine, with averages) in training: moves its averages; y = norm(image) + addend, if there are such,
    or its ReLU.

    Returns: (4, C): mean, 1 / standard deviation, scale, shift.
    """
    rows = _rows(image)
    stats = image.new_empty(4, rows[1])
    count = norm.num_batches_tracked
    assert count is not None
    count.add_(1)
    momentum = 1 / int(count) if norm.momentum is None else norm.momentum  # None: the average over all batches
    tensors = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    of = BcNorm(*map(pointer, tensors), norm.eps, momentum, relu)
    operands = map(pointer, (image, addend, y, stats))
    call("batch normalisation", library().bc_train_norm_forward, trainer, *rows, byref(of), *operands)
    return stats


def norm_gradients(
    trainer: c_void_p, image: Tensor, stats: Tensor, dy: Tensor, sums: Tensor | None, dx: Tensor
) -> tuple[Tensor, Tensor]:
    """Writes dx, which may be dy; returns the gradients to weight and bias. `sums`: of dy, dy (x - mean), if known."""
    grads = stats.new_empty(2, stats.shape[1])
    operands = map(pointer, (image, stats, dy, sums, dx, grads[0], grads[1]))
    call("gradient of a norm", library().bc_train_norm_backward, trainer, *_rows(image), *operands)
    return grads[0], grads[1]


def batch_norm(
    x: Tensor, addend: Tensor | None, norm: nn.BatchNorm2d, trainer: c_void_p, *, relu: bool = False
) -> Tensor:
    """norm(x) in training mode, + addend, or the ReLU of that. (N, C, H, W) -> the same."""
    y: Tensor = _Norm.apply(x, addend, norm.weight, norm.bias, norm, trainer, relu)  # type: ignore[no-untyped-call]
    return y


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        addend: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        norm: nn.BatchNorm2d,
        trainer: c_void_p,
        relu: bool,
    ) -> Tensor:
        image, y = channels_last(x), empty(*x.shape)
        stats = norm_statistics(trainer, image, norm, y, None if addend is None else channels_last(addend), relu)
        ctx.save_for_backward(image, stats, y if relu else None)
        ctx.trainer, ctx.added = trainer, addend is not None
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor, None, None, None]:
        image, stats, above = ctx.saved_tensors
        dy, dx = channels_last(grads[0]), empty(*image.shape)
        if above is not None:
            dy = torch.ops.aten.threshold_backward(dy, above, 0)
        d_weight, d_bias = norm_gradients(ctx.trainer, image, stats, dy, None, dx)
        return dx, dy if ctx.added else None, d_weight, d_bias, None, None, None


def prelu(x: Tensor, slope: Tensor, before: Tensor | None, after: Tensor | None, trainer: c_void_p) -> Tensor:
    """v = x + before[c]; (v >= 0 ? v : v * slope[c]) + after[c]. (N, C, H, W) -> the same."""
    y: Tensor = _PRelu.apply(x, slope, before, after, trainer)  # type: ignore[no-untyped-call]
    return y


class _PRelu(torch.autograd.Function):
    """Torch's own gradient is not vectorised for channels_last."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, slope: Tensor, before: Tensor | None, after: Tensor | None, trainer: c_void_p
    ) -> Tensor:
        image, y = channels_last(x), empty(*x.shape)
        operands = map(pointer, (image, slope, before, after, y))
        call("prelu", library().bc_train_prelu_forward, trainer, *_rows(image), *operands)
        ctx.save_for_backward(image, slope, before)
        ctx.trainer, ctx.after = trainer, after is not None
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, None]:
        image, slope, before = ctx.saved_tensors
        dy, dx, sums = channels_last(grads[0]), empty(*image.shape), slope.new_empty(3, slope.numel())
        operands = map(pointer, (image, slope, before, dy, dx, sums))
        call("gradient of prelu", library().bc_train_prelu_backward, ctx.trainer, *_rows(image), *operands)
        return dx, sums[0], None if before is None else sums[1], sums[2] if ctx.after else None, None


def empty(n: int, c: int, height: int, width: int) -> Tensor:
    """Memory in the order N, H, W, C; (N, C, H, W) to torch, and no view, so that it may be changed in place."""
    return torch.empty(n, c, height, width, memory_format=torch.channels_last)


def channels_last(x: Tensor) -> Tensor:
    """`x` in memory order N, H, W, C; torch calls some tensors channels_last whose strides of size-1 axes are not."""
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def pointer(x: Tensor | None) -> c_void_p:
    """Where its data begin; NULL for None."""
    return c_void_p(None if x is None else x.data_ptr())


def _rows(x: Tensor) -> tuple[int, int]:
    """Pixels of all images, channels."""
    return x.numel() // x.shape[1], x.shape[1]
