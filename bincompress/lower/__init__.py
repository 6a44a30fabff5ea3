"""Trained 1-bit graph -> Program: freeze (exact eval graph), lower (fusion and thresholds), emulate (the judge).

`deploy` and `lower` are imported on first use: the emulator and the checks, which `pack` needs, work without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bincompress.lower.freeze import deploy
    from bincompress.lower.lowering import lower

__all__ = ["deploy", "lower"]


def __getattr__(name: str) -> Any:
    if name == "deploy":
        from bincompress.lower.freeze import deploy

        return deploy
    if name == "lower":
        from bincompress.lower.lowering import lower

        return lower
    raise AttributeError(f"module 'bincompress.lower' has no attribute {name!r}")
