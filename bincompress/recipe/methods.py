"""What each method's paper fixes: the defaults that a recipe starts from when it names the method.

Source: BinaryConnect (arXiv 1511.00363), BNN (1602.02830), BWN and XNOR-Net (1603.05279).
"""

from __future__ import annotations

from typing import Any

_FLOAT_ACTIVATIONS: dict[str, Any] = {"order": "keep", "insert_bn": "auto", "shortcut": "keep", "activation": "keep"}

METHOD_DEFAULTS: dict[str, dict[str, Any]] = {
    "bc": {
        "defaults": {
            "weight": {"binarizer": "sign", "clip": 1.0, "center": False, "scale": {"granularity": "none"}},
            "activation": {"binarizer": "none"},
        },
        "surgery": _FLOAT_ACTIVATIONS,
        "layers": {"first": "binary", "last": "binary"},
        "train": {"lr_scale": "glorot"},
    },
    "bnn": {
        "defaults": {
            "weight": {"binarizer": "sign", "clip": 1.0, "center": False, "scale": {"granularity": "none"}},
            "activation": {"binarizer": "sign"},
        },
        "surgery": {"order": "conv_bn_act", "insert_bn": "auto", "shortcut": "keep", "activation": "none"},
        "layers": {"first": "binary", "last": "binary"},
    },
    "bwn": {
        "defaults": {
            "weight": {"binarizer": "sign", "clip": 1.0, "center": True, "scale": {"granularity": "channel"}},
            "activation": {"binarizer": "none"},
        },
        "surgery": _FLOAT_ACTIVATIONS,
    },
    "xnor": {
        "defaults": {
            "weight": {"binarizer": "sign", "clip": 1.0, "center": True, "scale": {"granularity": "channel"}},
            "activation": {"binarizer": "sign"},
        },
        "surgery": {"order": "bn_act_conv", "insert_bn": "auto", "shortcut": "keep", "activation": "none"},
    },
}
