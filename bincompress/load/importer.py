"""What every importer takes and returns; `load/__init__.py` has the table of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from bincompress.program import Normalize


@dataclass(frozen=True)
class Request:
    """What the caller asked for."""

    path: Path
    factory: str | None
    trust: bool
    input_shape: tuple[int, int, int] | None


@dataclass(frozen=True)
class Imported:
    """A module ready to be made canonical.

    `batch` is what its shapes were fixed to, where they were; `files` are those beside the model's file that it needed;
    `pretrained` is False where the weights are random.
    """

    module: nn.Module
    input_shape: tuple[int, int, int] | None
    normalize: Normalize | None = None
    notes: tuple[str, ...] = field(default=())
    batch: int = 2
    files: tuple[Path, ...] = ()
    pretrained: bool = True
