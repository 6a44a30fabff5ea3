"""From a Split's bytes to batches of normalised float images: order, augmentation, normalisation; all on tensors."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from bincompress.data import Split
from bincompress.program import Normalize

_CROP_PADDING = 1 / 8  # of the image's side: 4 pixels of CIFAR's 32, black


def normalized(pixels: Tensor, normalize: Normalize) -> Tensor:
    """(u / 255 - mean) / std, one float32 rounding per operation as everywhere in bincompress; channels last.

    Shapes: (N, C, H, W) uint8 -> float32.
    """
    x = pixels.to(torch.float32, memory_format=torch.channels_last).div_(255)
    mean = torch.tensor(normalize.mean, dtype=torch.float32).reshape(1, -1, 1, 1)
    std = torch.tensor(normalize.std, dtype=torch.float32).reshape(1, -1, 1, 1)
    return x.sub_(mean).div_(std)


def random_crop(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Each image shifted by up to an eighth of its side in both directions, black coming in."""
    count, _, height, width = pixels.shape
    rows, columns = round(height * _CROP_PADDING), round(width * _CROP_PADDING)
    padded = F.pad(pixels, (columns, columns, rows, rows))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, 2 rows + 1, 2 columns + 1, H, W), a view
    top = torch.randint(2 * rows + 1, (count,), generator=generator)
    left = torch.randint(2 * columns + 1, (count,), generator=generator)
    return windows[torch.arange(count), :, top, left]


def hflip(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Every other image mirrored, at random."""
    flipped = torch.rand(len(pixels), generator=generator) < 0.5
    return torch.where(flipped.reshape(-1, 1, 1, 1), pixels.flip(3), pixels)


_TRANSFORMS = {"random_crop": random_crop, "hflip": hflip}


# What keeps a label true: a mirrored digit is none, a mirrored animal is the same.
_SUITABLE = {
    "cifar10": ("random_crop", "hflip"),
    "cifar100": ("random_crop", "hflip"),
    "imagefolder": ("random_crop", "hflip"),
    "fashion-mnist": ("hflip",),
    "svhn": ("random_crop",),
}


def default_transforms(name: str) -> tuple[str, ...]:
    """The augmentation that suits a data set, by its split's name; none for unknown ones."""
    return _SUITABLE.get(name.partition("#")[0].partition(":")[0], ())


def batches(
    split: Split,
    normalize: Normalize,
    batch_size: int,
    *,
    generator: torch.Generator | None = None,
    transforms: tuple[str, ...] = (),
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images (N, C, H, W) and labels (N,) in batches.

    With a generator: shuffled, augmented, and without an incomplete last batch (BatchNorm wants full ones). Without
    one: in the split's order, all of them.
    """
    images, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
    count = len(split)
    if generator is None:
        for start in range(0, count, batch_size):
            chosen = slice(start, start + batch_size)
            yield normalized(images[chosen], normalize), labels[chosen]
        return
    order = torch.randperm(count, generator=generator)
    for start in range(0, steps_per_epoch(count, batch_size) * batch_size, batch_size):
        picked = order[start : start + batch_size]
        pixels = images[picked]
        for name in transforms:
            pixels = _TRANSFORMS[name](pixels, generator)
        yield normalized(pixels, normalize), labels[picked]


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Number of batches that `batches` with a generator yields."""
    return max(1, count // batch_size)
