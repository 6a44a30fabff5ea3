"""Training on the kernels that will run the packed file: binary convolutions with the signs in front of them, PReLU.

A float convolution of +-1 wastes most of its arithmetic. Here the forward pass is XOR and popcount, exact as it will be
shipped; the gradients are sums of floats with signs. The modules without a product are the readable twins, on torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import byref, c_void_p
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from bincompress.binarize.modules import BinaryConv2d, Pair, Sign
from bincompress.errors import NativeError
from bincompress.graph import node_module
from bincompress.native import BcConv, call, library

_CHANNELS = 16  # the kernels take multiples of this
_ESTIMATORS = {"identity": 0, "ste": 1, "approxsign": 2}  # bc_estimator
_IDENTITY = _ESTIMATORS["identity"]


@contextmanager
def native_products(graph: fx.GraphModule) -> Iterator[int]:
    """Inside, binary convolutions of this graph that read signs use the C library, on as many threads as torch has.

    Yields: how many do; layers of other shapes (channels not in multiples of 16, groups, dilation) keep to torch, and
    so does everything on a GPU, or where the library cannot be found.
    """
    trainer = c_void_p()
    try:
        call("training kernels", library().bc_trainer_open, torch.get_num_threads(), None, byref(trainer))
    except NativeError:
        yield 0
        return
    readers = _readers(graph)
    layers = [layer for group in readers.values() for layer in group if isinstance(layer, BinaryConv2d)]
    prelus = [module for module in graph.modules() if isinstance(module, nn.PReLU)]
    try:
        for sign, group in readers.items():
            convs = [layer for layer in group if isinstance(layer, BinaryConv2d)]
            if len(convs) == len(group) and sign.estimator in _ESTIMATORS and not sign.stochastic:
                sign.deferred = _all_binary(convs)
            for layer in convs:
                layer.product = _product(trainer, sign)
        for prelu in prelus:
            prelu.forward = _prelu(trainer, prelu)  # type: ignore[method-assign, assignment]
        yield len(layers)
    finally:
        for sign in readers:
            sign.deferred = None
        for layer in layers:
            layer.product = None
        for prelu in prelus:
            del prelu.forward
        library().bc_trainer_close(trainer)


def _readers(graph: fx.GraphModule) -> dict[Sign, list[BinaryConv2d | None]]:
    """What reads each sign: a convolution that the library can do, or None."""
    found: dict[Sign, list[BinaryConv2d | None]] = {}
    for node in graph.graph.nodes:
        if node.op == "call_module" and isinstance(sign := node_module(graph, node), Sign):
            for user in node.users:
                layer = node_module(graph, user) if user.op == "call_module" else None
                served = layer if isinstance(layer, BinaryConv2d) and _serves(layer) else None
                found.setdefault(sign, []).append(served)
    return found


def _serves(layer: BinaryConv2d) -> bool:
    return (
        layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.in_channels % _CHANNELS == 0
        and layer.out_channels % _CHANNELS == 0
        and all(pad < kernel for pad, kernel in zip(layer.padding, layer.kernel_size, strict=True))
    )


def _native(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32


def _all_binary(layers: list[BinaryConv2d]) -> Callable[[Tensor], bool]:
    """Whether a sign may pass its input on as it is: all that read it take the signs themselves."""
    return lambda x: _native(x) and all(layer.binarize_weight for layer in layers)


def _product(trainer: c_void_p, sign: Sign) -> Callable[[Tensor, Tensor, Pair, Pair], Tensor]:
    def product(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
        if not sign.binarize or not _native(x):
            return F.conv2d(x, weight, None, stride, padding)
        deferred = sign.deferred is not None and sign.deferred(x)
        estimator = _ESTIMATORS[sign.estimator] if deferred else _IDENTITY
        y: Tensor = _BinaryConv2d.apply(x, weight, stride, padding, estimator, trainer)  # type: ignore[no-untyped-call]
        return y

    return product


def _prelu(trainer: c_void_p, module: nn.PReLU) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        if not _native(x) or x.dim() != 4 or module.weight.numel() != x.shape[1]:
            return F.prelu(x, module.weight)
        y: Tensor = _PRelu.apply(x, module.weight, trainer)  # type: ignore[no-untyped-call]
        return y

    return forward


class _BinaryConv2d(torch.autograd.Function):
    """conv2d(sgn(x), w) of w whose magnitude is the same all over a filter, zero padded; the sign's gradient is given.

    Shapes: x (N, C_in, H, W), w (C_out, C_in, KH, KW) -> (N, C_out, H', W'), all float32.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, stride: Pair, padding: Pair, estimator: int, trainer: c_void_p
    ) -> Tensor:
        (n, c_in, height, width), (c_out, _, kh, kw) = x.shape, w.shape
        conv = BcConv(n, height, width, c_in, c_out, kh, kw, *stride, *padding)
        image, weight, scale = _channels_last(x), _channels_last(w), w[:, 0, 0, 0].abs()
        out_height = (height + 2 * padding[0] - kh) // stride[0] + 1
        out_width = (width + 2 * padding[1] - kw) // stride[1] + 1
        y = _empty(n, c_out, out_height, out_width)
        bits = torch.empty(library().bc_train_bits(byref(conv)), dtype=torch.uint8)
        operands = (image, weight, scale, y, bits)  # named, so that they outlive the call
        call("binary convolution", library().bc_train_forward, trainer, byref(conv), *map(_pointer, operands))
        ctx.save_for_backward(bits, weight, scale, None if estimator == _IDENTITY else image)
        ctx.conv, ctx.estimator, ctx.trainer = conv, estimator, trainer
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, None, None, None, None]:
        bits, weight, scale, image = ctx.saved_tensors
        conv: BcConv = ctx.conv
        dx = _empty(conv.n, conv.c_in, conv.h, conv.w) if ctx.needs_input_grad[0] else None
        dw, dy = _empty(*weight.shape), _channels_last(grads[0])
        inputs, outputs = map(_pointer, (bits, weight, scale, dy, image)), map(_pointer, (dx, dw))
        backward = library().bc_train_backward
        call("gradient of a binary convolution", backward, ctx.trainer, byref(conv), *inputs, ctx.estimator, *outputs)
        return dx, dw, None, None, None, None


class _PRelu(torch.autograd.Function):
    """x >= 0 ? x : x * slope[c]; torch's own gradient is not vectorised for channels_last. (N, C, H, W) -> the same."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor, trainer: c_void_p) -> Tensor:
        image, y = _channels_last(x), _empty(*x.shape)
        rows = (x.numel() // x.shape[1], x.shape[1])
        operands = map(_pointer, (image, slope, y))
        call("prelu", library().bc_train_prelu_forward, trainer, *rows, *operands)
        ctx.save_for_backward(image, slope)
        ctx.rows, ctx.trainer = rows, trainer
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        image, slope = ctx.saved_tensors
        dy, dx, d_slope = _channels_last(grads[0]), _empty(*image.shape), torch.empty_like(slope)
        operands = map(_pointer, (image, slope, dy, dx, d_slope))
        call("gradient of prelu", library().bc_train_prelu_backward, ctx.trainer, *ctx.rows, *operands)
        return dx, d_slope, None


def _empty(n: int, c: int, height: int, width: int) -> Tensor:
    """Memory in the order N, H, W, C; (N, C, H, W) to torch."""
    return torch.empty(n, height, width, c).permute(0, 3, 1, 2)


def _channels_last(x: Tensor) -> Tensor:
    """`x` in memory order N, H, W, C; torch calls some tensors channels_last whose strides of size-1 axes are not."""
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def _pointer(x: Tensor | None) -> c_void_p:
    return c_void_p(None if x is None else x.data_ptr())
