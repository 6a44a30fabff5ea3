"""Step 1: from a file to a float network in the internal form; nothing is unpickled without trust."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from bincompress.errors import ModelLoadError, UnsupportedOpError
from bincompress.graph import FloatModel
from bincompress.load.canonical import canonicalise
from bincompress.load.factory import build
from bincompress.load.importer import Imported, Request
from bincompress.load.kinds import kind_of
from bincompress.load.onnx_ import import_onnx
from bincompress.load.state_dict import check_weights
from bincompress.load.torch_ import import_checkpoint, import_exported, import_safetensors, import_torchscript

__all__ = ["load_model"]

_ZOO = "zoo:"
_LONGEST = 1000  # characters of an error message

_IMPORTERS: dict[str, Callable[[Request], Imported]] = {
    "torch-zip": import_checkpoint,
    "torch-legacy": import_checkpoint,
    "torchscript": import_torchscript,
    "pt2": import_exported,
    "safetensors": import_safetensors,
    "onnx": import_onnx,
}


def load_model(
    path: str | Path,
    *,
    factory: str | None = None,
    trust: bool = False,
    input_shape: tuple[int, int, int] | None = None,
) -> FloatModel:
    """Read a float network; the kind of file is found by its content.

    `path` is a file, or "zoo:NAME" for a freshly initialised network of the zoo. `factory` names the function that
    makes the network for files that hold weights only; `trust` allows what can run code of the file; `input_shape`
    (C, H, W) is needed where neither file nor factory says it, and goes before what the factory says.
    Raises: ModelLoadError or UnsupportedOpError, on one line that begins with the path.
    """
    source = str(path)
    try:
        if source.startswith(_ZOO):
            imported, sha256 = _from_zoo(source.removeprefix(_ZOO), input_shape), hashlib.sha256(source.encode())
        else:
            file = Path(source).expanduser()
            imported = _IMPORTERS[kind_of(file)](Request(file, factory, trust, input_shape))
            sha256 = _hash(file, *imported.files)
        return _finished(imported, source, sha256.hexdigest())
    except (ModelLoadError, UnsupportedOpError) as error:
        raise type(error)(_one_line(f"{source}: {error}")) from error


def _one_line(text: str) -> str:
    """The message as one readable line, whatever names the file put into it."""
    clean = "".join(c if c.isprintable() else "?" for c in text)
    return clean if len(clean) <= _LONGEST else f"{clean[:_LONGEST]} ..."


def _finished(imported: Imported, source: str, sha256: str) -> FloatModel:
    shape = imported.input_shape
    if shape is None:
        raise ModelLoadError(
            "nothing says the shape of its input; pass --input-shape C,H,W or give the factory an attribute "
            "input_shape = (channels, height, width)"
        )
    check_weights(imported.module)
    graph, notes = canonicalise(imported.module, shape, batch=imported.batch)
    return FloatModel(
        graph,
        shape,
        imported.normalize,
        sha256,
        source,
        (*imported.notes, *notes),
        pretrained=imported.pretrained,
    )


def _from_zoo(name: str, input_shape: tuple[int, int, int] | None) -> Imported:
    from bincompress import zoo

    if name not in zoo.names():
        raise ModelLoadError(f"the zoo has no {name!r}; it has {', '.join(zoo.names())}")
    network = build(zoo.get(name), name)
    note = "freshly initialised: the weights are random"
    return Imported(network.module, input_shape or network.input_shape, network.normalize, (note,), pretrained=False)


def _hash(*paths: Path) -> hashlib._Hash:
    """The sha256 of the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest
