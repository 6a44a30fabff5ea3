"""Replacing every node of a traced network by what its rule says."""

from __future__ import annotations

import operator
from typing import Any

from torch import Tensor, fx, nn

from bincompress.errors import ModelLoadError, UnsupportedOpError
from bincompress.graph import Add, ShortcutA, node_module, unique_path
from bincompress.load.functions import FUNCTIONS
from bincompress.load.layers import LAYERS
from bincompress.load.rules import Call, Leaves
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


class Run(fx.Interpreter):
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
                f"{where(n)} ({_operation(self.module, n)}) does not fit its input of shape {inputs}: "
                f"{describe(error)}; is the input shape right?"
            ) from error
        if not isinstance(value, Tensor):
            self.values[n] = value
            return value
        self.shapes[n] = tuple(value.shape)
        if n.op == "get_attr":
            self.constants[n] = value
        return value


class Rewriter:
    """Replaces each node by what its rule says."""

    def __init__(self, graph: fx.GraphModule, run: Run) -> None:
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
                    f"{where(node)}: operation {_operation(self.graph, node)} is not supported: it returns a {kind}"
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
            raise UnsupportedOpError(f"{where(node)}: operation {operation} is not supported: {error}") from error
        except TypeError as error:
            raise UnsupportedOpError(
                f"{where(node)}: operation {operation} is not supported with these arguments: {describe(error)}"
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
                raise UnsupportedOpError(f"{where(user)} reads {where(node)}, which is no result of a layer")
            self.graph.graph.erase_node(node)


def known() -> str:
    """Names of the layers and functions that can be imported."""
    return ", ".join(sorted(cls.__name__ for cls in LAYERS)) + " and the functions " + ", ".join(sorted(FUNCTIONS))


def where(node: fx.Node) -> str:
    """A node as users can find it: the layer's path, or the scope of the call and the node's name."""
    return f"layer {node.target}" if node.op == "call_module" else f"node {_scoped(node, node.name)}"


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


def _scoped(node: fx.Node, name: str) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    scope = list(stack.values())[-1][0] if stack else ""
    return f"{scope}.{name}" if scope else name
