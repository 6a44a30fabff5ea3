"""DoReFa-Net's 1-bit weights: one scale for the whole layer, and a gradient that passes by both sign and scale.

forward alpha sgn(W), alpha = mean |W| over all of the layer's weights; backward g_W = g~, whatever alpha is. The
paper's k-bit weights, activations and gradients are not here: activations are signs, or float with
`activation.binarizer: none`. Paper: DoReFa-Net, arXiv 1606.06160.
"""

from __future__ import annotations

from bincompress.methods.method import Method, register

METHOD = register(
    Method(
        name="dorefa",
        title="DoReFa-Net, 1-bit weights",
        paper="arXiv 1606.06160",
        defaults={
            "defaults": {
                "weight": {
                    "binarizer": "sign",
                    "estimator": "identity",
                    "clip": None,
                    "gradient": "straight_through",
                    "scale": {"granularity": "layer"},
                },
                "activation": {"binarizer": "sign"},
            },
            "surgery": {"order": "bn_act_conv", "insert_bn": "auto", "shortcut": "keep", "activation": "none"},
        },
    )
)
