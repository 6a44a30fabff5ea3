"""BWN: 1-bit weights times alpha = mean |W| of each filter, float activations; first and last layer stay float.

alpha is part of the graph, so autograd gives the exact gradient
    g_W = alpha * g~ * 1{|W| <= 1} + sgn(W) / n * sum_j g~_j sgn(W_j),
g~ being that of alpha * sgn(W). The paper prints the diagonal of it (`weight.gradient: paper`); its released code
multiplies that with (1 - 1/c_in) n as well (`code`), and keeps the latents centred over the input channels and clipped
(`weight.center: latents`). Paper: XNOR-Net, arXiv 1603.05279, section 3.1; code: github.com/allenai/XNOR-Net.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bincompress.methods.method import Method, Scale, Transform, WeightGradient, register

if TYPE_CHECKING:
    from torch import Tensor

XNOR_PAPER = "XNOR-Net, arXiv 1603.05279"


def mean_magnitude(rows: Tensor) -> Tensor:
    """The alpha that minimises ||W - alpha sgn(W)||^2 (eq. 6)."""
    return rows.abs().mean(dim=1)


def detached_split(g: Tensor, alpha: Tensor, n: int, c_in: int) -> tuple[Tensor, Tensor | None]:
    """alpha g dsgn/dW: alpha is a constant of the step."""
    return g * alpha, None


def paper_split(g: Tensor, alpha: Tensor, n: int, c_in: int) -> tuple[Tensor, Tensor | None]:
    """g (1/n + alpha dsgn/dW): the diagonal of the exact Jacobian, as section 3.1 prints it."""
    return g * alpha, g / n


def code_split(g: Tensor, alpha: Tensor, n: int, c_in: int) -> tuple[Tensor, Tensor | None]:
    """The printed gradient times (1 - 1/c_in), the centring's diagonal, and times n, as the release does for SGD."""
    factor = (1 - 1 / c_in) * n
    return g * alpha * factor, g / n * factor


METHOD = register(
    Method(
        name="bwn",
        title="Binary-Weight-Network",
        paper="arXiv 1603.05279, section 3.1",
        defaults={
            "defaults": {
                "weight": {"binarizer": "sign", "clip": 1.0, "center": True, "scale": {"granularity": "channel"}},
                "activation": {"binarizer": "none"},
            },
            "surgery": {"order": "keep", "insert_bn": "auto", "shortcut": "keep", "activation": "keep"},
        },
        transforms=(Transform("none", "W", XNOR_PAPER, lambda weight, progress: weight),),
        scales=(
            Scale("analytic", "mean |W|", f"{XNOR_PAPER}, eq. 6", mean_magnitude),
            Scale("learned", "trained, from mean |W|", f"{XNOR_PAPER}, section 4.3", mean_magnitude, learned=True),
        ),
        gradients=(
            WeightGradient("exact", "autograd of alpha * sgn(W)", "derived", None),
            WeightGradient("detached", "alpha g dsgn", "alpha is held constant", detached_split),
            WeightGradient("paper", "g (1/n + alpha dsgn)", f"{XNOR_PAPER}, section 3.1", paper_split),
            WeightGradient("code", "g (1/n + alpha dsgn) (1 - 1/c_in) n", "github.com/allenai/XNOR-Net", code_split),
        ),
    )
)
