"""A shortcut around every binary convolution instead of one around each block (Bi-Real Net, arXiv 1808.00278)."""

from __future__ import annotations

from torch import fx, nn

from bincompress.binarize.chains import ACTIVATIONS, PASSING, beside, is_a, norm_after
from bincompress.graph import Add, Shape, propagate_shapes, unique_path


def shortcut_per_conv(graph: fx.GraphModule, binary: set[str], input_shape: Shape) -> None:
    """Give every binary convolution inside a residual block its own shortcut.

    y = f2(f1(x)) + s(x) becomes y = f2(h) + h with h = f1(x) + s(x), f one convolution with its BatchNorm. Where an
    activation a follows f1, h = a(f1(x) + s(x)), as at the end of the block; surgery then keeps, replaces or removes
    it. A convolution whose output has another shape than the shortcut (a bottleneck's) stays as it was.
    """
    for add in [node for node in graph.graph.nodes if is_a(graph, node, (Add,))]:
        for index, branch_end in enumerate(add.all_input_nodes):
            convs = _branch(graph, branch_end, binary)
            if len(convs) > 1 and len(add.all_input_nodes) == 2:
                _split(graph, add, convs, add.all_input_nodes[1 - index], propagate_shapes(graph, input_shape))
                break


def _branch(graph: fx.GraphModule, node: fx.Node, binary: set[str]) -> list[fx.Node]:
    """Binary convolutions on the way up from `node`, in execution order, as far as nothing else reads it."""
    convs: list[fx.Node] = []
    while len(node.users) == 1 and is_a(graph, node, (*PASSING, nn.Conv2d)):
        if node.target in binary:
            convs.append(node)
        node = node.all_input_nodes[0]
    return convs[::-1]


def _split(
    graph: fx.GraphModule, add: fx.Node, convs: list[fx.Node], shortcut: fx.Node, shapes: dict[str, Shape]
) -> None:
    shape = shapes[shortcut.name]
    _move_up(shortcut)
    for conv in convs[:-1]:
        end = norm_after(graph, conv) or conv
        if shapes[end.name] != shape:
            continue
        path = unique_path(graph, beside(conv.target, "add"))
        graph.add_submodule(path, Add())
        with graph.graph.inserting_after(end):
            new = graph.graph.call_module(path, (end, shortcut))
        for user in list(end.users):
            if user is not new:
                user.replace_input_with(end, new)
        behind = next((user for user in new.users if is_a(graph, user, ACTIVATIONS)), new)
        add.replace_input_with(shortcut, behind)
        shortcut = behind


def _move_up(shortcut: fx.Node) -> None:
    """Compute the shortcut as early as its input allows, for it is read earlier now."""
    chain: list[fx.Node] = []
    node = shortcut
    while len(node.users) == 1 and len(node.all_input_nodes) == 1:
        chain.append(node)
        node = node.all_input_nodes[0]
    for member in reversed(chain):
        node.append(member)
        node = member
