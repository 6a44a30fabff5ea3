"""Binarization methods, one file each; importing a file registers its method and what it brings."""

from __future__ import annotations

from bincompress.methods import (  # noqa: F401  one line per method
    bc,
    bireal,
    bnn,
    bwn,
    dorefa,
    irnet,
    reactnet,
    recu,
    reste,
    xnor,
    xnor_pp,
)
from bincompress.methods.method import (
    ESTIMATORS,
    GRADIENTS,
    METHODS,
    SCALES,
    TRANSFORMS,
    Estimator,
    Method,
    Scale,
    Settings,
    Transform,
    WeightGradient,
    register,
)

__all__ = [
    "ESTIMATORS",
    "GRADIENTS",
    "METHODS",
    "SCALES",
    "TRANSFORMS",
    "Estimator",
    "Method",
    "Scale",
    "Settings",
    "Transform",
    "WeightGradient",
    "register",
]
