"""XNOR-Net: BWN's weights and signs of normalised activations, blocks BN-sign-conv-(pool); first and last stay float.

The paper multiplies the output with a map of mean |x|, which its released code leaves out (`activation.scale.kind:
spatial` brings it back, see `ActScale`). Its ablation compares this order with conv-BN-sign-pool
(`surgery.order: conv_bn_act_pool`). Paper: XNOR-Net, arXiv 1603.05279, section 3.2.
"""

from __future__ import annotations

from bincompress.methods.method import Method, register

METHOD = register(
    Method(
        name="xnor",
        title="XNOR-Net",
        paper="arXiv 1603.05279, section 3.2",
        defaults={
            "defaults": {
                "weight": {"binarizer": "sign", "clip": 1.0, "center": True, "scale": {"granularity": "channel"}},
                "activation": {"binarizer": "sign"},
            },
            "surgery": {"order": "bn_act_conv", "insert_bn": "auto", "shortcut": "keep", "activation": "none"},
        },
    )
)
