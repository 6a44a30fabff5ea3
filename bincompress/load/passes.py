"""What is left to do once every node is a leaf: the ends of the network, and leaves that belong together."""

from __future__ import annotations

from torch import fx, nn

from bincompress.errors import UnsupportedOpError
from bincompress.graph import ShortcutA, erase, insert_after, node_module
from bincompress.load.rewrite import Run, where
from bincompress.load.rules import Pad, Softmax


def drop_softmax(graph: fx.GraphModule) -> list[str]:
    """Take probabilities off the end; anywhere else they are refused."""
    notes = []
    for node in list(graph.graph.nodes):
        if node.op == "call_module" and isinstance(node_module(graph, node), Softmax):
            if any(user.op != "output" for user in node.users):
                raise UnsupportedOpError(f"{where(node)}: softmax is supported only as the last operation")
            erase(graph, node)
            notes.append("softmax dropped: the output is logits")
    return notes


def flatten_output(graph: fx.GraphModule, run: Run) -> list[str]:
    """Make (N, K, 1, 1) scores (N, K); refuse anything that is not one tensor."""
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    scores = output.args[0]
    if not isinstance(scores, fx.Node) or scores not in run.shapes:
        kind = type(run.values.get(scores) if isinstance(scores, fx.Node) else scores).__name__
        raise UnsupportedOpError(f"the network returns a {kind}, expected one tensor of class scores")
    if scores.op == "placeholder":
        raise UnsupportedOpError("the network holds no layer")
    shape = run.shapes[scores]
    if len(shape) == 4 and shape[2:] == (1, 1):
        insert_after(graph, scores, "flatten", nn.Flatten(1))
        return ["output flattened to (N, classes)"]
    return []


def merge_shortcuts(graph: fx.GraphModule) -> None:
    """Make one leaf of "every second pixel", then "channels of zeros"."""
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or not isinstance(pad := node_module(graph, node), ShortcutA):
            continue
        (source,) = node.all_input_nodes
        if source.op != "call_module" or not isinstance(first := node_module(graph, source), ShortcutA):
            continue
        if pad.stride == 1 and len(source.users) == 1:
            first.before += pad.before
            first.after += pad.after
            erase(graph, node)


def fold_padding(graph: fx.GraphModule) -> None:
    """Move zeros around an image into the convolution that reads it."""
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or not isinstance(pad := node_module(graph, node), Pad):
            continue
        left, right, top, bottom = pad.padding
        for user in node.users:
            conv = node_module(graph, user) if user.op == "call_module" else None
            if not isinstance(conv, nn.Conv2d) or left != right or top != bottom:
                raise UnsupportedOpError(
                    f"{where(node)}: padding {pad.padding} before {where(user)} is not supported; "
                    "known is padding by equal amounts on opposite sides, before a convolution"
                )
            assert not isinstance(conv.padding, str)
            conv.padding = (conv.padding[0] + top, conv.padding[1] + left)
        erase(graph, node)
