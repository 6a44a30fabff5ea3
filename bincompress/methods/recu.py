"""ReCU: weights far out in the tails, which could hardly ever flip again, are drawn back to a quantile.

W^ = (W - mean) / (std / (2 sqrt 2)) of each filter, clamped to [-Q, Q]; under a Laplace distribution of scale
b = mean |W^| the tau-quantile is Q = -b ln(2 - 2 tau). tau rises exponentially from 0.85 to 0.99, alpha is learned, the
sign's gradient is the identity on weights and approxsign on activations. Paper: ReCU, arXiv 2103.12369; constants as in
github.com/z-hXu/ReCU, whose division of activations by the batch's deviation the BatchNorm before each sign stands for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bincompress.methods.method import Method, Transform, register

if TYPE_CHECKING:
    from torch import Tensor

TAU_START, TAU_END = 0.85, 0.99
_EPS = 1e-5


def tau(progress: float) -> float:
    """From 0.85 to 0.99 along e^progress."""
    return TAU_START + (TAU_END - TAU_START) * (math.exp(progress) - 1) / (math.e - 1)


def rectified_clamp(weight: Tensor, progress: float) -> Tensor:
    """Standardised weights, clamped to the quantile; what is clamped gets no gradient of its own."""
    rows = weight.flatten(1)
    if rows.shape[1] == 1:  # one weight is its own mean; keep its sign
        return weight
    centred = rows - rows.mean(dim=1, keepdim=True)
    spread = (centred.var(dim=1, keepdim=True) + _EPS).sqrt() / (2 * math.sqrt(2))
    standard = centred / spread
    bound = standard.detach().abs().mean() * -math.log(2 - 2 * tau(progress))  # a tensor: a number waits for a GPU
    return standard.clamp(-bound, bound).reshape(weight.shape)


METHOD = register(
    Method(
        name="recu",
        title="ReCU",
        paper="arXiv 2103.12369",
        defaults={
            "defaults": {
                "weight": {
                    "binarizer": "sign",
                    "transform": "recu",
                    "estimator": "identity",
                    "clip": None,
                    "scale": {"granularity": "channel", "kind": "learned"},
                },
                "activation": {"binarizer": "sign"},
                "estimator": "approxsign",
            },
            "surgery": {"order": "conv_bn_act", "insert_bn": "auto", "shortcut": "per_conv", "activation": "hardtanh"},
        },
        transforms=(
            Transform(
                "recu",
                "clamp((W - mean) 2 sqrt 2 / std, -Q, Q), Q the quantile of tau = 0.85 to 0.99 over training",
                "ReCU, arXiv 2103.12369",
                rectified_clamp,
            ),
        ),
    )
)
