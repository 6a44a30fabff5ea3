"""XNOR-Net++: the scales of weights and of the input become one that is learned, and may depend on the position.

y = (sgn(x) * sgn(W)) Gamma, with Gamma one of
    alpha[c]                      case 1: `activation.scale.kind: none`
    alpha[c] beta[h, w]           case 3: `positions`
    alpha[c] beta[h] gamma[w]     case 4: `factored`, the paper's best and the default
alpha starts at the analytic scale, beta and gamma at 1; latents get the gradient of sgn(W) without alpha, whose size
the steps of Adam do not depend on. Gamma has one value for each output pixel, so the network is bound to the size of
its input, as every exported network is. Paper: XNOR-Net++, arXiv 1909.13863, section 4.
"""

from __future__ import annotations

from bincompress.methods.method import Method, register

METHOD = register(
    Method(
        name="xnor_pp",
        title="XNOR-Net++",
        paper="arXiv 1909.13863",
        defaults={
            "defaults": {
                "weight": {
                    "binarizer": "sign",
                    "clip": 1.0,
                    "gradient": "straight_through",
                    "scale": {"granularity": "channel", "kind": "learned"},
                },
                "activation": {"binarizer": "sign", "scale": {"kind": "factored"}},
            },
            "surgery": {"order": "bn_act_conv", "insert_bn": "auto", "shortcut": "keep", "activation": "none"},
        },
    )
)
