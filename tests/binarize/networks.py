"""Small networks and recipes for tests of surgery and training."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

import bincompress.zoo as zoo
from bincompress.binarize import binarize
from bincompress.graph import FloatModel, trace
from bincompress.methods import METHODS
from bincompress.plan import make_plan
from bincompress.program import Normalize
from bincompress.recipe import Recipe


def recipe(method: str, **sections: Any) -> Recipe:
    """A method's own recipe with sections merged over its defaults."""
    return Recipe.model_validate({"method": method, **_merged(dict(METHODS[method].defaults), sections)})


def zoo_model(name: str) -> FloatModel:
    """A network of the zoo, freshly initialised, with BatchNorm statistics that are not trivial."""
    torch.manual_seed(0)
    factory = zoo.get(name)
    return float_model(factory(), factory.input_shape, factory.normalize)  # type: ignore[attr-defined]


def float_model(module: nn.Module, input_shape: tuple[int, int, int], normalize: Normalize | None = None) -> FloatModel:
    """Wrap a module made of leaves."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.1)
    return FloatModel(trace(module), input_shape, normalize, "sha", "test")


def converted(model: FloatModel, chosen: Recipe) -> fx.GraphModule:
    """Plan and surgery."""
    return binarize(model, make_plan(model, chosen), chosen)


def text(graph: fx.GraphModule) -> str:
    """The calls of a graph, one `path = Class(inputs)` a line, inputs by path."""
    names = {node: "input" if node.op == "placeholder" else str(node.target) for node in graph.graph.nodes}
    return "\n".join(
        f"{node.target} = {type(graph.get_submodule(node.target)).__name__}({', '.join(names[i] for i in node.args)})"
        for node in graph.graph.nodes
        if node.op == "call_module"
    )


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else value
    return result
