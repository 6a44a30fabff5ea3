"""BinaryConnect: 1-bit weights, float activations, every layer, no scaling factor.

W_b = sgn(W), or +1 with probability hs(W) = clip((W + 1) / 2, 0, 1), drawn anew in each forward; the gradient of W_b is
given to W as it is (identity), and W is clipped to [-1, 1] after the step, which may be scaled by 1 / Glorot's
coefficient (`train.lr_scale`). Paper: BinaryConnect, arXiv 1511.00363; its code starts from W ~ U(-1, 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bincompress.methods.method import Estimator, Method, Settings, register

if TYPE_CHECKING:
    from torch import Tensor

_MEAN_MAGNITUDE = 0.5  # of U(-1, 1), the start of the paper's code


def unit_latents(weight: Tensor, settings: Settings) -> Tensor:
    """Stretch a layer's weights until they fill the clipping range as U(-1, 1) does.

    Without alpha the magnitude of latents has no effect on the forward pass: it only says how far each is from a flip,
    and clip and the Glorot-scaled steps are made for this range.
    """
    clip: float | None = settings["clip"]
    if clip is None or settings["scale"]["granularity"] != "none":
        return weight
    magnitude = weight.abs().mean()
    if magnitude == 0:
        return weight
    stretched: Tensor = weight * (_MEAN_MAGNITUDE * clip / magnitude)
    return stretched.clamp(-clip, clip)


def notes(recipe: Settings) -> tuple[str, ...]:
    """Stochastic training is evaluated with real weights in the paper; a packed file holds signs."""
    if not recipe["defaults"]["weight"]["stochastic"]:
        return ()
    return (
        "stochastic weights: trained on sampled signs, exported as sgn(w); the paper's results for this mode were "
        "measured with real weights, so their accuracy is not that of this file",
    )


METHOD = register(
    Method(
        name="bc",
        title="BinaryConnect",
        paper="arXiv 1511.00363",
        defaults={
            "defaults": {
                "weight": {
                    "binarizer": "sign",
                    "estimator": "identity",
                    "clip": 1.0,
                    "center": False,
                    "scale": {"granularity": "none"},
                },
                "activation": {"binarizer": "none"},
            },
            "surgery": {"order": "keep", "insert_bn": "auto", "shortcut": "keep", "activation": "keep"},
            "layers": {"first": "binary", "last": "binary"},
            "train": {"lr_scale": "glorot"},
        },
        latents=unit_latents,
        notes=notes,
        estimators=(
            Estimator(
                "identity",
                "1",
                "BinaryConnect, arXiv 1511.00363: clipped latents need no mask",
                gradient=lambda x: x.new_ones(()).expand_as(x),
            ),
        ),
    )
)
