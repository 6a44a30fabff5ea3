"""Bi-Real Net: a shortcut around every binary convolution, and a gradient of the sign that is closer to its step.

approxsign is the derivative of the piecewise quadratic 2x + x^2 (x < 0), 2x - x^2 (x >= 0) on [-1, 1]. The gradient of
the weights leaves alpha = mean |W| of the filter aside ("magnitude-aware": latents far below 1 then flip as fast as
others). The sum of each shortcut goes to the next sign as it is. Paper: Bi-Real Net, arXiv 1808.00278; weights as in
github.com/liuzechun/Bi-Real-net.
"""

from __future__ import annotations

from bincompress.methods.method import Estimator, Method, WeightGradient, register

METHOD = register(
    Method(
        name="bireal",
        title="Bi-Real Net",
        paper="arXiv 1808.00278",
        defaults={
            "defaults": {
                "weight": {
                    "binarizer": "sign",
                    "estimator": "ste",
                    "clip": None,
                    "gradient": "straight_through",
                    "scale": {"granularity": "channel"},
                },
                "activation": {"binarizer": "sign"},
                "estimator": "approxsign",
            },
            "surgery": {"order": "conv_bn_act", "insert_bn": "auto", "shortcut": "per_conv", "activation": "none"},
        },
        estimators=(
            Estimator(
                "approxsign",
                "max(0, 2 - 2|x|)",
                "Bi-Real Net, arXiv 1808.00278, eq. 7",
                gradient=lambda x: (2 - 2 * x.abs()).clamp_min(0),
            ),
        ),
        gradients=(
            WeightGradient(
                "straight_through",
                "g dsgn",
                "Bi-Real Net, arXiv 1808.00278; DoReFa-Net, arXiv 1606.06160",
                lambda g, alpha, n, c_in: (g, None),
            ),
        ),
    )
)
