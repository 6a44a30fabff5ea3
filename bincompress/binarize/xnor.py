"""XNOR-Net: BWN's weights and signs of normalised activations, blocks BN-sign-conv-(pool); first and last stay float.

The paper multiplies the output with a map of mean |x|, which its released code leaves out (`activation.scale.kind:
spatial` brings it back, see `ActScale`). Paper: XNOR-Net, arXiv 1603.05279, section 3.2.
"""

from __future__ import annotations

from bincompress.binarize.method import Method

METHOD = Method(name="xnor", title="XNOR-Net", paper="arXiv 1603.05279, section 3.2")
