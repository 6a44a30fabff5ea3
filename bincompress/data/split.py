"""What every dataset becomes: raw pixels and labels in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bincompress.errors import DataError

Which = Literal["train", "test"]


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a dataset.

    Shapes: images (N, C, H, W) uint8; labels (N,) int64, indices into `classes`. `name` is like "mnist#test".
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    name: str

    def __len__(self) -> int:
        return len(self.images)


def checked(images: Any, labels: Any, classes: tuple[str, ...] | None, name: str, where: str) -> Split:
    """A split from arrays of unknown origin; (N, H, W) images get a channel axis, missing class names are numbers.

    Raises: DataError, naming `where`, unless the arrays fit together.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8:
        raise DataError(f"{where}: images are {images.dtype}, expected uint8 pixels 0..255 (not normalised)")
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or 0 in images.shape:
        raise DataError(f"{where}: images have shape {images.shape}, expected (N, C, H, W)")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{where}: labels are {labels.dtype} of shape {labels.shape}, expected integers (N,)")
    if len(labels) != len(images):
        raise DataError(f"{where}: {len(images)} images but {len(labels)} labels")
    if images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        raise DataError(f"{where}: images have shape {images.shape}; channels come first here: (N, C, H, W)")
    low, high = int(labels.min()), int(labels.max())
    classes = classes or tuple(str(i) for i in range(high + 1))
    if low < 0 or high >= len(classes):
        raise DataError(f"{where}: labels run from {low} to {high}, expected 0 to {len(classes) - 1}")
    images = np.require(images, requirements=["C", "W"])  # torch warns about arrays that it may not write
    return Split(images, labels.astype(np.int64), classes, name)
