"""The internal form of a network: an fx graph whose only operations are calls of known leaf modules.

Every stage before lowering works on it. Nodes are one placeholder, `call_module` nodes and one output; a node's
`target` is the module's path ("layer1.0.conv1"), the name that users see in plans, rules and reports. Functional calls,
methods and constants never appear: `load/canonical.py` has turned them into leaves.

A leaf class is one that has been registered with the function that returns its constructor's arguments. That makes a
graph data: `graph_to_json` and `graph_from_json` write and rebuild it with neither pickles nor the user's code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from bincompress.errors import ModelLoadError, UnsupportedOpError
from bincompress.program import Normalize

Config = dict[str, Any]
Shape = tuple[int, ...]


class Add(nn.Module):
    """Sum of two tensors of one shape: the end of a residual block."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class ShortcutA(nn.Module):
    """Parameter-free shortcut: every `stride`-th pixel, then `before` and `after` channels of zeros.

    Shapes: (N, C, H, W) -> (N, before + C + after, ceil(H / stride), ceil(W / stride)).
    Source: option A of "Deep Residual Learning for Image Recognition", arXiv 1512.03385, section 4.2.
    """

    def __init__(self, stride: int, before: int, after: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = before
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        # A pool of one pixel takes every stride-th one. A slice would too, but its gradient is not channels_last, and
        # all BatchNorms upstream would be three times slower.
        return F.pad(F.avg_pool2d(x, 1, self.stride), (0, 0, 0, 0, self.before, self.after))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, before={self.before}, after={self.after}"


@dataclass(frozen=True)
class FloatModel:
    """A float network ready for planning and surgery.

    `sha256` is of the model's file (and of files of weights beside it), or of the network's name where there is none;
    `notes` say in words what import changed or assumed; `normalize` is what the network expects of its pixels, None
    where nobody has said. `pretrained` is False where the weights are random.
    """

    graph: fx.GraphModule
    input_shape: tuple[int, int, int]
    normalize: Normalize | None
    sha256: str
    source: str
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None
    pretrained: bool = True


@dataclass(frozen=True)
class _Leaf:
    cls: type[nn.Module]
    name: str
    config: Callable[[Any], Config]


_BY_NAME: dict[str, _Leaf] = {}
_BY_CLASS: dict[type[nn.Module], _Leaf] = {}


def register_leaf(cls: type[nn.Module], name: str, config: Callable[[Any], Config]) -> None:
    """Make `cls` a leaf: `config(module)` returns constructor arguments made of JSON values (tuples become lists)."""
    if name in _BY_NAME or cls in _BY_CLASS:
        raise ValueError(f"leaf {name!r} ({cls.__name__}) is already registered")
    _BY_NAME[name] = _BY_CLASS[cls] = _Leaf(cls, name, config)


def leaf_names() -> tuple[str, ...]:
    """Names of all registered leaves, sorted."""
    return tuple(sorted(_BY_NAME))


def is_leaf(module: nn.Module) -> bool:
    """Whether the module's own class, not a parent of it, is registered."""
    return type(module) in _BY_CLASS


def leaf_config(module: nn.Module) -> tuple[str, Config]:
    """The leaf's registered name and its constructor arguments.

    Raises: UnsupportedOpError if the class is not registered.
    """
    leaf = _BY_CLASS.get(type(module))
    if leaf is None:
        raise UnsupportedOpError(f"{type(module).__name__} is no known layer; known: {', '.join(leaf_names())}")
    return leaf.name, {key: _to_json(value) for key, value in leaf.config(module).items()}


def build_leaf(name: str, config: Mapping[str, Any]) -> nn.Module:
    """A leaf with fresh weights from what `leaf_config` returned.

    Raises: ModelLoadError if there is no such leaf, or its constructor refuses the arguments.
    """
    leaf = _BY_NAME.get(name)
    if leaf is None:
        raise ModelLoadError(f"layer kind {name!r} is unknown; known: {', '.join(leaf_names())}")
    try:
        return leaf.cls(**{key: _from_json(value) for key, value in config.items()})
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise ModelLoadError(f"layer kind {name!r} refuses {dict(config)}: {_first_line(error)}") from error


class LeafTracer(fx.Tracer):
    """Traces a network down to registered leaves and `torch.nn` modules."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_leaf(m) or super().is_leaf_module(m, module_qualified_name)


def trace(module: nn.Module) -> fx.GraphModule:
    """Trace a module made of leaves only; its weights are shared with the result, which is in the same mode."""
    graph = fx.GraphModule(module, LeafTracer().trace(module), type(module).__name__)
    graph.train(module.training)
    return graph


def node_module(graph: fx.GraphModule, node: fx.Node) -> nn.Module:
    """The module that a `call_module` node calls."""
    return graph.get_submodule(str(node.target))


def graph_to_json(graph: fx.GraphModule) -> dict[str, Any]:
    """The graph's structure without its weights, as JSON values.

    Returns: {"nodes": [{"name", "op", "target", "inputs"}], "modules": {path: {"leaf", "config"}}}.
    Raises: UnsupportedOpError for a node that is no call of a registered leaf on tensors.
    """
    nodes: list[dict[str, Any]] = []
    modules: dict[str, dict[str, Any]] = {}
    for node in graph.graph.nodes:
        inputs = list(node.args)
        if node.kwargs or not all(isinstance(arg, fx.Node) for arg in inputs) or not _plain(node):
            raise UnsupportedOpError(f"node {node.name!r}: {node.op} {node.target} is no call of a layer on tensors")
        nodes.append(
            {"name": node.name, "op": node.op, "target": str(node.target), "inputs": [arg.name for arg in inputs]}
        )
        if node.op == "call_module" and node.target not in modules:
            leaf, config = leaf_config(node_module(graph, node))
            modules[str(node.target)] = {"leaf": leaf, "config": config}
    return {"nodes": nodes, "modules": modules}


def graph_from_json(data: Mapping[str, Any]) -> fx.GraphModule:
    """Rebuild what `graph_to_json` wrote, with fresh weights and in training mode; call `load_state_dict` next.

    Raises: ModelLoadError if the structure is malformed.
    """
    root = fx.GraphModule(nn.Module(), fx.Graph())
    graph = fx.Graph(root)
    values: dict[str, fx.Node] = {}
    try:
        for path, entry in data["modules"].items():
            if not all(part.isidentifier() or part.isdigit() for part in path.split(".")):
                raise ModelLoadError(f"network description: {path!r} is no module path")
            root.add_submodule(path, build_leaf(entry["leaf"], entry["config"]))
        for entry in data["nodes"]:
            inputs = tuple(values[name] for name in entry["inputs"])
            if not _plain_entry(entry, inputs, data["modules"]):
                raise ModelLoadError(f"network description: node {entry['name']!r} is malformed")
            values[entry["name"]] = graph.create_node(entry["op"], entry["target"], inputs, name=entry["name"])
        if not values or next(reversed(values.values())).op != "output":
            raise ModelLoadError("network description: it does not end in an output")
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelLoadError(
            f"network description: malformed ({type(error).__name__}: {_first_line(error)})"
        ) from error
    graph.lint()
    return fx.GraphModule(root, graph)


def propagate_shapes(graph: fx.GraphModule, input_shape: tuple[int, ...]) -> dict[str, Shape]:
    """Per-sample output shape of every node by name, found by running zeros in evaluation mode; modes are restored.

    Raises: ModelLoadError naming the node that does not fit its input.
    """
    modes = {module: module.training for module in graph.modules()}
    graph.eval()
    recorder = _ShapeRecorder(graph)
    try:
        with torch.no_grad():
            recorder.run(torch.zeros(1, *input_shape))
    finally:
        for module, mode in modes.items():
            module.training = mode
    return recorder.shapes


class _ShapeRecorder(fx.Interpreter):
    """Runs a graph and keeps each node's shape without the batch axis."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.extra_traceback = False
        self.shapes: dict[str, Shape] = {}

    def run_node(self, n: fx.Node) -> Any:
        try:
            value = super().run_node(n)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            inputs = ", ".join(str(self.shapes.get(arg.name)) for arg in n.all_input_nodes)
            raise ModelLoadError(
                f"layer {n.target} ({n.op}) does not fit its input of shape {inputs}: {_first_line(error)}; "
                "check the input shape"
            ) from error
        if isinstance(value, Tensor):
            self.shapes[n.name] = tuple(value.shape[1:])
        return value


# --- surgery helpers; call `finish` once after a series of them -------------------------------------------------------


def unique_path(graph: fx.GraphModule, path: str) -> str:
    """`path`, or `path` with the first free number appended, so that no module or parameter has that path yet.

    A layer never lies inside another: below a leaf the path goes on with "_" instead of ".".
    """
    parts = path.split(".")
    for i in range(1, len(parts)):
        inside = ".".join(parts[:i])
        if _taken(graph, inside) and _is_end(graph, inside):
            path = "_".join((inside, *parts[i:]))
            break
    candidate, number = path, 1
    while _taken(graph, candidate):
        candidate, number = f"{path}_{number}", number + 1
    return candidate


def insert_after(graph: fx.GraphModule, node: fx.Node, path: str, module: nn.Module) -> fx.Node:
    """Put `module` at a path like `path` behind `node`: all users of `node` read the new node instead."""
    path = unique_path(graph, path)
    graph.add_submodule(path, module)
    with graph.graph.inserting_after(node):
        new = graph.graph.call_module(path, (node,))
    node.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)
    return new


def insert_before(graph: fx.GraphModule, node: fx.Node, path: str, module: nn.Module) -> fx.Node:
    """Put `module` at a path like `path` in front of `node`: only `node` itself sees the difference."""
    path = unique_path(graph, path)
    graph.add_submodule(path, module)
    source = node.all_input_nodes[0]
    with graph.graph.inserting_before(node):
        new = graph.graph.call_module(path, (source,))
    node.replace_input_with(source, new)
    return new


def replace_module(graph: fx.GraphModule, path: str, module: nn.Module) -> None:
    """Let all nodes that call `path` call `module` instead."""
    parent, _, name = path.rpartition(".")
    setattr(graph.get_submodule(parent), name, module)


def erase(graph: fx.GraphModule, node: fx.Node) -> None:
    """Take a node with one input out; its users read that input instead."""
    (source,) = node.all_input_nodes
    node.replace_all_uses_with(source)
    graph.graph.erase_node(node)


def finish(graph: fx.GraphModule) -> fx.GraphModule:
    """Drop modules that nothing calls any more, check the graph and compile its forward; returns the same object."""
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.graph.lint()
    graph.recompile()
    return graph


def _taken(graph: fx.GraphModule, path: str) -> bool:
    parent, _, name = path.rpartition(".")
    try:
        owner = graph.get_submodule(parent)
    except AttributeError:
        return False
    return hasattr(owner, name)


def _is_end(graph: fx.GraphModule, path: str) -> bool:
    """Whether a path is a leaf or a parameter rather than a mere container of modules."""
    try:
        return is_leaf(graph.get_submodule(path))
    except AttributeError:
        return True


def _plain(node: fx.Node) -> bool:
    """Whether a node is a placeholder, a call of a module, or an output of one tensor."""
    counts = {"placeholder": (0, 0), "call_module": (1, 2), "output": (1, 1)}
    low, high = counts.get(node.op, (1, 0))
    return low <= len(node.args) <= high


def _plain_entry(entry: Mapping[str, Any], inputs: tuple[fx.Node, ...], modules: Mapping[str, Any]) -> bool:
    name_fits = isinstance(entry["name"], str) and entry["name"].isidentifier()
    if entry["op"] == "call_module":
        return name_fits and entry["target"] in modules and 1 <= len(inputs) <= 2
    return name_fits and (entry["op"], len(inputs)) in {("placeholder", 0), ("output", 1)}


def _to_json(value: Any) -> Any:
    return [_to_json(item) for item in value] if isinstance(value, tuple | list) else value


def _from_json(value: Any) -> Any:
    return tuple(_from_json(item) for item in value) if isinstance(value, list) else value


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _attributes(*names: str) -> Callable[[Any], Config]:
    """A config function for leaves whose attributes are called like their constructor's arguments."""
    return lambda module: {name: getattr(module, name) for name in names}


def _with_bias(*names: str) -> Callable[[Any], Config]:
    return lambda module: {**{name: getattr(module, name) for name in names}, "bias": module.bias is not None}


_CONV = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
_AVG_POOL = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")

register_leaf(nn.Conv2d, "Conv2d", _with_bias(*_CONV))
register_leaf(nn.Linear, "Linear", _with_bias("in_features", "out_features"))
register_leaf(nn.BatchNorm2d, "BatchNorm2d", _attributes(*_NORM))
register_leaf(nn.BatchNorm1d, "BatchNorm1d", _attributes(*_NORM))
register_leaf(nn.ReLU, "ReLU", lambda module: {})
register_leaf(nn.Hardtanh, "Hardtanh", _attributes("min_val", "max_val"))
register_leaf(nn.PReLU, "PReLU", _attributes("num_parameters"))
register_leaf(nn.LeakyReLU, "LeakyReLU", _attributes("negative_slope"))
register_leaf(nn.MaxPool2d, "MaxPool2d", _attributes("kernel_size", "stride", "padding", "dilation", "ceil_mode"))
register_leaf(nn.AvgPool2d, "AvgPool2d", _attributes(*_AVG_POOL))
register_leaf(nn.AdaptiveAvgPool2d, "AdaptiveAvgPool2d", _attributes("output_size"))
register_leaf(nn.Flatten, "Flatten", _attributes("start_dim", "end_dim"))
register_leaf(nn.Dropout, "Dropout", _attributes("p"))
register_leaf(nn.Identity, "Identity", lambda module: {})
register_leaf(Add, "Add", lambda module: {})
register_leaf(ShortcutA, "ShortcutA", _attributes("stride", "before", "after"))
