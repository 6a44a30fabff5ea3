"""Walking a graph around the layers that surgery changes: what feeds a layer, where its output ends, what is signed."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx, nn

from bincompress.binarize.modules import Sign
from bincompress.errors import RecipeError
from bincompress.graph import Add, ShortcutA, node_module

ACTIVATIONS = (nn.ReLU, nn.PReLU, nn.LeakyReLU, nn.Hardtanh)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
DROPS = (nn.Dropout, nn.Identity)
# What may stand between two layers with weights without being one: surgery reorders and removes these.
PASSING = (*ACTIVATIONS, *POOLS, *NORMS, *DROPS, nn.Flatten)


def is_a(graph: fx.GraphModule, node: fx.Node, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a node calls a module of one of these classes."""
    return node.op == "call_module" and isinstance(node_module(graph, node), kinds)


def beside(path: object, what: str) -> str:
    """A path for a module that belongs to the one at `path`: "a.conv" -> "a.conv_sign", "a.3" -> "a.sign_3"."""
    parent, dot, name = str(path).rpartition(".")
    return f"{parent}{dot}{what}_{name}" if name[0].isdigit() else f"{parent}{dot}{name}_{what}"


@dataclass(frozen=True)
class Chain:
    """What lies between a layer and the weights before it.

    `attach` is the last node that somebody else reads too (or the node that computes, such as a convolution or an add);
    `private` are the nodes behind it that only lead to the layer, in execution order.
    """

    attach: fx.Node
    private: tuple[fx.Node, ...]


def input_chain(graph: fx.GraphModule, layer: fx.Node) -> Chain:
    """Walk up from a layer's input over passing nodes that have no other reader."""
    private: list[fx.Node] = []
    node = layer.all_input_nodes[0]
    while is_a(graph, node, PASSING) and len(node.users) == 1:
        private.append(node)
        node = node.all_input_nodes[0]
    return Chain(node, tuple(reversed(private)))


def terminals(graph: fx.GraphModule, node: fx.Node) -> set[fx.Node]:
    """The first nodes downstream that are more than passing: layers with weights, adds, the output."""
    found: set[fx.Node] = set()
    pending = list(node.users)
    while pending:
        user = pending.pop()
        if is_a(graph, user, PASSING):
            pending.extend(user.users)
        else:
            found.add(user)
    return found


def normalised_before(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether `node` is a BatchNorm's output, or a pooled one: a tensor that lies on both sides of zero."""
    while is_a(graph, node, (*POOLS, *DROPS, nn.Flatten)):
        node = node.all_input_nodes[0]
    return is_a(graph, node, NORMS)


def norm_after(graph: fx.GraphModule, layer: fx.Node) -> fx.Node | None:
    """The BatchNorm that a layer's output goes through before anything else than pooling, or None."""
    node = layer
    while len(node.users) == 1:
        (node,) = node.users
        if is_a(graph, node, NORMS):
            return node
        if not is_a(graph, node, (*POOLS, *DROPS, nn.Flatten)):
            return None
    return None


def never_negative(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a tensor cannot be negative, so that its sign would be +1 everywhere."""
    if node.op != "call_module":
        return False
    module = node_module(graph, node)
    if isinstance(module, nn.ReLU):
        return True
    if isinstance(module, nn.Hardtanh):
        return module.min_val >= 0
    if isinstance(module, (*POOLS, *DROPS, nn.Flatten, nn.LeakyReLU, nn.PReLU, ShortcutA, Add)):
        return all(never_negative(graph, source) for source in node.all_input_nodes)
    return False


def check_signs(graph: fx.GraphModule) -> None:
    """Make sure that no sign is fed by a tensor that cannot be negative.

    Raises: RecipeError naming the sign, the layer it feeds and what feeds it.
    """
    for node in graph.graph.nodes:
        if is_a(graph, node, (Sign,)) and never_negative(graph, node.all_input_nodes[0]):
            layers = ", ".join(sorted(str(user.target) for user in terminals(graph, node)))
            source = node.all_input_nodes[0].target
            raise RecipeError(
                f"{layers}: the sign of its input would be +1 everywhere, for {source} is never negative; "
                "set surgery.insert_bn: auto, or surgery.activation: none"
            )
