"""The optimisers of a stage: who learns, who decays, who takes scaled steps, and the clipping of latent weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn

from bincompress.binarize.modules import BinaryWeightLayer
from bincompress.finetune.bop import Bop, forget_latents
from bincompress.finetune.shift_adamax import ShiftAdaMax
from bincompress.recipe import OptimizerConfig, Stage

Optimizers = tuple[torch.optim.Optimizer, ...]


def binary_layers(graph: fx.GraphModule) -> list[tuple[str, BinaryWeightLayer]]:
    """Layers with 1-bit weights by path."""
    return [(name, module) for name, module in graph.named_modules() if isinstance(module, BinaryWeightLayer)]


def glorot_scale(weight: Tensor) -> float:
    """BinaryConnect's factor on a latent weight's step, 1 / sqrt(1.5 / (fan_in + fan_out)), as in its code."""
    receptive = weight[0, 0].numel()
    return math.sqrt((weight.shape[0] + weight.shape[1]) * receptive / 1.5)


def choose_parameters(graph: fx.GraphModule, stage: Stage) -> None:
    """Let the parts that the stage names learn, and freeze the rest, which then costs no gradient either."""
    latents = {id(layer.weight) for _, layer in binary_layers(graph)}
    norms = {
        id(parameter)
        for module in graph.modules()
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))
        for parameter in module.parameters()
    }
    for parameter in graph.parameters():
        part = "binary" if id(parameter) in latents else "batchnorm" if id(parameter) in norms else "float"
        parameter.requires_grad_(part in stage.parameters)


def parameter_groups(graph: fx.GraphModule, stage: Stage, lr_scale: str) -> list[dict[str, Any]]:
    """Parameters that learn, in groups with their own `lr_scale` and weight decay.

    Only float weights of layers decay. Latent weights never do, for decay pulls them to 0 and flips signs; nor do
    BatchNorm, biases, scales and slopes.
    """
    latents = {id(layer.weight) for _, layer in binary_layers(graph)}
    decayed = {id(m.weight) for m in graph.modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in graph.parameters():
        if parameter.requires_grad:
            scale = glorot_scale(parameter) if lr_scale == "glorot" and id(parameter) in latents else 1.0
            decay = stage.weight_decay if id(parameter) in decayed else 0.0
            groups.setdefault((scale, decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "lr_scale": scale}
        for (scale, decay), parameters in groups.items()
    ]


def build_optimizers(graph: fx.GraphModule, stage: Stage, lr_scale: str) -> Optimizers:
    """The stage's optimisers over all parameters that learn: one, or Bop for signs and Adam for the rest.

    Raises: RecipeError where Bop does not fit a layer.
    """
    groups = parameter_groups(graph, stage, lr_scale)
    optimizers: list[torch.optim.Optimizer] = []
    if stage.optimizer.name == "bop":
        forget_latents(graph)
        latents = [layer.weight for _, layer in binary_layers(graph) if layer.weight.requires_grad]
        known = {id(weight) for weight in latents}
        if latents:
            optimizers.append(Bop(latents, stage.optimizer.gamma, stage.optimizer.threshold))
        for group in groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in known]
    groups = [group for group in groups if group["params"]]
    if groups:
        optimizers.append(_gradient_optimizer(groups, stage.optimizer))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            # ShiftAdaMax rounds the scale apart from the rate, and applies it itself.
            scale = 1.0 if isinstance(optimizer, (Bop, ShiftAdaMax)) else group["lr_scale"]
            group["full_lr"] = group["lr"] * scale
        if can_be_recorded(optimizer):
            for group in optimizer.param_groups:
                group["lr"] = torch.tensor(group["lr"], device=group["params"][0].device)
                group["capturable"] = True
    return tuple(optimizers)


def can_be_recorded(optimizer: torch.optim.Optimizer) -> bool:
    """Whether steps of this optimiser are work of a GPU alone, with a rate that is read there."""
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    return isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW) and all(p.is_cuda for p in parameters)


def _gradient_optimizer(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    match config.name:
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)
        case "sgd":
            return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=True)
        case "shift_adamax":
            return ShiftAdaMax(groups, lr=config.lr, betas=config.betas)
        case "adam" | "bop":
            return torch.optim.Adam(groups, lr=config.lr, betas=config.betas, fused=True)


def set_lr(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Give every group `factor` times its full rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            rate = group["full_lr"] * factor
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate


@torch.no_grad()
def clip_latents(graph: fx.GraphModule) -> None:
    """Bring latent weights back to where their method keeps them: clipped, and centred where it says so."""
    for _, layer in binary_layers(graph):
        layer.project_latents()


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
        if not total:
            return 0.0
        flips = torch.stack([(new != old).sum() for new, old in zip(signs, before, strict=True)]).sum()
        return int(flips) / total / max(1, steps)


def optimizer_tensors(graph: fx.GraphModule, optimizers: Iterable[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The optimisers' state as named tensors: `parameter path` / `kind of state`."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in graph.named_parameters()}
    return {
        f"{names[parameter]}/{key}": value
        for optimizer in optimizers
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


@torch.no_grad()
def restore_optimizers(
    graph: fx.GraphModule, optimizers: Iterable[torch.optim.Optimizer], tensors: dict[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` returned; tensors of anything else are left alone."""
    parameters = dict(graph.named_parameters())
    owners = {id(p): optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    for path, value in tensors.items():
        name, _, key = path.rpartition("/")
        parameter = parameters.get(name)
        if parameter is None or id(parameter) not in owners:
            continue
        if value.shape == parameter.shape:  # fused kernels walk both in memory order, which a file does not keep
            value = torch.empty_like(parameter).copy_(value)
        owners[id(parameter)].state[parameter][key] = value.to(parameter.device)
