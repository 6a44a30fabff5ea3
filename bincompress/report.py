"""How long work tells what it is doing; the command line shows it, a library call stays silent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # at run time it would load torch, which benchmarks do without
    from bincompress.finetune import Progress


class Reporter(Protocol):
    """Receives what happens during a conversion."""

    def stage(self, text: str) -> None:
        """A new stage begins."""

    def training(self, progress: Progress) -> None:
        """Training has gone on."""


class _Silent:
    def stage(self, text: str) -> None:
        pass

    def training(self, progress: Progress) -> None:
        pass


SILENT: Reporter = _Silent()
