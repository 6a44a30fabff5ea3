"""What one binarization method brings to surgery, beside the settings that its recipe spells out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from bincompress.recipe import Recipe, WeightConfig


def float_latents(weight: Tensor, config: WeightConfig) -> Tensor:
    """Start from the float weights as they are: alpha = mean |W| then is the one that fits the float layer best.

    Trained float weights are far below the clip at 1, so the clip hardly acts, and the step size of the optimiser
    decides how fast signs flip.
    """
    return weight


@dataclass(frozen=True)
class Method:
    """A row of the registry; `defaults` of the same name in `recipe/methods.py` are its settings.

    `weight_estimator` is the surrogate gradient of the weights' sign. `latents(weight, config)` turns float weights
    into latent ones of the same shape and signs. `notes(recipe)` says what a user should know about the exported
    network.
    """

    name: str
    title: str
    paper: str
    weight_estimator: str = "ste"
    latents: Callable[[Tensor, WeightConfig], Tensor] = float_latents
    notes: Callable[[Recipe], tuple[str, ...]] = lambda recipe: ()
