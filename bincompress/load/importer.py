"""The registry of importers: one function per kind of file, as `kinds.kind_of` names it."""

from __future__ import annotations

from collections.abc import Callable
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
    """A module ready to be made canonical; `batch` is what its shapes were fixed to, where they were."""

    module: nn.Module
    input_shape: tuple[int, int, int] | None
    normalize: Normalize | None = None
    notes: tuple[str, ...] = field(default=())
    batch: int = 2


Importer = Callable[[Request], Imported]

_IMPORTERS: dict[str, Importer] = {}


def importer(*kinds: str) -> Callable[[Importer], Importer]:
    """Register a function for kinds of files."""

    def register(function: Importer) -> Importer:
        for kind in kinds:
            if kind in _IMPORTERS:
                raise ValueError(f"kind {kind!r} has two importers")
            _IMPORTERS[kind] = function
        return function

    return register


def importer_for(kind: str) -> Importer:
    """The importer of a kind."""
    return _IMPORTERS[kind]
