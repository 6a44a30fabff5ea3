"""Binary convolutions of a network in training, on the kernels that will run its packed file.

A float convolution of +-1 wastes most of its arithmetic. Here the forward pass is XOR and popcount, exact as it will be
shipped; the gradients are sums of floats with signs. `BinaryConv2d` without a product is the readable twin, on torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import byref, c_void_p
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from bincompress.binarize.modules import BinaryConv2d, Pair, Sign
from bincompress.errors import NativeError
from bincompress.graph import node_module
from bincompress.native import BcConv, call, library

_CHANNELS = 16  # the kernels take multiples of this


@contextmanager
def native_products(graph: fx.GraphModule) -> Iterator[int]:
    """Inside, binary convolutions of this graph that read signs use the C library, on as many threads as torch has.

    Yields: how many do; layers of other shapes (channels not in multiples of 16, groups, dilation) keep to torch, and
    so does everything on a GPU, or where the library cannot be found.
    """
    layers = [
        (layer, sign)
        for node in graph.graph.nodes
        if node.op == "call_module"
        and isinstance(layer := node_module(graph, node), BinaryConv2d)
        and isinstance(sign := node_module(graph, node.all_input_nodes[0]), Sign)
        and _serves(layer)
    ]
    trainer = c_void_p()
    try:
        call("training kernels", library().bc_trainer_open, torch.get_num_threads(), None, byref(trainer))
    except NativeError:
        yield 0
        return
    try:
        for layer, sign in layers:
            layer.product = _product(trainer, sign)
        yield len(layers)
    finally:
        for layer, _ in layers:
            layer.product = None
        library().bc_trainer_close(trainer)


def _serves(layer: BinaryConv2d) -> bool:
    return (
        layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.in_channels % _CHANNELS == 0
        and layer.out_channels % _CHANNELS == 0
        and all(pad < kernel for pad, kernel in zip(layer.padding, layer.kernel_size, strict=True))
    )


def _product(trainer: c_void_p, sign: Sign) -> Callable[[Tensor, Tensor, Pair, Pair], Tensor]:
    def product(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
        if not sign.binarize or x.device.type != "cpu" or x.dtype != torch.float32:
            return F.conv2d(x, weight, None, stride, padding)
        y: Tensor = _BinaryConv2d.apply(x, weight, stride, padding, trainer)  # type: ignore[no-untyped-call]
        return y

    return product


class _BinaryConv2d(torch.autograd.Function):
    """conv2d(x, w) of x of +-1 and of w whose magnitude is the same all over a filter, zero padded.

    Shapes: x (N, C_in, H, W), w (C_out, C_in, KH, KW) -> (N, C_out, H', W'), all float32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, stride: Pair, padding: Pair, trainer: c_void_p) -> Tensor:
        (n, c_in, height, width), (c_out, _, kh, kw) = x.shape, w.shape
        conv = BcConv(n, height, width, c_in, c_out, kh, kw, *stride, *padding)
        weight, scale = _channels_last(w), w[:, 0, 0, 0].abs()
        out_height = (height + 2 * padding[0] - kh) // stride[0] + 1
        out_width = (width + 2 * padding[1] - kw) // stride[1] + 1
        y = _empty(n, c_out, out_height, out_width)
        bits = torch.empty(library().bc_train_bits(byref(conv)), dtype=torch.uint8)
        operands = (_channels_last(x), weight, scale, y, bits)  # named, so that they outlive the call
        call("binary convolution", library().bc_train_forward, trainer, byref(conv), *map(_pointer, operands))
        ctx.save_for_backward(bits, weight, scale)
        ctx.conv, ctx.trainer = conv, trainer
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, None, None, None]:
        bits, weight, scale = ctx.saved_tensors
        conv: BcConv = ctx.conv
        dx = _empty(conv.n, conv.c_in, conv.h, conv.w) if ctx.needs_input_grad[0] else None
        dw = _empty(*weight.shape)
        operands = (bits, weight, scale, _channels_last(grads[0]), dx, dw)
        backward = library().bc_train_backward
        call("gradient of a binary convolution", backward, ctx.trainer, byref(conv), *map(_pointer, operands))
        return dx, dw, None, None, None


def _empty(n: int, c: int, height: int, width: int) -> Tensor:
    """Memory in the order N, H, W, C; (N, C, H, W) to torch."""
    return torch.empty(n, height, width, c).permute(0, 3, 1, 2)


def _channels_last(x: Tensor) -> Tensor:
    """`x` in memory order N, H, W, C; torch calls some tensors channels_last whose strides of size-1 axes are not."""
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def _pointer(x: Tensor | None) -> c_void_p:
    return c_void_p(None if x is None else x.data_ptr())
