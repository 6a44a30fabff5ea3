"""Bop, the optimiser without latent weights: a binary weight is a sign, and what is learnt is when it flips."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import fx, nn

from bincompress.binarize.modules import BinaryWeightLayer
from bincompress.errors import RecipeError


class Bop(torch.optim.Optimizer):
    """m = m + gamma (g - m);  w = -w where w m > threshold: the gradient has long pointed against the sign.

    `lr` of a group is gamma, so that schedules act on it. Weights are +-1 and stay so.
    Source: "Latent Weights Do Not Exist", arXiv 1906.02107, algorithm 1.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], gamma: float, threshold: float) -> None:
        super().__init__(parameters, {"lr": gamma, "threshold": threshold})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["exp_avg"] = torch.zeros_like(weight)
                average = state["exp_avg"].lerp_(weight.grad, group["lr"])
                weight.copy_(torch.where(weight * average > group["threshold"], -weight, weight))


@torch.no_grad()
def forget_latents(graph: fx.GraphModule) -> None:
    """Replace latent weights by their signs, as Bop has it.

    Raises: RecipeError for a layer whose forward pass needs more of its weights than their signs.
    """
    for name, layer in graph.named_modules():
        if not isinstance(layer, BinaryWeightLayer):
            continue
        if layer.granularity != "none" and layer.learned_alpha is None:
            raise RecipeError(
                f"train: {name}: bop keeps no latent weights, whose mean is this layer's scale; set "
                "defaults.weight.scale.kind to learned, or granularity to none"
            )
        if layer.center or not torch.equal(layer.transformed_weight(), layer.weight):
            raise RecipeError(
                f"train: {name}: bop flips signs as they are; set defaults.weight.center to false, and no transform"
            )
        layer.weight.copy_(layer.binary_weight())
