"""A copy of a float network for evaluation, at the cost of its convolutions: BatchNorms folded, ReLUs in place."""

from __future__ import annotations

import copy

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from bincompress.graph import Add, erase, finish, node_module, replace_module

_FRESH = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, Add)  # what they return is nobody else's


def folded(graph: fx.GraphModule) -> fx.GraphModule:
    """A copy in evaluation mode that computes the same up to rounding; the graph given stays as it is.

    Each layer must be used once, as in every graph that `load_model` makes.
    """
    result = copy.deepcopy(graph).eval()
    for node in list(result.graph.nodes):
        if node.op == "call_module" and isinstance(node_module(result, node), nn.BatchNorm1d | nn.BatchNorm2d):
            _fold(result, node)
    for node in result.graph.nodes:
        if node.op == "call_module" and isinstance(relu := node_module(result, node), nn.ReLU):
            (source,) = node.all_input_nodes
            relu.inplace = len(source.users) == 1 and _is_fresh(result, source)
    return finish(result)


def _fold(graph: fx.GraphModule, node: fx.Node) -> None:
    (source,) = node.all_input_nodes
    if source.op != "call_module" or len(source.users) != 1:
        return
    layer, norm = node_module(graph, source), node_module(graph, node)
    if norm.running_mean is None or norm.running_var is None:
        return
    if type(layer) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
        replace_module(graph, str(source.target), fuse_conv_bn_eval(layer, norm))
    elif type(layer) is nn.Linear and type(norm) is nn.BatchNorm1d:
        replace_module(graph, str(source.target), fuse_linear_bn_eval(layer, norm))
    else:
        return
    erase(graph, node)


def _is_fresh(graph: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(node_module(graph, node), _FRESH)
