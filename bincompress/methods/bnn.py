"""BNN: weights and activations are signs in every layer; the first reads 8-bit pixels, the last feeds a BatchNorm.

sgn on both, gradient 1{|x| <= 1} on activations, latents clipped to [-1, 1], no scaling factor; blocks are
conv-(pool)-BN-sign. Variations of the paper: stochastic signs (`activation.stochastic`, `weight.stochastic`) and
shift-based BatchNorm (`surgery.norm: shift`). Paper: BNN, arXiv 1602.02830.
"""

from __future__ import annotations

from bincompress.methods.method import Estimator, Method, register

METHOD = register(
    Method(
        name="bnn",
        title="Binarized Neural Network",
        paper="arXiv 1602.02830",
        defaults={
            "defaults": {
                "weight": {"binarizer": "sign", "clip": 1.0, "center": False, "scale": {"granularity": "none"}},
                "activation": {"binarizer": "sign"},
            },
            "surgery": {"order": "conv_bn_act", "insert_bn": "auto", "shortcut": "keep", "activation": "none"},
            "layers": {"first": "binary", "last": "binary"},
        },
        estimators=(
            Estimator(
                "ste",
                "1{|x| <= 1}",
                "BNN, arXiv 1602.02830, eq. 4",
                gradient=lambda x: (x.abs() <= 1).to(x.dtype),
            ),
        ),
    )
)
