"""A tiny task and network that train in a second: which quarter of an 8 x 8 image is bright."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from bincompress.binarize import binarize
from bincompress.data import Split
from bincompress.finetune import Result, finetune
from bincompress.graph import FloatModel, trace
from bincompress.plan import Plan, make_plan
from bincompress.program import Normalize
from bincompress.recipe import Recipe
from tests.binarize.networks import recipe

NORMALIZE = Normalize((0.5,), (0.5,))


def task(count: int = 256, seed: int = 0) -> Split:
    """Noise, with one quarter brighter; the label says which."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    images = random.integers(0, 128, (count, 1, 8, 8))
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 100
    return Split(images.astype(np.uint8), labels.astype(np.int64), ("a", "b", "c", "d"), "task#train")


def model(seed: int = 0) -> FloatModel:
    """conv-BN-ReLU twice, pooled to the quarters, and a dense layer."""
    torch.manual_seed(seed)
    layers = OrderedDict(
        conv1=nn.Conv2d(1, 8, 3, padding=1, bias=False),
        bn1=nn.BatchNorm2d(8),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(8, 8, 3, padding=1, bias=False),
        bn2=nn.BatchNorm2d(8),
        relu2=nn.ReLU(),
        conv3=nn.Conv2d(8, 8, 3, padding=1),
        relu3=nn.ReLU(),
        pool=nn.AvgPool2d(4),
        flatten=nn.Flatten(1),
        fc=nn.Linear(32, 4),
    )
    return FloatModel(trace(nn.Sequential(layers)), (1, 8, 8), NORMALIZE, "sha-of-model", "model.pt")


def stages(*rows: dict[str, Any]) -> dict[str, Any]:
    """A `train` section of these stages, batches of 32."""
    return {"batch_size": 32, "bn_reestimate_batches": 4, "stages": list(rows)}


def prepared(chosen: Recipe) -> tuple[FloatModel, Plan, fx.GraphModule]:
    """A float model, its plan and its 1-bit graph."""
    float_model = model()
    plan = make_plan(float_model, chosen)
    return float_model, plan, binarize(float_model, plan, chosen)


def trained(chosen: Recipe, **options: Any) -> Result:
    """Convert and train on the task."""
    float_model, plan, graph = prepared(chosen)
    arguments: dict[str, Any] = {
        "train": task(),
        "normalize": NORMALIZE,
        "teacher": float_model.graph,
        "meta": {"input_shape": (1, 8, 8), "sha256": "sha-of-model", "source": "model.pt", "classes": task().classes},
    }
    return finetune(graph, plan=plan, recipe=chosen, **(arguments | options))


def state(graph: fx.GraphModule) -> dict[str, bytes]:
    """All tensors of a graph, bit by bit."""
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in graph.state_dict().items()}


__all__ = ["NORMALIZE", "model", "prepared", "recipe", "stages", "state", "task", "trained"]
