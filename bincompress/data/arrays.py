"""Datasets that are arrays already: .npz files, a function of the user's, and scikit-learn's digits."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from bincompress.data.split import Split, Which, checked
from bincompress.errors import DataError
from bincompress.user_code import describe, import_function

_NAMES = (
    ("{}_images", "{}_labels"),
    ("x_{}", "y_{}"),  # as in Keras's mnist.npz
    ("images", "labels"),  # one split for both uses
    ("x", "y"),
)


def open_npz(path: Path, which: Which) -> Split:
    """Arrays `train_images`/`train_labels`/`test_...`, or `x_train`/`y_train`/..., or one `images`/`labels` for both.

    An optional array `classes` of strings names the classes.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: is a single array, expected an .npz file with images and labels")
            names = [(a.format(which), b.format(which)) for a, b in _NAMES]
            pair = next(((a, b) for a, b in names if a in file.files and b in file.files), None)
            if pair is None:
                raise DataError(f"{path}: no arrays {which}_images and {which}_labels; it has {', '.join(file.files)}")
            images, labels = file[pair[0]], file[pair[1]]
            classes = tuple(str(name) for name in file["classes"]) if "classes" in file.files else None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"{path}: is no intact .npz file: {describe(error)}") from error
    return checked(images, labels, classes, f"npz#{which}", str(path))


def open_function(spec: str, which: Which) -> Split:
    """What `function("train")` or `function("test")` of the user's file returns: (images, labels) or a `Split`."""
    function = import_function(spec, DataError)
    try:
        result: Any = function(which)
    except Exception as error:  # user code: anything may come out of it
        raise DataError(f"{spec}: calling it with {which!r} failed: {describe(error)}") from error
    if isinstance(result, Split):
        return checked(result.images, result.labels, result.classes, result.name, spec)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise DataError(f"{spec}: returned a {type(result).__name__}, expected (images, labels)")
    return checked(result[0], result[1], None, f"{spec}#{which}", spec)


def open_digits(which: Which) -> Split:
    """Scikit-learn's 1,797 grey digits of 8 x 8, every fifth one for testing; needs no download."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError("digits: needs scikit-learn: pip install 'bincompress[demo]'") from error
    pixels, labels = load_digits(return_X_y=True)
    images = np.rint(pixels.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)  # stored 0..16
    chosen = (np.arange(len(labels)) % 5 == 4) == (which == "test")
    return checked(images[chosen], labels[chosen], tuple("0123456789"), f"digits#{which}", "digits")
