"""Deploy graph -> Program: each layer joins the epilogue of the operation before it wherever its readers allow.

A walk over the fx nodes in order. An operation (convolution, pool ...) opens a *chain*; a per-channel layer extends the
chain whose current result it reads, after what other readers need of that result has been written: `sign` bits, which
leave it as it is, or a `store`. So conv, BatchNorm, residual add, store, BatchNorm and sign become one node. Straight
lines from integer sums to a sign are taken first, as thresholds (see `thresholds.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import fx, nn

from bincompress.binarize.modules import ActScale, InputQuantizer, MulMap, Sign
from bincompress.errors import LoweringError, UnsupportedOpError
from bincompress.graph import Add, ShortcutA, node_module
from bincompress.lower.chains import Assembly, Chain
from bincompress.lower.check import check_program
from bincompress.lower.leaves import INTEGER_KINDS, Affine, ConstantMap, FrozenConv, FrozenLinear
from bincompress.lower.matching import Match, match_threshold
from bincompress.lower.pools import average_attrs, max_attrs, square
from bincompress.lower.thresholds import curve, fold_threshold, prelu_slope
from bincompress.program import Normalize, Program

Array = npt.NDArray[Any]
_OP_PREFIX = {"float": "", "weight": "weight_", "binary": "binary_", "u8": "u8_", "i8": "i8_"}


def lower(graph: fx.GraphModule, input_shape: tuple[int, int, int], normalize: Normalize | None) -> Program:
    """Lower what `deploy` returned (or any graph of the same leaves) to the program that C executes.

    Raises: LoweringError or UnsupportedOpError naming the layer that has no place in a program.
    """
    program = _Lowering(graph, normalize).run(input_shape)
    check_program(program)
    return program


class _Lowering:
    def __init__(self, graph: fx.GraphModule, normalize: Normalize | None) -> None:
        self.graph = graph
        self.normalize = normalize
        self.out = Assembly()
        self.done: set[fx.Node] = set()  # lowered already, on their own or swallowed by a threshold
        self.folded: dict[fx.Node, fx.Node] = {}  # flatten -> its source, where dense weights absorb it
        self.quantizer: InputQuantizer | None = None

    def run(self, input_shape: tuple[int, int, int]) -> Program:
        input_value = -1
        for node in self.graph.graph.nodes:
            if node.op == "placeholder":
                if input_value >= 0:
                    raise UnsupportedOpError(f"{node.name}: a second input; a packed network has one image input")
                input_value = self._input(node, input_shape)
            elif node.op == "output":
                (result,) = node.all_input_nodes
                result = self.folded.get(result, result)
                output = self.out.bits[result] if result in self.out.bits else self.out.store(result)
                return self.out.program(input_value, output, self.normalize)
            elif node not in self.done:
                self._layer(node)
                self.done.add(node)
        raise LoweringError("the graph has no output")

    # --- input

    def _input(self, node: fx.Node, shape: tuple[int, int, int]) -> int:
        flat = [user for user in node.users if isinstance(self._module(user), nn.Flatten)]
        readers = [user for user in node.users if user not in flat] + [user for view in flat for user in view.users]
        quantizers = [user for user in readers if isinstance(self._module(user), InputQuantizer)]
        value = self.out.value(node.name, "u8" if quantizers else "f32", shape, -1)
        if not quantizers:
            self.out.floats[node] = value
            return value
        if len(readers) > 1:
            raise LoweringError(f"{quantizers[0].target}: other layers read the image beside the integer first layer")
        module = self._module(quantizers[0])
        assert isinstance(module, InputQuantizer)
        self.done.update(flat)
        if self.normalize is None:
            mean, std = module.offset / 510, module.denominator / 510
            self.normalize = Normalize((mean,) * shape[0], (std,) * shape[0])
        self.quantizer = module
        self.out.floats[quantizers[0]] = value
        self.done.add(quantizers[0])
        return value

    # --- layers

    def _layer(self, node: fx.Node) -> None:
        module = self._module(node)
        handler = _HANDLERS.get(type(module)) if module is not None else None
        if module is None or handler is None:
            known = ", ".join(sorted(kind.__name__ for kind in _HANDLERS))
            raise UnsupportedOpError(f"{node.target}: {type(module).__name__} cannot be packed; supported: {known}")
        handler(self, node, module)

    def _module(self, node: fx.Node) -> nn.Module | None:
        return node_module(self.graph, node) if node.op == "call_module" else None

    def _shape(self, node: fx.Node) -> tuple[int, int, int]:
        node = self.folded.get(node, node)
        if node in self.out.chain_of:
            return self.out.chain_of[node].shape
        return self.out.values[self.out.bits[node] if node in self.out.bits else self.out.floats[node]].shape

    def _float_input(self, node: fx.Node) -> int:
        """The float value of `node`; signs that exist as bits only are unpacked by a product with one +1 each."""
        node = self.folded.get(node, node)
        if node not in self.out.bits:
            value = self.out.store(node)
            if self.out.values[value].dtype == "u8":
                raise LoweringError(f"{node.target}: only a convolution or dense layer with 1-bit weights reads pixels")
            return value
        if node not in self.out.floats:
            channels = self._shape(node)[0]
            attrs: dict[str, Any] = {"kernel": (1, 1), "stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1)}
            attrs |= {"groups": channels, "pad_value": 0}
            weight = np.ones((channels, 1, 1, 1), np.int8)
            chain = self.out.open("binary_conv2d", node, self.out.bits[node], attrs, weight)
            chain.name += ".float"
            self.out.floats[node] = self.out.value(f"{node.name}.float", "f32", chain.shape, chain.index)
            chain.add("store", self.out.floats[node])
        return self.out.floats[node]

    def _bits_input(self, node: fx.Node, reader: fx.Node) -> int:
        node = self.folded.get(node, node)
        if node not in self.out.bits:
            raise LoweringError(f"{reader.target}: a binary layer whose input {node.target} is not binary")
        return self.out.bits[node]

    def _product(self, node: fx.Node, module: nn.Module) -> None:
        assert isinstance(module, FrozenConv | FrozenLinear)
        (source,) = node.all_input_nodes
        if module.kind == "binary":
            main = self._bits_input(source, node)
        elif module.kind == "u8":
            main = self.out.floats[self.folded.get(source, source)]
        else:
            main = self._float_input(source)
        attrs, weight = _product_attrs(node, module, self.out.values[main].shape)
        op = _OP_PREFIX[module.kind] + ("conv2d" if isinstance(module, FrozenConv) else "dense")
        if module.kind == "u8":
            assert self.quantizer is not None
            attrs["offset"] = self.quantizer.offset
        match = match_threshold(self.graph, node) if module.kind in INTEGER_KINDS else None
        chain = self.out.open(op, node, main, attrs, weight)
        if match is not None:
            self._threshold(chain, node, match, weight)

    def _threshold(self, chain: Chain, node: fx.Node, match: Match, weight: Array) -> None:
        largest = 1
        if "offset" in chain.attrs:
            largest = max(abs(chain.attrs["offset"]), abs(510 - chain.attrs["offset"]))
        bound, channels = int(np.prod(weight.shape[1:])) * largest, weight.shape[0]
        tau, flip = fold_threshold(curve(match.modules, channels), bound, channels, str(match.sign.target))
        chain.weight = np.where(flip.reshape(-1, 1, 1, 1), -weight, weight)
        del self.out.chain_of[node]
        self.done.update(match.swallowed)
        name = match.sign.name if match.pool is None else f"{node.name}.bits"
        value = self.out.value(name, "bits", chain.shape, chain.index)
        chain.add("threshold", value, tau=tau)
        if match.pool is None:
            self.out.bits[match.sign] = value
            return
        pool = self._module(match.pool)
        assert isinstance(pool, nn.MaxPool2d)
        attrs = max_attrs(match.pool, pool, chain.shape)
        if match.pool_reversed.any():
            attrs["or_mask"] = match.pool_reversed
        pooled = self.out.open("max_pool", match.sign, value, attrs)
        pooled.name = str(match.pool.target)
        self.out.store_bits(match.sign)

    def _max_pool(self, node: fx.Node, module: nn.Module) -> None:
        assert isinstance(module, nn.MaxPool2d)
        (source,) = node.all_input_nodes
        attrs = max_attrs(node, module, self._shape(source))
        if source in self.out.bits:
            self.out.open("max_pool", node, self.out.bits[source], attrs)
            self.out.store_bits(node)
            return
        self.out.open("max_pool", node, self._float_input(source), attrs)

    def _average(self, node: fx.Node, module: nn.Module) -> None:
        (source,) = node.all_input_nodes
        attrs = average_attrs(node, module, self._shape(source))
        self.out.open("avg_pool", node, self._float_input(source), attrs)

    def _act_scale(self, node: fx.Node, module: nn.Module) -> None:
        assert isinstance(module, ActScale)
        (source,) = node.all_input_nodes
        attrs = {"kernel": module.kernel_size, "stride": module.stride, "padding": square(module.padding)}
        self.out.open("act_scale", node, self._float_input(source), attrs)

    def _shortcut(self, node: fx.Node, module: nn.Module) -> None:
        assert isinstance(module, ShortcutA)
        (source,) = node.all_input_nodes
        attrs = {"stride": (module.stride, module.stride), "before": module.before, "after": module.after}
        self.out.open("subsample_pad", node, self._float_input(source), attrs)

    def _flatten(self, node: fx.Node, module: nn.Module) -> None:
        assert isinstance(module, nn.Flatten)
        (source,) = node.all_input_nodes
        source = self.folded.get(source, source)
        if module.start_dim != 1 or module.end_dim not in (-1, 3):
            axes = f"{module.start_dim} to {module.end_dim}"
            raise UnsupportedOpError(f"{node.target}: Flatten of axes {axes}; supported: 1 to -1")
        dense_only = all(isinstance(self._module(user), FrozenLinear) for user in node.users)
        if dense_only or self._shape(source)[1:] == (1, 1):
            self.folded[node] = source
        elif source in self.out.bits:
            self.out.open("flatten", node, self.out.bits[source])
            self.out.store_bits(node)
        else:
            self.out.open("flatten", node, self._float_input(source))

    # --- steps

    def _sign(self, node: fx.Node, module: nn.Module) -> None:
        (source,) = node.all_input_nodes
        source = self.folded.get(source, source)
        if source not in self.out.bits:
            self._chain_at(source, node)
            self.out.sign(node, source)
        else:
            self.out.bits[node] = self.out.bits[source]  # the sign of a sign

    def _affine(self, node: fx.Node, module: nn.Module) -> None:
        assert isinstance(module, Affine)
        self._extend(node).add("affine", scale=module.scale.numpy(), bias=module.bias.numpy())

    def _relu(self, node: fx.Node, module: nn.Module) -> None:
        self._extend(node).add("relu")

    def _hardtanh(self, node: fx.Node, module: nn.Module) -> None:
        assert isinstance(module, nn.Hardtanh)
        if (module.min_val, module.max_val) != (-1, 1):
            raise UnsupportedOpError(f"{node.target}: Hardtanh({module.min_val}, {module.max_val}); supported: (-1, 1)")
        self._extend(node).add("hardtanh")

    def _prelu(self, node: fx.Node, module: nn.Module) -> None:
        chain = self._extend(node)
        chain.add("prelu", slope=prelu_slope(module, chain.shape[0]))

    def _add(self, node: fx.Node, module: nn.Module) -> None:
        first, second = (self.folded.get(arg, arg) for arg in node.args if isinstance(arg, fx.Node))
        if self._shape(first) != self._shape(second):
            shapes = f"{self._shape(first)} and {self._shape(second)}"
            raise LoweringError(f"{node.target}: adds {shapes}; the shapes must agree")
        # a product's epilogue takes the step rather than a shortcut's, and the chain opened last rather than an earlier
        if self._priority(second) > self._priority(first):
            first, second = second, first
        operand = self._float_input(second)
        self._extend(node, first, operand).add("add", operand)

    def _mul_map(self, node: fx.Node, module: nn.Module) -> None:
        first, second = (self.folded.get(arg, arg) for arg in node.args if isinstance(arg, fx.Node))
        operand = self._float_input(second)
        self._extend(node, first, operand).add("mul_map", operand)

    def _constant_map(self, node: fx.Node, module: nn.Module) -> None:
        assert isinstance(module, ConstantMap)
        operand = self.out.constant(f"{node.name}.factors", module.factors.detach().numpy().astype(np.float32))
        self._extend(node).add("mul_map", operand)

    def _priority(self, node: fx.Node) -> tuple[bool, int]:
        chain = self.out.chain_of.get(node)
        return (False, -1) if chain is None else (chain.weight is not None, chain.index)

    def _extend(self, node: fx.Node, source: fx.Node | None = None, operand: int = -1) -> Chain:
        """A chain whose current result is that of `source` and which goes on as `node`."""
        source = source or node.all_input_nodes[0]
        source = self.folded.get(source, source)
        chain = self._chain_at(source, node, operand)
        waiting = [user for user in self._readers(source) if user is not node and user not in self.done]
        for user in waiting:
            if isinstance(self._module(user), Sign):
                self.out.sign(user, source)
                self.done.add(user)
        if any(user not in self.done for user in waiting) and source not in self.out.floats:
            self.out.store(source)
        self.out.advance(chain, node)
        return chain

    def _readers(self, source: fx.Node) -> list[fx.Node]:
        """The readers of `source`, also through a flatten that is a mere view."""
        views = [user for user in source.users if user in self.folded]
        return [user for user in source.users if user not in views] + [user for view in views for user in view.users]

    def _chain_at(self, source: fx.Node, node: fx.Node, operand: int = -1) -> Chain:
        """The chain that ends in `source` and may still read `operand`, else a new elementwise one over its value."""
        if source in self.out.bits:
            self._float_input(source)
        chain = self.out.chain_of.get(source)
        if chain is not None and (operand < 0 or not self.out.needs(operand, chain)):
            return chain
        value = self._float_input(source)
        self.out.chain_of.pop(source, None)
        fresh = self.out.open("elementwise", source, value)
        fresh.name = str(node.target)
        return fresh


def _product_attrs(
    node: fx.Node, module: FrozenConv | FrozenLinear, shape: tuple[int, int, int]
) -> tuple[dict[str, Any], Array]:
    """Attributes and weights (C_out, kh, kw, C_in / groups) of a convolution, or of a dense layer over an image."""
    weight = module.weight.detach().numpy()
    if isinstance(module, FrozenLinear):
        if weight.shape[1] != int(np.prod(shape)):
            raise LoweringError(f"{node.target}: {weight.shape[1]} inputs, but it is fed {shape}; flatten before it")
        weight = weight.reshape(-1, *shape)
        attrs: dict[str, Any] = {"kernel": shape[1:], "stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1)}
        attrs |= {"groups": 1, "pad_value": 0}
    else:
        attrs = {"kernel": tuple(weight.shape[2:]), "stride": module.stride, "padding": module.padding}
        attrs |= {"dilation": module.dilation, "groups": module.groups}
        attrs["pad_value"] = module.pad_value if any(module.padding) else 0
    stored = np.float32 if module.kind == "float" else np.int8
    return attrs, np.ascontiguousarray(weight.transpose(0, 2, 3, 1), dtype=stored)


_Handler = Callable[[_Lowering, fx.Node, nn.Module], None]
_HANDLERS: dict[type[nn.Module], _Handler] = {
    FrozenConv: _Lowering._product,
    FrozenLinear: _Lowering._product,
    nn.MaxPool2d: _Lowering._max_pool,
    nn.AvgPool2d: _Lowering._average,
    nn.AdaptiveAvgPool2d: _Lowering._average,
    ActScale: _Lowering._act_scale,
    ShortcutA: _Lowering._shortcut,
    nn.Flatten: _Lowering._flatten,
    Sign: _Lowering._sign,
    Affine: _Lowering._affine,
    nn.ReLU: _Lowering._relu,
    nn.Hardtanh: _Lowering._hardtanh,
    nn.PReLU: _Lowering._prelu,
    nn.LeakyReLU: _Lowering._prelu,
    Add: _Lowering._add,
    MulMap: _Lowering._mul_map,
    ConstantMap: _Lowering._constant_map,
}
