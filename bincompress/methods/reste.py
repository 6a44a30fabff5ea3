"""ReSTE: the sign's gradient is that of the power function sgn(x) |x|^(1/o), which o turns from a line into the step.

d sgn / dx := 1/o |x|^((1-o)/o) for m < |x| <= t, its chord m^(1/o) / m below m = 0.1, 0 beyond t = 1.5; o rises from 1
to 3 as 1 + 2 (1 - cos(pi/2 progress)). Weights (with one scale for the layer) and activations share it. Paper:
"Estimator Meets Equilibrium Perspective", arXiv 2308.06689; constants as in github.com/DravenALG/ReSTE.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bincompress.methods.method import Estimator, Method, register

if TYPE_CHECKING:
    from torch import Tensor

O_END = 3.0
REACH = 1.5  # t
CHORD = 0.1  # m


def reste_gradient(x: Tensor, o: float) -> Tensor:
    """1/o |x|^((1-o)/o), by finite differences below `CHORD`, where it would grow without bound, 0 beyond `REACH`."""
    size = x.abs()
    power = size.clamp_min(CHORD).pow((1 - o) / o) / o
    chord = CHORD ** (1 / o) / CHORD
    return power.masked_fill(size <= CHORD, chord).masked_fill(size > REACH, 0.0)


def reste_parameters(progress: float) -> tuple[float]:
    """(o,)."""
    return (1 + (O_END - 1) * (1 - math.cos(math.pi / 2 * progress)),)


METHOD = register(
    Method(
        name="reste",
        title="ReSTE",
        paper="arXiv 2308.06689",
        defaults={
            "defaults": {
                "weight": {
                    "binarizer": "sign",
                    "estimator": "reste",
                    "clip": None,
                    "scale": {"granularity": "layer"},
                },
                "activation": {"binarizer": "sign"},
                "estimator": "reste",
            },
            "surgery": {"order": "conv_bn_act", "insert_bn": "auto", "shortcut": "per_conv", "activation": "none"},
        },
        estimators=(
            Estimator(
                "reste",
                "1/o |x|^((1-o)/o) within 1.5, a chord within 0.1, o = 1 to 3 over training",
                "ReSTE, arXiv 2308.06689",
                gradient=reste_gradient,
                parameters=reste_parameters,
            ),
        ),
    )
)
