"""Training on the kernels that will run the packed file: convolutions with 1-bit weights and with what is in front of
them, BatchNorm with the addition behind it, PReLU with the shifts around it.

A float convolution of +-1 wastes most of its arithmetic. Here the forward pass is XOR and popcount, exact as it will be
shipped, the gradients are sums of floats with signs, and so is all that has signs on one side. All else is bound by
memory: a chain of modules is one pass over it. One module then does the work of all, and the others pass their input on
as it is: they are *deferred*. The modules as they are without this are the readable twins, on torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import byref, c_void_p
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from bincompress.binarize.modules import BinaryConv2d, BinaryLinear, Shift, Sign
from bincompress.binarize.native_forwards import (
    CHANNELS,
    Front,
    all_binary,
    conv_product,
    deferred,
    dense_product,
    is_native,
    norm_add,
    norm_alone,
    passes_on,
    serves_conv,
    serves_norm,
)
from bincompress.binarize.native_functions import ESTIMATORS, prelu
from bincompress.errors import NativeError
from bincompress.graph import Add, node_module
from bincompress.native import call, library

_MOST_THREADS = 64  # of bc_trainer_open


@contextmanager
def native_products(graph: fx.GraphModule, *, floats: bool = True) -> Iterator[int]:
    """Inside, layers of this graph with 1-bit weights use the C library, on as many threads as torch has.

    `floats`: also where only one side is binary. Torch's products in bfloat16 are faster than those.
    Yields: how many do; layers of other shapes (channels not in multiples of 16, groups, dilation) keep to torch, and
    so does everything on a GPU, or where the library cannot be found.
    """
    trainer, threads = c_void_p(), min(torch.get_num_threads(), _MOST_THREADS)
    try:
        call("training kernels", library().bc_trainer_open, threads, None, byref(trainer))
    except NativeError:
        yield 0
        return
    patches = _Patches(graph, trainer, floats)
    try:
        yield patches.apply()
    finally:
        patches.undo()
        library().bc_trainer_close(trainer)


class _Patches:
    """What is changed on the modules of a graph, and taken back."""

    def __init__(self, graph: fx.GraphModule, trainer: c_void_p, floats: bool) -> None:
        self._graph = graph
        self._trainer = trainer
        self._floats = floats
        self._signs: list[Sign] = []
        self._layers: list[BinaryConv2d | BinaryLinear] = []
        self._patched: dict[nn.Module, None] = {}  # in order

    def apply(self) -> int:
        """Returns: how many layers are served."""
        nodes = [node for node in self._graph.graph.nodes if node.op == "call_module"]
        patches: tuple[tuple[type[nn.Module], Callable[[fx.Node, Any], None]], ...] = (
            (Sign, self._patch_sign),
            (BinaryConv2d, self._patch_weights),
            (BinaryLinear, self._patch_dense),
            (nn.PReLU, self._patch_prelu),
            (Add, self._patch_add),
            (nn.BatchNorm2d, self._patch_norm),
        )
        for kind, patch in patches:
            for node in nodes:
                module = node_module(self._graph, node)
                if isinstance(module, kind) and module not in self._patched:
                    patch(node, module)
        return len(self._layers)

    def undo(self) -> None:
        """Every module as it was."""
        for sign in self._signs:
            sign.deferred = None
        for layer in self._layers:
            layer.product = None
        for module in self._patched:
            del module.forward

    def _forward(self, module: nn.Module, forward: Callable[..., Tensor]) -> None:
        module.forward = forward
        self._patched[module] = None

    def _before(self, node: fx.Node, index: int = 0) -> nn.Module | None:
        """The module of this input of a node, if nothing else sees what it returns."""
        source = node.all_input_nodes[index]
        if source.op != "call_module" or len(source.users) != 1:
            return None
        module = node_module(self._graph, source)
        return None if module in self._patched or module._forward_hooks else module

    def _patch_sign(self, node: fx.Node, sign: Sign) -> None:
        readers = [node_module(self._graph, user) if user.op == "call_module" else None for user in node.users]
        convs = [layer for layer in readers if isinstance(layer, BinaryConv2d) and serves_conv(layer)]
        front: Front | None = None
        alone = len(convs) == len(readers) and not sign._forward_hooks  # nobody else sees the signs
        if alone and sign.estimator in ESTIMATORS and not sign.stochastic:
            sign.deferred = is_native if self._floats else all_binary(convs)
            module = self._before(node)
            pads = any(layer.pad_value and layer.padding != (0, 0) for layer in convs)  # behind the sign
            once = len(convs) == 1  # a norm moves its averages
            if not pads and (isinstance(module, Shift) or (once and serves_norm(module))):
                front = module
        if front is not None:
            self._forward(front, deferred(front, passes_on(sign, front), self._trainer))
        for layer in convs:
            layer.product = conv_product(self._trainer, sign, front, self._floats)
        self._signs.append(sign)
        self._layers += convs

    def _patch_weights(self, node: fx.Node, layer: BinaryConv2d) -> None:
        if self._floats and layer.product is None and serves_conv(layer):
            layer.product = conv_product(self._trainer, None, None, self._floats)
            self._layers.append(layer)

    def _patch_dense(self, node: fx.Node, layer: BinaryLinear) -> None:
        if layer.in_features % CHANNELS or layer.out_features % CHANNELS or layer.product is not None:
            return
        (source,) = node.all_input_nodes
        while source.op == "call_module" and isinstance(node_module(self._graph, source), nn.Flatten):
            (source,) = source.all_input_nodes
        module = node_module(self._graph, source) if source.op == "call_module" else None
        sign = module if isinstance(module, Sign) else None
        if sign is not None or self._floats:
            layer.product = dense_product(self._trainer, sign, self._floats)
            self._layers.append(layer)

    def _patch_prelu(self, node: fx.Node, module: nn.PReLU) -> None:
        before, after, users = self._before(node), None, list(node.users)
        if len(users) == 1 and users[0].op == "call_module" and not module._forward_hooks:
            after = node_module(self._graph, users[0])
        lead, trail = (m if isinstance(m, Shift) and m not in self._patched else None for m in (before, after))

        def serves(x: Tensor) -> bool:
            return is_native(x) and module.weight.numel() == x.shape[1]

        def forward(x: Tensor) -> Tensor:
            if not serves(x):
                return F.prelu(x, module.weight)
            return prelu(x, module.weight, _amount(lead), _amount(trail), self._trainer)

        self._forward(module, forward)
        for shift in (lead, trail):
            if shift is not None:
                self._forward(shift, deferred(shift, serves, self._trainer))

    def _patch_add(self, node: fx.Node, add: Add) -> None:
        if len(node.all_input_nodes) != 2:  # a tensor added to itself
            return
        for index in (0, 1):
            norm = self._before(node, index)
            if serves_norm(norm):
                self._forward(norm, deferred(norm, lambda x: True, self._trainer))
                self._forward(add, norm_add(norm, index, self._trainer, relu=self._take_relu(node)))
                return

    def _patch_norm(self, node: fx.Node, norm: nn.BatchNorm2d) -> None:
        if serves_norm(norm):
            self._forward(norm, norm_alone(norm, self._trainer, relu=self._take_relu(node)))

    def _take_relu(self, node: fx.Node) -> bool:
        """Whether a ReLU alone reads this module; it will pass its input on, for the module does its work."""
        if len(node.users) != 1 or node_module(self._graph, node)._forward_hooks:
            return False
        (user,) = node.users
        if user.op != "call_module" or type(relu := node_module(self._graph, user)) is not nn.ReLU:
            return False
        self._forward(relu, lambda x: x)
        return True


def _amount(shift: Shift | None) -> Tensor | None:
    return None if shift is None else shift.shift
