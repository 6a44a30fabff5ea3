"""Float graph and plan to a trainable 1-bit graph: estimators, layers and surgery; methods are in `methods/`."""

from __future__ import annotations

from bincompress.binarize.chains import check_signs
from bincompress.binarize.modules import set_progress
from bincompress.binarize.native_products import native_products
from bincompress.binarize.surgery import Imitation, binarize

__all__ = ["Imitation", "binarize", "check_signs", "native_products", "set_progress"]
