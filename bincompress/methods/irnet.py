"""IR-Net: weights that are balanced and standardised before the sign (Libra-PB), and a gradient that sharpens (EDE).

W^ = (W - mean) / std of each filter, alpha = 2^round(log2 mean |W^|), held constant; the sign's gradient is that of
k tanh(t x) with t from 10^-3 to 10, geometrically over training, and k = max(1/t, 1). Weights and activations share it.
Shortcuts go around each convolution, with Hardtanh behind each sum. Paper: IR-Net, arXiv 1909.10788; the values of t
and the power of two as in github.com/htqin/IR-Net.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bincompress.methods.method import Estimator, Method, Scale, Transform, register

if TYPE_CHECKING:
    from torch import Tensor

T_MIN, T_MAX = 1e-3, 1e1
_SMALLEST = 1e-12  # a constant filter has no spread, and all of its signs are +1


def ede_gradient(x: Tensor, t: float, k: float) -> Tensor:
    """k t (1 - tanh^2(t x))."""
    return (1 - (x * t).tanh().square()) * (k * t)


def ede_parameters(progress: float) -> tuple[float, float]:
    """(t, k): first the gradient of a line, k t = 1, then more and more that of the step."""
    t = T_MIN * (T_MAX / T_MIN) ** progress
    return t, max(1 / t, 1.0)


def standardize(weight: Tensor, progress: float = 1.0) -> Tensor:
    """Each filter with mean 0 and (unbiased) standard deviation 1."""
    rows = weight.flatten(1)
    centred = rows - rows.mean(dim=1, keepdim=True)
    if rows.shape[1] == 1:  # one weight is its own mean; keep its sign
        return weight
    return (centred / centred.std(dim=1, keepdim=True).clamp_min(_SMALLEST)).reshape(weight.shape)


def power_of_two(rows: Tensor) -> Tensor:
    """2^round(log2 mean |w|): a shift."""
    return rows.abs().mean(dim=1).clamp_min(_SMALLEST).log2().round().exp2()


METHOD = register(
    Method(
        name="irnet",
        title="IR-Net",
        paper="arXiv 1909.10788",
        defaults={
            "defaults": {
                "weight": {
                    "binarizer": "sign",
                    "transform": "standardize",
                    "estimator": "ede",
                    "clip": None,
                    "gradient": "detached",
                    "scale": {"granularity": "channel", "kind": "power_of_two"},
                },
                "activation": {"binarizer": "sign"},
                "estimator": "ede",
            },
            "surgery": {"order": "conv_bn_act", "insert_bn": "auto", "shortcut": "per_conv", "activation": "hardtanh"},
        },
        estimators=(
            Estimator(
                "ede",
                "k t (1 - tanh^2(t x)), t = 10^-3 to 10 over training, k = max(1/t, 1)",
                "IR-Net, arXiv 1909.10788: error decay estimator",
                gradient=ede_gradient,
                parameters=ede_parameters,
            ),
        ),
        transforms=(Transform("standardize", "(W - mean) / std of each filter", "IR-Net: Libra-PB", standardize),),
        scales=(Scale("power_of_two", "2^round(log2 mean |W|)", "IR-Net, arXiv 1909.10788: Libra-PB", power_of_two),),
    )
)
