"""From any traceable `nn.Module` to the internal form: every operation becomes the call of a leaf.

The module is traced in evaluation mode, run once on zeros to learn every shape and every number that the code computes
from shapes, and then rewritten node by node by `rules.py`. At the end the result and the original are run on the same
random input: an import that changes the function is an error, not a surprise.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from bincompress.errors import ModelLoadError, UnsupportedOpError
from bincompress.graph import Add, LeafTracer, ShortcutA, erase, finish, insert_after, node_module, unique_path
from bincompress.load.rules import FUNCTIONS, LAYERS, Call, Leaves, Pad, Softmax, known
from bincompress.user_code import describe

_NAMES: dict[type[nn.Module], str] = {
    Add: "add",
    nn.AdaptiveAvgPool2d: "pool",
    nn.AvgPool2d: "pool",
    nn.MaxPool2d: "pool",
    nn.Hardtanh: "hardtanh",
    nn.LeakyReLU: "relu",
    nn.ReLU: "relu",
    ShortcutA: "shortcut",
    nn.Conv2d: "conv",
    nn.Linear: "linear",
}
_TORCH_MODULES = (None, "torch", "torch.nn.functional", "torch._C._nn", "_operator", "builtins")


def canonicalise(
    module: nn.Module, input_shape: tuple[int, ...], *, batch: int = 2
) -> tuple[fx.GraphModule, tuple[str, ...]]:
    """The internal form of `module`, in evaluation mode, and notes on what was changed; `module` is used up.

    Raises: UnsupportedOpError naming the node and its operation; ModelLoadError if the input shape does not fit.
    """
    module = module.float().eval()
    if LeafTracer().is_leaf_module(module, ""):
        module = nn.Sequential(module)  # a network of one layer: its call is what must be seen, not its inside
    graph = _trace(module)
    run = _Run(graph)
    with torch.no_grad():
        run.run(torch.zeros(batch, *input_shape))
    example = torch.randn(batch, *input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = module(example.clone())  # before rewriting, which may change padding in place
    _Rewriter(graph, run).rewrite()
    notes = [*_drop_softmax(graph), *_flatten_output(graph, run)]
    _merge_shortcuts(graph)
    _fold_padding(graph)
    finish(graph).eval()
    _check(graph, example, expected, dropped_softmax=bool(notes) and "softmax" in notes[0])
    return graph, tuple(notes)


def _trace(module: nn.Module) -> fx.GraphModule:
    tracer = LeafTracer()
    try:
        traced = tracer.trace(module)
    except Exception as error:  # the user's forward runs here: anything may come out of it
        where = next(reversed(tracer.module_stack), "") if tracer.module_stack else ""
        raise UnsupportedOpError(
            f"module {where or type(module).__name__}: its forward cannot be traced: {describe(error)}; "
            "it must call layers and torch functions only, with no branches on tensors, or come as ONNX"
        ) from error
    inputs = [node for node in traced.nodes if node.op == "placeholder"]
    for node in inputs[1:]:
        if not node.users:
            traced.erase_node(node)
    used = [node.name for node in traced.nodes if node.op == "placeholder"]
    if len(used) != 1:
        raise UnsupportedOpError(f"the network takes {len(used)} inputs ({', '.join(used)}), expected one image tensor")
    return fx.GraphModule(module, traced, type(module).__name__).eval()


class _Run(fx.Interpreter):
    """Runs the traced graph and keeps what rewriting needs: shapes, parameters that are read, other values."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.extra_traceback = False
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        self.constants: dict[fx.Node, Tensor] = {}
        self.values: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        try:
            value = super().run_node(n)
        except Exception as error:  # torch raises many kinds where shapes do not fit
            inputs = ", ".join(str(self.shapes[arg][1:]) for arg in n.all_input_nodes if arg in self.shapes)
            raise ModelLoadError(
                f"{_where(n)} ({_operation(self.module, n)}) does not fit its input of shape {inputs}: "
                f"{describe(error)}; is the input shape right?"
            ) from error
        if not isinstance(value, Tensor):
            self.values[n] = value
            return value
        self.shapes[n] = tuple(value.shape)
        if n.op == "get_attr":
            self.constants[n] = value
        return value


class _Rewriter:
    """Replaces each node by what its rule says."""

    def __init__(self, graph: fx.GraphModule, run: _Run) -> None:
        self.graph = graph
        self.run = run
        self.paths: set[str] = set()
        self.owners: dict[int, str] = {}
        self.order = {node: i for i, node in enumerate(graph.graph.nodes)}

    def rewrite(self) -> None:
        for node in list(self.graph.graph.nodes):
            if node in self.run.shapes and node.op in ("call_module", "call_function", "call_method"):
                self._settle_inplace(node)
                self._replace(node)
            elif node.op == "call_module":
                kind = type(self.run.values[node]).__name__
                raise UnsupportedOpError(
                    f"{_where(node)}: operation {_operation(self.graph, node)} is not supported: it returns a {kind}"
                )
        self._drop_leftovers()

    def _replace(self, node: fx.Node) -> None:
        operation = _operation(self.graph, node)
        call = Call(self.run.shapes, self.run.constants, self.run.shapes[node])
        args, kwargs = self._arguments(node.args), self._arguments(node.kwargs)
        try:
            if node.op == "call_module":
                self._claim(node)
                module = node_module(self.graph, node)
                rule = LAYERS.get(type(module))
                args = (module, *args)
            else:
                rule = FUNCTIONS.get(operation) if _is_torch(node) else None
            if rule is None:
                raise UnsupportedOpError(f"known are {known()}")
            result = rule(call, *args, **kwargs)
        except UnsupportedOpError as error:
            raise UnsupportedOpError(f"{_where(node)}: operation {operation} is not supported: {error}") from error
        except TypeError as error:
            raise UnsupportedOpError(
                f"{_where(node)}: operation {operation} is not supported with these arguments: {describe(error)}"
            ) from error
        self._put(node, result)

    def _put(self, node: fx.Node, result: Leaves | fx.Node) -> None:
        """Put the leaves behind `node`, give them its users, and take it out."""
        if isinstance(result, fx.Node):
            node.replace_all_uses_with(result)
            self.graph.graph.erase_node(node)
            return
        last = node
        inputs = result.inputs
        for module in result.modules:
            path = self._path(node, module)
            with self.graph.graph.inserting_after(last):
                last = self.graph.graph.call_module(path, inputs)
            inputs = (last,)
        node.replace_all_uses_with(last)
        self.run.shapes[last] = self.run.shapes[node]
        self.order[last] = self.order[node]
        self.graph.graph.erase_node(node)

    def _path(self, node: fx.Node, module: nn.Module) -> str:
        """Where the leaf goes: the layer's own path on its first call, else a fresh one in the scope of the call."""
        if node.op == "call_module" and str(node.target) not in self.paths:
            path = str(node.target)
            self._set(path, module)
        else:
            wanted = _scoped(node, _NAMES.get(type(module), type(module).__name__.lower()))
            if node.op == "call_module":
                wanted = str(node.target)
            path = unique_path(self.graph, wanted)
            self.graph.add_submodule(path, module)
        self.paths.add(path)
        return path

    def _set(self, path: str, module: nn.Module) -> None:
        parent, _, name = path.rpartition(".")
        setattr(self.graph.get_submodule(parent), name, module)

    def _claim(self, node: fx.Node) -> None:
        """Refuse weights that are used twice: a 1-bit copy of them could not be trained for both places."""
        for parameter in node_module(self.graph, node).parameters():
            owner = self.owners.setdefault(id(parameter), str(node.target))
            if owner != str(node.target) or node.target in self.paths:
                raise UnsupportedOpError(f"its weights are also used by {owner}; weights that are shared are not known")

    def _settle_inplace(self, node: fx.Node) -> None:
        """Let everything that reads an input after it was overwritten read the result instead."""
        if not _is_inplace(self.graph, node):
            return
        source = node.all_input_nodes[0]
        for user in list(source.users):
            if self.order.get(user, 0) > self.order[node]:
                user.replace_input_with(source, node)

    def _arguments(self, value: Any) -> Any:
        """Arguments with every node that is no tensor replaced by what it was when run."""
        return fx.node.map_arg(value, lambda node: self.run.values.get(node, node))

    def _drop_leftovers(self) -> None:
        """Erase what computed shapes and read parameters; all that is left must be leaves."""
        for node in reversed(self.graph.graph.nodes):
            if node.op in ("placeholder", "output", "call_module"):
                continue
            if node.users:
                user = next(iter(node.users))
                raise UnsupportedOpError(f"{_where(user)} reads {_where(node)}, which is no result of a layer")
            self.graph.graph.erase_node(node)


def _drop_softmax(graph: fx.GraphModule) -> list[str]:
    """Take probabilities off the end; anywhere else they are refused."""
    notes = []
    for node in list(graph.graph.nodes):
        if node.op == "call_module" and isinstance(node_module(graph, node), Softmax):
            if any(user.op != "output" for user in node.users):
                raise UnsupportedOpError(f"{_where(node)}: softmax is supported only as the last operation")
            erase(graph, node)
            notes.append("softmax dropped: the output is logits")
    return notes


def _flatten_output(graph: fx.GraphModule, run: _Run) -> list[str]:
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


def _merge_shortcuts(graph: fx.GraphModule) -> None:
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


def _fold_padding(graph: fx.GraphModule) -> None:
    """Move zeros around an image into the convolution that reads it."""
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or not isinstance(pad := node_module(graph, node), Pad):
            continue
        left, right, top, bottom = pad.padding
        for user in node.users:
            conv = node_module(graph, user) if user.op == "call_module" else None
            if not isinstance(conv, nn.Conv2d) or left != right or top != bottom:
                raise UnsupportedOpError(
                    f"{_where(node)}: padding {pad.padding} before {_where(user)} is not supported; "
                    "known is padding by equal amounts on opposite sides, before a convolution"
                )
            assert not isinstance(conv.padding, str)
            conv.padding = (conv.padding[0] + top, conv.padding[1] + left)
        erase(graph, node)


def _check(graph: fx.GraphModule, example: Tensor, expected: Any, *, dropped_softmax: bool) -> None:
    """Compare the rewritten network with the original on random input."""
    with torch.no_grad():
        got = graph(example)
    if dropped_softmax:
        got, expected = got.softmax(1), (expected if bool((expected >= 0).all()) else expected.exp())
    if not torch.isfinite(got).all():
        raise ModelLoadError("the network gives infinite or undefined numbers on random input; are its weights sound?")
    if not torch.allclose(got.flatten(1), expected.flatten(1), rtol=1e-3, atol=1e-4 * float(expected.abs().max() + 1)):
        raise UnsupportedOpError(
            "the network computes something else once it is written as layers (tensors changed in place?); "
            "write its forward with layers and plain functions, or come with ONNX"
        )


def _is_torch(node: fx.Node) -> bool:
    """Whether a function is torch's own; a user's may have the same name."""
    if node.op == "call_method":
        return True
    return getattr(node.target, "__module__", "") in _TORCH_MODULES


def _is_inplace(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(node_module(graph, node), "inplace", False))
    name = _operation(graph, node)
    return bool(node.kwargs.get("inplace")) or (name.endswith("_") and not name.endswith("__")) or name == "iadd"


def _operation(graph: nn.Module, node: fx.Node) -> str:
    """The name of what a node does, as users know it."""
    if node.op == "call_module":
        return type(graph.get_submodule(str(node.target))).__name__
    if node.op == "call_method":
        return str(node.target)
    if node.target is operator.getitem:
        return "getitem"
    # Some functionals are one function object called `fn` with the real name in another attribute's place.
    for name in ("max_pool2d", "adaptive_max_pool2d"):
        if node.target is getattr(nn.functional, name):
            return name
    return str(getattr(node.target, "__name__", node.target))


def _where(node: fx.Node) -> str:
    """A node as users can find it: the layer's path, or the scope of the call and the node's name."""
    return f"layer {node.target}" if node.op == "call_module" else f"node {_scoped(node, node.name)}"


def _scoped(node: fx.Node, name: str) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    scope = list(stack.values())[-1][0] if stack else ""
    return f"{scope}.{name}" if scope else name
