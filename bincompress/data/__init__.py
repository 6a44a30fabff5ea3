"""Datasets: `open_data("cifar10:DIR#test")` gives raw pixels and labels in memory."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from bincompress.data.arrays import open_digits, open_function, open_npz
from bincompress.data.cifar import open_cifar10, open_cifar100
from bincompress.data.idx import open_fashion_mnist, open_mnist
from bincompress.data.imagefolder import open_imagefolder
from bincompress.data.split import Split, Which
from bincompress.data.svhn import open_svhn
from bincompress.errors import UsageError
from bincompress.program import Normalize

__all__ = ["Split", "Which", "dataset_names", "default_normalize", "open_data", "without_split"]

_READERS: dict[str, Callable[[Path, Which], Split]] = {
    "mnist": open_mnist,
    "fashion-mnist": open_fashion_mnist,
    "cifar10": open_cifar10,
    "cifar100": open_cifar100,
    "svhn": open_svhn,
    "npz": open_npz,
}
_NAMES = (*_READERS, "imagefolder", "digits")

_NORMALIZE = {
    "mnist": Normalize((0.1307,), (0.3081,)),
    "fashion-mnist": Normalize((0.2860,), (0.3530,)),
    "cifar10": Normalize((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.262)),
    "cifar100": Normalize((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn": Normalize((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "imagefolder": Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "digits": Normalize((0.5,), (0.5,)),
}


def dataset_names() -> tuple[str, ...]:
    """The kinds of data that a spec can begin with; a user's function, `file.py:function`, is another."""
    return _NAMES


def open_data(spec: str, *, split: Which | None = None, image_shape: tuple[int, int, int] | None = None) -> Split:
    """Read one split of a dataset.

    `spec` is KIND:PATH, `digits`, or file.py:function, each with #train or #test at the end if wanted; `split` is what
    to read where it has no such end ("test" if neither says). `image_shape` (C, H, W) is what the model wants: folders
    of images are scaled to it, all else ignores it.
    Raises: UsageError for a malformed spec, DataError for data that is missing or damaged.
    """
    kind, path, which = _parse(spec, split or "test")
    if kind == "digits":
        return open_digits(which)
    if kind == "function":
        return open_function(path, which)
    if kind == "imagefolder":
        return open_imagefolder(Path(path).expanduser(), which, image_shape)
    return _READERS[kind](Path(path).expanduser(), which)


def default_normalize(name: str) -> Normalize | None:
    """The usual normalisation of a dataset, by its kind, its spec or its split's name; None if there is none."""
    return _NORMALIZE.get(name.partition("#")[0].partition(":")[0])


def without_split(spec: str) -> str:
    """The spec of all the data, of which `spec` may name one split."""
    return spec.rpartition("#")[0] or spec


def _parse(spec: str, default: Which) -> tuple[str, str, Which]:
    body, mark, suffix = spec.rpartition("#")
    if not mark:
        body, suffix = spec, default
    if suffix not in ("train", "test"):
        raise UsageError(f"data {spec!r}: the part after # is {suffix!r}, expected train or test")
    which: Which = "train" if suffix == "train" else "test"
    kind, colon, path = body.partition(":")
    if kind == "digits" and not path:
        return kind, "", which
    if kind in _NAMES and kind != "digits":
        if not path:
            raise UsageError(f"data {spec!r}: which directory or file? write {kind}:PATH")
        return kind, path, which
    if ".py:" in body:
        return "function", body, which
    guess = difflib.get_close_matches(kind, _NAMES, 1)
    hint = f"; did you mean {guess[0]}?" if guess else ""
    bare_path = not colon and Path(body).exists()
    wrong = f"which kind of data is {body}?" if bare_path else f"{kind!r} is no known kind of data"
    raise UsageError(f"data {spec!r}: {wrong}; known: {', '.join(_NAMES)}, file.py:function{hint}")
