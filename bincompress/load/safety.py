"""Which code a pickle wants to name, found without running it."""

from __future__ import annotations

import io
import pickletools
import zipfile
from pathlib import Path

import torch

from bincompress.errors import ModelLoadError

_LEGACY_PREAMBLE = 3  # pickles before the object in the old format: magic number, protocol version, system


def blocked_globals(path: Path) -> tuple[str, ...]:
    """Names that torch's restricted unpickler refuses in a checkpoint, sorted; empty if they cannot be told."""
    try:
        data: Path | io.BytesIO = path if zipfile.is_zipfile(path) else _as_zip(path)
        return tuple(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(data)))
    except Exception:  # the file is damaged or hostile; the caller reports the failure to load it
        return ()


def refusal(path: Path) -> ModelLoadError:
    """The one line that says what a pickled file wanted to run, and both ways on."""
    names = blocked_globals(path)
    what = f"it names {', '.join(names)}" if names else "its names cannot be listed"
    return ModelLoadError(
        f"is a pickle that runs code when loaded: {what}; if you trust where it comes from pass --trust, "
        "else save a state dict (torch.save(model.state_dict(), ...)) and pass --factory"
    )


def _as_zip(path: Path) -> io.BytesIO:
    """An old-format checkpoint's object, wrapped as a new-format one, because torch lists the names of those only."""
    with path.open("rb") as file:
        for _ in range(_LEGACY_PREAMBLE):
            _skip_pickle(file)
        start = file.tell()
        _skip_pickle(file)
        end = file.tell()
        file.seek(start)
        data = file.read(end - start)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("checkpoint/data.pkl", data)
        archive.writestr("checkpoint/version", "3\n")
    buffer.seek(0)
    return buffer


def _skip_pickle(file: io.BufferedReader) -> None:
    for opcode, _, _ in pickletools.genops(file):
        if opcode.name == "STOP":
            return
