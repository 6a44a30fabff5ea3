"""BinaryConnect: 1-bit weights, float activations, every layer, no scaling factor.

W_b = sgn(W), or +1 with probability hs(W) = clip((W + 1) / 2, 0, 1), drawn anew in each forward; the gradient of W_b is
given to W as it is (identity), and W is clipped to [-1, 1] after the step, which may be scaled by 1 / Glorot's
coefficient. Paper: BinaryConnect, arXiv 1511.00363; its code starts from W ~ U(-1, 1).
"""

from __future__ import annotations

from torch import Tensor

from bincompress.binarize.method import Method
from bincompress.recipe import Recipe, WeightConfig

_MEAN_MAGNITUDE = 0.5  # of U(-1, 1), the start of the paper's code


def unit_latents(weight: Tensor, config: WeightConfig) -> Tensor:
    """Stretch a layer's weights until they fill the clipping range as U(-1, 1) does.

    Without alpha the magnitude of latents has no effect on the forward pass: it only says how far each is from a flip,
    and clip and the Glorot-scaled steps are made for this range.
    """
    if config.clip is None or config.scale.granularity != "none":
        return weight
    magnitude = weight.abs().mean()
    if magnitude == 0:
        return weight
    return (weight * (_MEAN_MAGNITUDE * config.clip / magnitude)).clamp(-config.clip, config.clip)


def notes(recipe: Recipe) -> tuple[str, ...]:
    """Stochastic training is evaluated with real weights in the paper; a packed file holds signs."""
    if not recipe.defaults.weight.stochastic:
        return ()
    return (
        "stochastic weights: trained on sampled signs, exported as sgn(w); the paper's results for this mode were "
        "measured with real weights, so their accuracy is not that of this file",
    )


METHOD = Method(
    name="bc",
    title="BinaryConnect",
    paper="arXiv 1511.00363",
    weight_estimator="identity",
    latents=unit_latents,
    notes=notes,
)
