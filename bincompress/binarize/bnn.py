"""BNN: weights and activations are signs in every layer; the first reads 8-bit pixels, the last feeds a BatchNorm.

sgn on both, gradient 1{|x| <= 1} on activations, latents clipped to [-1, 1], no scaling factor; blocks are
conv-(pool)-BN-sign. Paper: BNN, arXiv 1602.02830.
"""

from __future__ import annotations

from bincompress.binarize.method import Method

METHOD = Method(name="bnn", title="Binarized Neural Network", paper="arXiv 1602.02830")
