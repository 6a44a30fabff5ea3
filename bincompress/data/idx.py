"""MNIST and Fashion-MNIST: the IDX files of Yann LeCun's page."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bincompress.data.files import Store
from bincompress.data.split import Split, Which, checked
from bincompress.errors import DataError

_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_FOLDERS = ("raw", "MNIST/raw", "FashionMNIST/raw")
_PREFIX = {"train": "train", "test": "t10k"}


def open_mnist(root: Path, which: Which) -> Split:
    """MNIST: 60,000 and 10,000 grey images of 28 x 28."""
    return _open(root, which, tuple("0123456789"), "mnist")


def open_fashion_mnist(root: Path, which: Which) -> Split:
    """Fashion-MNIST: the same files with pictures of clothes."""
    return _open(root, which, _FASHION, "fashion-mnist")


def _open(root: Path, which: Which, classes: tuple[str, ...], name: str) -> Split:
    store = Store(root, _FOLDERS)
    prefix = _PREFIX[which]
    images, where = _read(store, f"{prefix}-images", 3)
    labels, _ = _read(store, f"{prefix}-labels", 1)
    return checked(images, labels, classes, f"{name}#{which}", where)


def _read(store: Store, stem: str, rank: int) -> tuple[npt.NDArray[Any], str]:
    data, where = store.read(f"{stem}-idx{rank}-ubyte", f"{stem}.idx{rank}-ubyte")
    return parse_idx(data, rank, where), where


def parse_idx(data: bytes, rank: int, where: str) -> npt.NDArray[np.uint8]:
    """The array in an IDX file of bytes: magic 0x0000080r, r big-endian 32-bit sizes, then the bytes.

    Raises: DataError unless it is one of rank `rank` and of exactly the length that its header says.
    """
    header = 4 + 4 * rank
    if len(data) < header or data[:4] != bytes((0, 0, 8, rank)):
        raise DataError(f"{where}: begins with {data[:4].hex() or 'nothing'}, expected the IDX magic 0000080{rank}")
    shape = struct.unpack(f">{rank}I", data[4:header])
    size = 1
    for extent in shape:
        size *= extent
    if len(data) - header != size:
        raise DataError(f"{where}: {len(data) - header} bytes of data, but its header says {shape}; fetch it again")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
