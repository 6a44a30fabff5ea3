"""Float graph and plan to a trainable 1-bit graph: estimators, layers, surgery and one file per method."""

from __future__ import annotations

from bincompress.binarize.chains import check_signs
from bincompress.binarize.methods import METHODS, get_method
from bincompress.binarize.surgery import Imitation, binarize

__all__ = ["METHODS", "Imitation", "binarize", "check_signs", "get_method"]
