"""A directory of images, one subdirectory per class: DIR/train/CLASS/*.png and DIR/test/CLASS/*.png, or DIR/CLASS/*."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bincompress.data.split import Split, Which
from bincompress.errors import DataError
from bincompress.user_code import describe

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff"}
_FOLDERS = {"train": ("train",), "test": ("test", "val", "valid", "validation")}


def open_imagefolder(root: Path, which: Which, image_shape: tuple[int, int, int] | None) -> Split:
    """All images of one split, classes in alphabetical order.

    With `image_shape` (C, H, W) an image of another size is scaled until its shorter side is 8/7 of the target's and
    cropped in the middle, as is usual for ImageNet; without it all images must have the size of the first.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such directory")
    folder = _split_folder(root, which)
    classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((folder / name).iterdir())
        if path.suffix.lower() in _SUFFIXES
    ]
    if not files:
        raise DataError(f"{folder}: no images; expected {folder}/CLASS/IMAGE with {', '.join(sorted(_SUFFIXES))}")
    first = _read(files[0][0], image_shape, None)
    try:
        images = np.empty((len(files), *first.shape), np.uint8)
    except MemoryError as error:
        raise DataError(f"{folder}: {len(files)} images of {first.shape} do not fit in memory; use fewer") from error
    for i, (path, _) in enumerate(files):
        images[i] = _read(path, image_shape, first.shape)
    return Split(images, np.array([label for _, label in files], np.int64), classes, f"imagefolder#{which}")


def _split_folder(root: Path, which: Which) -> Path:
    named = {split: [root / name for name in names if (root / name).is_dir()] for split, names in _FOLDERS.items()}
    if named[which]:
        return named[which][0]
    if any(named.values()):
        raise DataError(f"{root}: has no {' or '.join(_FOLDERS[which])} folder, so there is no {which} split")
    return root  # classes lie directly in DIR: one split for both uses


def _read(
    path: Path, image_shape: tuple[int, int, int] | None, expected: tuple[int, ...] | None
) -> npt.NDArray[np.uint8]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise DataError("imagefolder: reading images needs Pillow: pip install 'bincompress[images]'") from error
    try:
        with Image.open(path) as file:
            grey = image_shape[0] == 1 if image_shape else _channels(expected, file.mode) == 1
            image: Any = file.convert("L" if grey else "RGB")
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: is no intact image: {describe(error)}") from error
    if image_shape and image.size != (image_shape[2], image_shape[1]):
        image = _fit(image, image_shape[2], image_shape[1])
    array = np.asarray(image, np.uint8)
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    if expected is not None and array.shape != expected:
        raise DataError(f"{path}: has shape {array.shape}, the images before it {expected}; scale them to one size")
    return array


def _channels(expected: tuple[int, ...] | None, mode: str) -> int:
    """1 for a grey dataset, 3 for one in colour; the first image decides."""
    return expected[0] if expected else (1 if mode in ("1", "L", "I;16") else 3)


def _fit(image: Any, width: int, height: int) -> Any:
    factor = max(width / image.width, height / image.height) * 8 / 7
    size = (max(width, round(image.width * factor)), max(height, round(image.height * factor)))
    image = image.resize(size, resample=2)  # bilinear
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return image.crop((left, top, left + width, top + height))
