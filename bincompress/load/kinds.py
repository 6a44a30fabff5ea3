"""What kind of file a model is, by its content; names and suffixes are never trusted."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from bincompress.errors import ModelLoadError

_KNOWN = "a PyTorch checkpoint, a .safetensors file or an ONNX file"

_TORCH_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")  # the number that torch.save's old format begins with

# First bytes of files that are often tried, and what to say about them.
_FOREIGN = (
    (b"GGUF", "is a packed GGUF file, not a float model; use eval, bench, inspect or run on it"),
    (b"\x89HDF", "is an HDF5 (Keras) file; export the model as ONNX"),
    (b"\x93NUMPY", "is a NumPy array; expected " + _KNOWN),
    (b"\x1f\x8b", "is compressed by gzip; unpack it first"),
    (b"\xfd7zXZ", "is compressed by xz; unpack it first"),
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself; run git lfs pull"),
    (b"<", "is a web page or XML, not a model; was the download refused?"),
)


def kind_of(path: Path) -> str:
    """One of "torch-zip", "torch-legacy", "torchscript", "pt2", "safetensors", "onnx".

    Raises: ModelLoadError if the file is missing, empty or of another kind.
    """
    if path.is_dir():
        raise ModelLoadError(f"is a directory without a checkpoint; expected {_KNOWN}")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError as error:
        raise ModelLoadError("no such file") from error
    except OSError as error:
        raise ModelLoadError(f"cannot be read: {error.strerror}") from error
    if not head:
        raise ModelLoadError("is empty")
    if _is_safetensors(head, path.stat().st_size):  # first, for it begins with a number that may look like any magic
        return "safetensors"
    for magic, text in _FOREIGN:
        if head.startswith(magic):
            raise ModelLoadError(text)
    if head[4:8] == b"TFL3":
        raise ModelLoadError("is a TensorFlow Lite file; export the original model as ONNX")
    if head.startswith(b"PK"):
        return _kind_of_zip(path)
    if _TORCH_MAGIC in head:
        return "torch-legacy"
    if head[:1] == b"\x80":
        raise ModelLoadError(f"is a Python pickle, but not one that torch.save wrote; expected {_KNOWN}")
    if head[:1] == b"\x08" or path.suffix == ".onnx":  # field 1 of ModelProto, ir_version; it always comes first
        return "onnx"
    raise ModelLoadError(f"is of no known kind (it begins with {head[:8].hex()}); expected {_KNOWN}")


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise ModelLoadError(f"is a damaged or incomplete archive: {error}; fetch it again") from error
    inner = {name.partition("/")[2] for name in names}
    if "serialized_exported_program.json" in names or "archive_format" in inner or "models/model.json" in inner:
        return "pt2"
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return "torchscript"
    if "data.pkl" in inner:
        return "torch-zip"
    if any(name.endswith(".npy") for name in names):
        raise ModelLoadError("is an .npz file of arrays; expected " + _KNOWN)
    raise ModelLoadError(f"is an archive without a model in it; expected {_KNOWN}")


def _is_safetensors(head: bytes, size: int) -> bool:
    """An 8-byte length, then that much JSON; a length beyond the end is left for the reader to complain about."""
    if len(head) < 9:
        return False
    (length,) = struct.unpack("<Q", head[:8])
    return head[8:9] == b"{" and (length < max(size, 1 << 32))
