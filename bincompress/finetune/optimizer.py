"""The optimiser of a stage: who decays, who takes scaled steps, and the clipping of latent weights after each step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx, nn

from bincompress.binarize.modules import BinaryWeightLayer
from bincompress.recipe import Stage

_BETAS = (0.9, 0.999)


def binary_layers(graph: fx.GraphModule) -> list[tuple[str, BinaryWeightLayer]]:
    """Layers with 1-bit weights by path."""
    return [(name, module) for name, module in graph.named_modules() if isinstance(module, BinaryWeightLayer)]


def glorot_scale(weight: Tensor) -> float:
    """BinaryConnect's factor on a latent weight's step, 1 / sqrt(1.5 / (fan_in + fan_out)), as in its code."""
    receptive = weight[0, 0].numel()
    return math.sqrt((weight.shape[0] + weight.shape[1]) * receptive / 1.5)


def parameter_groups(graph: fx.GraphModule, stage: Stage, lr_scale: str) -> list[dict[str, Any]]:
    """Parameters in groups with their own `lr_scale` and weight decay.

    Only float weights of layers decay. Latent weights never do, for decay pulls them to 0 and flips signs; nor do
    BatchNorm, biases, scales and slopes.
    """
    latents = {id(layer.weight) for _, layer in binary_layers(graph)}
    decayed = {id(m.weight) for m in graph.modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in graph.parameters():
        scale = glorot_scale(parameter) if lr_scale == "glorot" and id(parameter) in latents else 1.0
        decay = stage.weight_decay if id(parameter) in decayed else 0.0
        groups.setdefault((scale, decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "lr_scale": scale, "lr": stage.optimizer.lr * scale}
        for (scale, decay), parameters in groups.items()
    ]


def build_optimizer(graph: fx.GraphModule, stage: Stage, lr_scale: str) -> torch.optim.Optimizer:
    """Adam or SGD over all parameters of the graph."""
    groups = parameter_groups(graph, stage, lr_scale)
    if stage.optimizer.name == "adam":
        return torch.optim.Adam(groups, lr=stage.optimizer.lr, betas=_BETAS, fused=True)
    return torch.optim.SGD(groups, lr=stage.optimizer.lr, momentum=stage.optimizer.momentum, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group `lr` times its own scale."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


@torch.no_grad()
def clip_latents(graph: fx.GraphModule) -> None:
    """Clip latent weights to [-clip, clip] where a layer has a clip: what has gone far beyond can hardly flip again."""
    for _, layer in binary_layers(graph):
        if layer.clip is not None:
            layer.weight.clamp_(-layer.clip, layer.clip)


class FlipCounter:
    """Share of binary weights whose sign has changed since the last look, per step."""

    def __init__(self, graph: fx.GraphModule) -> None:
        self._graph = graph
        self._signs = self._look()

    def _look(self) -> list[Tensor]:
        return [layer.transformed_weight().detach() >= 0 for _, layer in binary_layers(self._graph)]

    def per_step(self, steps: int) -> float:
        """Flips per weight and step over the `steps` steps since the last call."""
        signs, before = self._look(), self._signs
        self._signs = signs
        total = sum(sign.numel() for sign in signs)
        flips = sum(int((new != old).sum()) for new, old in zip(signs, before, strict=True))
        return flips / total / max(1, steps) if total else 0.0


def optimizer_tensors(graph: fx.GraphModule, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as named tensors: `parameter path` / `kind of state`."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in graph.named_parameters()}
    return {
        f"{names[parameter]}/{key}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


@torch.no_grad()
def restore_optimizer(graph: fx.GraphModule, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned."""
    parameters = dict(graph.named_parameters())
    for path, value in tensors.items():
        name, _, key = path.rpartition("/")
        parameter = parameters[name]
        if value.shape == parameter.shape:  # fused kernels walk both in memory order, which a file does not keep
            value = torch.empty_like(parameter).copy_(value)
        optimizer.state[parameter][key] = value
