"""BWN: 1-bit weights times alpha = mean |W| of each filter, float activations; first and last layer stay float.

alpha is part of the graph, so autograd gives the exact gradient
    g_W = alpha * g~ * 1{|W| <= 1} + sgn(W) / n * sum_j g~_j sgn(W_j),
of which the paper prints the diagonal. Paper: XNOR-Net, arXiv 1603.05279, section 3.1.
"""

from __future__ import annotations

from bincompress.binarize.method import Method

METHOD = Method(name="bwn", title="Binary-Weight-Network", paper="arXiv 1603.05279, section 3.1")
