"""ReActNet: signs and PReLUs with learned shifts, shortcuts around each convolution, taught by the float network alone.

RSign   sgn(x + b[c])                          `activation.shift: true`; b folds into thresholds at export
RPReLU  PReLU(x + b1[c]) + b2[c]               `surgery.activation: rprelu`, behind the sum of each shortcut
Weights are Bi-Real Net's; activations are binarized before weights; the loss is the cross-entropy of the teacher's and
the network's distributions (`distill: {temperature: 1, weight: 1}`). Paper: ReActNet, arXiv 2003.03488.
"""

from __future__ import annotations

from bincompress.methods.method import Method, register

METHOD = register(
    Method(
        name="reactnet",
        title="ReActNet",
        paper="arXiv 2003.03488",
        defaults={
            "defaults": {
                "weight": {
                    "binarizer": "sign",
                    "estimator": "ste",
                    "clip": None,
                    "gradient": "straight_through",
                    "scale": {"granularity": "channel"},
                },
                "activation": {"binarizer": "sign", "shift": True},
                "estimator": "approxsign",
            },
            "surgery": {"order": "conv_bn_act", "insert_bn": "auto", "shortcut": "per_conv", "activation": "rprelu"},
        },
    )
)
