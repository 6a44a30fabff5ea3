"""Trained graph -> deploy graph: the float32 network that the packed file reproduces, and that `verify` compares with.

    1. latent weights become frozen +-1; alpha and bias leave their layer as an Affine behind it
    2. BatchNorm becomes an Affine from its running statistics, computed in float64
    3. affines that follow each other become one (through a MulMap, if the first has no bias); then float32
    4. Dropout and Identity go
So a layer is exact sums, one multiply, one add, and an activation, which is what a threshold or a C epilogue evaluates.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from bincompress.binarize.modules import (
    BinaryConv2d,
    BinaryLinear,
    BinaryWeightLayer,
    InputQuantizer,
    MulMap,
    OutputMap,
    Shift,
    Sign,
)
from bincompress.binarize.shift_norm import ShiftBatchNorm
from bincompress.errors import LoweringError, UnsupportedOpError
from bincompress.graph import erase, finish, insert_after, node_module, replace_module
from bincompress.lower.leaves import Affine, ConstantMap, FrozenConv, FrozenLinear, Kind, Padding
from bincompress.program import Activations

Pair = tuple[int, int]


def deploy(graph: fx.GraphModule, activations: Activations = "float") -> fx.GraphModule:
    """The evaluation graph that is exported; the graph given stays as it is.

    `activations`: what layers with 1-bit weights and float input make of that input; see `Export` of the recipe.

    Raises: LoweringError or UnsupportedOpError naming the layer that has no exact form.
    """
    result = copy.deepcopy(graph).eval()
    kinds = {node: _input_kind(result, node) for node in result.graph.nodes if node.op == "call_module"}
    seen: dict[str, str] = {}
    for node in list(result.graph.nodes):
        if node.op in ("placeholder", "output"):
            continue
        if node.op != "call_module":
            raise UnsupportedOpError(f"{node.name}: {node.op} {node.target} is no layer; trace the model anew")
        if node.target in seen:
            raise UnsupportedOpError(f"{node.target}: the layer is used twice, by {seen[node.target]} and {node.name}")
        seen[str(node.target)] = node.name
        module = node_module(result, node)
        convert = _CONVERTERS.get(type(module))
        if convert is not None:
            convert(result, node, module, kinds[node])
    finish(result)
    if activations == "int8":
        _round_activations(result)
    _merge_affines(result)
    for node in result.graph.nodes:
        if node.op == "call_module":
            module = node_module(result, node)
            if isinstance(module, Affine):
                _require_finite(node, module.scale, module.bias)
                module.freeze()
    finish(result)
    return result.eval()


def _input_kind(graph: fx.GraphModule, node: fx.Node) -> Kind:
    """What feeds `node`: signs, integer pixels or floats, seen through layers that keep them so."""
    source = node.all_input_nodes[0]
    while source.op == "call_module":
        module = node_module(graph, source)
        if isinstance(module, Sign):
            return "binary"
        if isinstance(module, InputQuantizer):
            return "u8"  # a pool of pixels is refused when it is lowered
        if not isinstance(module, nn.MaxPool2d | nn.Flatten | nn.Dropout | nn.Identity):
            break
        source = source.all_input_nodes[0]
    return "weight"


def _conv(graph: fx.GraphModule, node: fx.Node, module: nn.Module, kind: Kind) -> None:
    assert isinstance(module, nn.Conv2d)
    if module.padding_mode != "zeros":
        raise UnsupportedOpError(f"{node.target}: padding mode {module.padding_mode!r}; supported: 'zeros'")
    frozen = FrozenConv(
        module.weight.detach().clone(),
        "float",
        stride=_pair(module.stride),
        padding=_padding(module),
        dilation=_pair(module.dilation),
        groups=module.groups,
    )
    _install(graph, node, frozen, None, module.bias)


def _binary_conv(graph: fx.GraphModule, node: fx.Node, module: nn.Module, kind: Kind) -> None:
    assert isinstance(module, BinaryConv2d)
    high, wide = module.padding
    frozen = FrozenConv(
        module.binary_weight().clone(),
        kind,
        stride=module.stride,
        padding=(high, wide, high, wide),
        dilation=module.dilation,
        groups=module.groups,
        pad_value=module.pad_value,
    )
    if kind != "binary" and module.pad_value and module.padding != (0, 0):
        raise LoweringError(
            f"{node.target}: padding with {module.pad_value:+d} needs a binary input; use padding: zero"
        )
    _install(graph, node, frozen, _alpha(node, module), module.bias)


def _linear(graph: fx.GraphModule, node: fx.Node, module: nn.Module, kind: Kind) -> None:
    assert isinstance(module, nn.Linear)
    _install(graph, node, FrozenLinear(module.weight.detach().clone(), "float"), None, module.bias)


def _binary_linear(graph: fx.GraphModule, node: fx.Node, module: nn.Module, kind: Kind) -> None:
    assert isinstance(module, BinaryLinear)
    _install(graph, node, FrozenLinear(module.binary_weight().clone(), kind), _alpha(node, module), module.bias)


def _alpha(node: fx.Node, module: BinaryWeightLayer) -> Tensor | None:
    if not module.binarize_weight:
        raise LoweringError(
            f"{node.target}: its weights are still float; finish the training stage that binarizes them"
        )
    return module.alpha().detach() if module.has_alpha else None


def _install(
    graph: fx.GraphModule, node: fx.Node, frozen: nn.Module, alpha: Tensor | None, bias: Tensor | None
) -> None:
    weight = frozen.get_buffer("weight")
    _require_finite(node, weight)
    replace_module(graph, str(node.target), frozen)
    if alpha is None and bias is None:
        return
    channels = weight.shape[0]
    scale = torch.ones(channels) if alpha is None else alpha
    insert_after(graph, node, f"{node.target}_affine", Affine(scale, torch.zeros(channels) if bias is None else bias))


def _batch_norm(graph: fx.GraphModule, node: fx.Node, module: nn.Module, kind: Kind) -> None:
    assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    mean, variance = module.running_mean, module.running_var
    if mean is None or variance is None:
        raise LoweringError(f"{node.target}: BatchNorm without running statistics; train with track_running_stats")
    scale = (variance.double() + module.eps).rsqrt()
    if module.weight is not None:
        scale = scale * module.weight.detach().double()
    bias = -mean.double() * scale
    if module.bias is not None:
        bias = bias + module.bias.detach().double()
    replace_module(graph, str(node.target), Affine(scale, bias))


def _shift_norm(graph: fx.GraphModule, node: fx.Node, module: nn.Module, kind: Kind) -> None:
    assert isinstance(module, ShiftBatchNorm)
    assert module.running_mean is not None
    assert module.running_var is not None
    scale = module.scale(module.running_var).detach().double()
    replace_module(
        graph, str(node.target), Affine(scale, module.bias.detach().double() - module.running_mean.double() * scale)
    )


def _output_map(graph: fx.GraphModule, node: fx.Node, module: nn.Module, kind: Kind) -> None:
    assert isinstance(module, OutputMap)
    factors = module.map().detach()
    _require_finite(node, factors)
    replace_module(graph, str(node.target), ConstantMap(factors.clone()))


def _shift(graph: fx.GraphModule, node: fx.Node, module: nn.Module, kind: Kind) -> None:
    assert isinstance(module, Shift)
    replace_module(graph, str(node.target), Affine(torch.ones_like(module.shift), module.shift))


def _sign(graph: fx.GraphModule, node: fx.Node, module: nn.Module, kind: Kind) -> None:
    assert isinstance(module, Sign)
    if not module.binarize:
        raise LoweringError(
            f"{node.target}: activations are still float; finish the training stage that binarizes them"
        )


def _drop(graph: fx.GraphModule, node: fx.Node, module: nn.Module, kind: Kind) -> None:
    erase(graph, node)


_CONVERTERS: dict[type[nn.Module], Callable[[fx.GraphModule, fx.Node, nn.Module, Kind], None]] = {
    nn.Conv2d: _conv,
    BinaryConv2d: _binary_conv,
    nn.Linear: _linear,
    BinaryLinear: _binary_linear,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    ShiftBatchNorm: _shift_norm,
    OutputMap: _output_map,
    Shift: _shift,
    Sign: _sign,
    nn.Dropout: _drop,
    nn.Identity: _drop,
}


def _round_activations(graph: fx.GraphModule) -> None:
    """Let products of floats with 1-bit weights round their input to 8 bits; depthwise ones stay, they gain nothing."""
    for node in graph.graph.nodes:
        module = node_module(graph, node) if node.op == "call_module" else None
        if isinstance(module, FrozenConv | FrozenLinear) and module.kind == "weight" and module.weight.shape[1] > 1:
            module.kind = "i8"


def _merge_affines(graph: fx.GraphModule) -> None:
    """Let each affine swallow the affine before it, if nothing else reads that one."""
    for node in list(graph.graph.nodes):
        after = node_module(graph, node) if node.op == "call_module" else None
        if not isinstance(after, Affine):
            continue
        source = node.all_input_nodes[0]
        through_map = source.op == "call_module" and isinstance(node_module(graph, source), MulMap | ConstantMap)
        if through_map and len(source.users) == 1:
            source = source.args[0]
        before = node_module(graph, source) if source.op == "call_module" else None
        if not isinstance(before, Affine) or len(source.users) != 1:
            continue
        if through_map and before.bias.count_nonzero():
            continue
        replace_module(graph, str(node.target), before.then(after))
        erase(graph, source)


def _require_finite(node: fx.Node, *tensors: Tensor) -> None:
    if not all(bool(torch.isfinite(tensor.float()).all()) for tensor in tensors):
        raise LoweringError(f"{node.target}: its parameters are not finite; the training has diverged")


def _pair(value: int | tuple[int, ...]) -> Pair:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _padding(module: nn.Conv2d) -> Padding:
    if module.padding == "valid":
        return 0, 0, 0, 0
    if module.padding == "same":
        extents = [d * (k - 1) for d, k in zip(_pair(module.dilation), _pair(module.kernel_size), strict=True)]
        return extents[0] // 2, extents[1] // 2, extents[0] - extents[0] // 2, extents[1] - extents[1] // 2
    assert not isinstance(module.padding, str)
    high, wide = _pair(module.padding)
    return high, wide, high, wide
