"""Where results go: nothing that exists is overwritten without being told to, and nothing half-made is left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bincompress.checkpoint import is_checkpoint, is_remnant
from bincompress.errors import UsageError


def check_file(path: Path, force: bool) -> None:
    """Refuse an output file that cannot or must not be written.

    Raises: UsageError.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a directory; -o names a file")
    if path.exists() and not force:
        raise UsageError(f"{path} exists; --force overwrites it")
    _check_parent(path)


def check_directory(path: Path, force: bool) -> None:
    """Refuse a checkpoint directory that exists; with `force`, only one that is no checkpoint.

    What a run left that was killed while it first wrote holds nothing to keep, and is in nobody's way.
    Raises: UsageError.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())) and not is_remnant(path):
        if not is_checkpoint(path):
            raise UsageError(f"{path} exists and is no checkpoint; choose another name")
        if not force:
            raise UsageError(
                f"{path} exists; --force trains anew, `convert {path} -o OUT` exports it, "
                f"`finetune {path} --resume --data SPEC` goes on"
            )
    _check_parent(path)


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint directory, or what a first save left of one, if there is one."""
    if is_checkpoint(path) or is_remnant(path):
        shutil.rmtree(path)


def _check_parent(path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path.absolute().parent}: no such folder; make it first")
    if not os.access(path.absolute().parent, os.W_OK):
        raise UsageError(f"{path.absolute().parent}: is read-only; name an output elsewhere")
