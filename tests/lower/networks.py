"""1-bit networks with random weights and BatchNorms, by zoo name and recipe keys: what lowering is tried on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

import bincompress.zoo as zoo
from bincompress.binarize import binarize
from bincompress.graph import FloatModel, trace
from bincompress.plan import make_plan
from bincompress.recipe import Recipe

INTEGER_FIRST = {"layers": {"first": "binary", "last": "binary"}}
RECIPES: dict[str, dict[str, Any]] = {
    "bc": {"method": "bc", "defaults": {"activation": {"binarizer": "none"}}, **INTEGER_FIRST},
    "bnn": {"method": "bnn", "surgery": {"order": "conv_bn_act"}, **INTEGER_FIRST},
    "bwn": {"method": "bwn", "defaults": {"activation": {"binarizer": "none"}}},
    "xnor": {"method": "xnor"},
    "xnor-map": {"method": "xnor", "defaults": {"activation": {"scale": {"kind": "spatial"}}}},
    "xnor-per-conv": {
        "method": "xnor",
        "surgery": {"shortcut": "per_conv", "activation": "rprelu"},
        "defaults": {"padding": "one", "activation": {"scale": {"kind": "learned"}}},
    },
    "xnor-minus": {"method": "xnor", "defaults": {"padding": "minus_one"}, "layers": {"downsample": "binary"}},
}


def network(name: str, recipe: str | None, seed: int = 0) -> tuple[fx.GraphModule, FloatModel]:
    """The evaluation graph of zoo network `name` under a recipe (None: as it is), and its float model."""
    torch.manual_seed(seed)
    factory = zoo.get(name)
    graph = trace(factory())
    model = FloatModel(graph, factory.input_shape, factory.normalize, "", name)  # type: ignore[attr-defined]
    if recipe is not None:
        parsed = Recipe(**RECIPES[recipe])
        graph = binarize(model, make_plan(model, parsed), parsed)
    randomize(graph)
    return graph.eval(), model


def randomize(graph: nn.Module) -> None:
    """Give every BatchNorm statistics and gammas of both signs, some zero, so that nothing is trivially folded."""
    for module in graph.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            if module.running_mean is not None and module.running_var is not None:
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
            with torch.no_grad():
                module.weight.normal_()
                module.weight[::7] = 0
                module.bias.normal_()


def images(model: FloatModel, count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (count, *model.input_shape)).astype(np.uint8)
