"""bincompress: a pretrained float network becomes a 1-bit network in one packed file that a small C library runs.

    import bincompress as bc

    model = bc.load("model.gguf")
    logits = model(images)  # (N, C, H, W) uint8 or float32 -> (N, classes) float32

Names are imported on first use, so that `import bincompress` costs nothing and a packed model runs without torch.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bincompress.errors import BincompressError
    from bincompress.evaluate import evaluate
    from bincompress.load import load_model
    from bincompress.pipeline import convert
    from bincompress.plan import make_plan
    from bincompress.recipe import Recipe, load_recipe
    from bincompress.runtime.session import Model, Session, load
    from bincompress.verify import verify

__version__ = "0.1.0"

# In pipeline order.
__all__ = [
    "BincompressError",
    "Model",
    "Recipe",
    "Session",
    "__version__",
    "convert",
    "evaluate",
    "load",
    "load_model",
    "load_recipe",
    "make_plan",
    "verify",
]

_HOME = {
    "BincompressError": "errors",
    "Model": "runtime.session",
    "Recipe": "recipe",
    "Session": "runtime.session",
    "convert": "pipeline",
    "evaluate": "evaluate",
    "load": "runtime.session",
    "load_model": "load",
    "load_recipe": "recipe",
    "make_plan": "plan",
    "verify": "verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bincompress' has no attribute {name!r}")
    return getattr(importlib.import_module(f"bincompress.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """Keeps `bincompress.load`, `.verify` and `.evaluate` the functions that users call.

    Importing a submodule binds it as an attribute of its package, and these three share their name with a submodule.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
