"""CIFAR-10 and CIFAR-100: the official Python batches or the binary version.

The Python batches are pickles from outside, so a restricted unpickler reads them: it knows how to rebuild an array of
bytes, by code of its own, and nothing else; hence a file cannot name code to run.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bincompress.data.files import Store
from bincompress.data.split import Split, Which, checked
from bincompress.errors import DataError
from bincompress.user_code import describe

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]

_PIXELS = 3 * 32 * 32
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_TRAIN_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))


class _ByteType:
    """Stands for `numpy.dtype` in a pickle: it exists for unsigned bytes only, and its state says nothing new."""

    def __init__(self, name: Any, *_: Any) -> None:
        if name not in (b"u1", "u1", b"|u1", "|u1"):
            raise pickle.UnpicklingError(f"it holds an array of {name!r}, expected bytes")

    def __setstate__(self, state: Any) -> None:
        pass


class _ByteArray:
    """Stands for `numpy.ndarray` in a pickle: numpy's own `__setstate__` is not made for hostile files."""

    array: npt.NDArray[np.uint8]

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran_order, data = state
        if not isinstance(dtype, _ByteType) or not isinstance(data, bytes) or fortran_order:
            raise pickle.UnpicklingError("it holds an array that is not of bytes, rows first")
        self.array = np.frombuffer(data, np.uint8).reshape(shape)


def _reconstruct(*_: Any) -> _ByteArray:
    """Stands for the function that makes an empty array, which its state then fills."""
    return _ByteArray()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stands for `codecs.encode`, which is how Python 3 writes bytes for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds text encoded as {encoding!r}, expected latin1")
    return text.encode("latin1")


# All that a CIFAR batch names, under the module names of numpy 1 and 2.
_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _ByteArray,
    ("numpy", "dtype"): _ByteType,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("_codecs", "encode"): _encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, which no CIFAR file does") from None


def open_cifar10(root: Path, which: Which) -> Split:
    """CIFAR-10: 50,000 and 10,000 colour images of 32 x 32."""
    store = Store(root, ("cifar-10-batches-py", "cifar-10-batches-bin"), _archives("cifar-10"))
    batches = _TRAIN_BATCHES if which == "train" else ("test_batch",)
    images, labels = _read(store, batches, (b"labels",), label_bytes=1)
    return checked(images, labels, _CIFAR10, f"cifar10#{which}", str(root))


def open_cifar100(root: Path, which: Which) -> Split:
    """CIFAR-100 with its fine labels."""
    store = Store(root, ("cifar-100-python", "cifar-100-binary"), _archives("cifar-100"))
    images, labels = _read(store, (which,), (b"fine_labels",), label_bytes=2)
    return checked(images, labels, _fine_names(store), f"cifar100#{which}", str(root))


def unpickle(data: bytes, where: str) -> dict[bytes, Any]:
    """The dictionary in a CIFAR Python batch; text of Python 2 comes as bytes.

    Raises: DataError if it is damaged, or names anything but arrays.
    """
    try:
        content = _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # a hostile pickle can raise anything
        raise DataError(f"{where}: is no intact CIFAR batch: {describe(error)}; fetch it again") from error
    if not isinstance(content, dict):
        raise DataError(f"{where}: holds a {type(content).__name__}, expected the dictionary of a CIFAR batch")
    return content


def _archives(stem: str) -> tuple[str, ...]:
    return (f"{stem}-python.tar.gz", f"{stem}-binary.tar.gz")


def _read(store: Store, names: tuple[str, ...], label_keys: tuple[bytes, ...], label_bytes: int) -> Arrays:
    """All named batches, one after the other; decoded files stay in memory for the next call."""
    paths = [store.find(name, f"{name}.bin") for name in names]
    if any(path is None for path in paths):
        parts = [_decode(*store.read(name, f"{name}.bin"), label_keys, label_bytes) for name in names]
        return _joined(parts)
    found = tuple((str(path), *_stamp(str(path))) for path in paths)
    return _read_files(found, label_keys, label_bytes)


@lru_cache(maxsize=2)
def _read_files(files: tuple[tuple[str, int, int], ...], label_keys: tuple[bytes, ...], label_bytes: int) -> Arrays:
    """Decode files on two threads: unpacking .xz takes a second each and leaves the interpreter free meanwhile."""

    def one(file: tuple[str, int, int]) -> Arrays:
        path = Path(file[0])
        data, where = Store(path.parent).read(path.name)
        return _decode(data, where, label_keys, label_bytes)

    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        return _joined(list(pool.map(one, files)))


def _stamp(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _joined(parts: list[Arrays]) -> Arrays:
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _decode(data: bytes, where: str, label_keys: tuple[bytes, ...], label_bytes: int) -> Arrays:
    if data[:1] == b"\x80" and data[-1:] == b".":  # pickle protocol 2 and its STOP
        return _from_pickle(unpickle(data, where), where, label_keys)
    record = label_bytes + _PIXELS
    if not data or len(data) % record:
        raise DataError(f"{where}: {len(data)} bytes, no CIFAR batch: neither a pickle nor records of {record} bytes")
    rows = np.frombuffer(data, np.uint8).reshape(-1, record)
    return rows[:, label_bytes:].reshape(-1, 3, 32, 32), rows[:, label_bytes - 1].astype(np.int64)


def _from_pickle(batch: dict[bytes, Any], where: str, label_keys: tuple[bytes, ...]) -> Arrays:
    images = getattr(batch.get(b"data"), "array", None)
    labels = next((batch[key] for key in label_keys if key in batch), None)
    if images is None or images.shape[1:] != (_PIXELS,):
        raise DataError(f"{where}: has no uint8 array (N, {_PIXELS}) under 'data'; is it a batch of this dataset?")
    if not isinstance(labels, list) or len(labels) != len(images) or not all(map(_is_label, labels)):
        raise DataError(f"{where}: has no list of {len(images)} labels under {label_keys[0].decode()!r}")
    return images.reshape(-1, 3, 32, 32), np.array(labels, np.int64)


def _is_label(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 256


def _fine_names(store: Store) -> tuple[str, ...]:
    found = store.read_if_there("meta", "fine_label_names.txt")
    if found is None:
        return tuple(str(i) for i in range(100))
    data, where = found
    if data[:1] != b"\x80":
        return tuple(data.decode("utf-8", "replace").split())
    names = unpickle(data, where).get(b"fine_label_names")
    if not isinstance(names, list):
        raise DataError(f"{where}: has no list under 'fine_label_names'; is it CIFAR-100's meta file?")
    return tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names)
