"""Augmentation on tensors: random choices for a whole epoch are drawn at once, by image, and applied batch by batch.

What happens to image i therefore depends on the generator and on i alone, not on the batch that i comes in: an epoch
that draws with an earlier one's seed sees every image exactly as that epoch saw it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from bincompress.program import Normalize

_CROP_PADDING = 1 / 8  # of the image's side: 4 pixels of CIFAR's 32
_CUTOUT_SIDE = 1 / 2  # of the image's side: CIFAR-10's 16 of 32

Choices = Tensor  # one row per image, whatever its transform needs
Shape = tuple[int, int, int, int]


def normalized(pixels: Tensor, normalize: Normalize) -> Tensor:
    """(u / 255 - mean) / std, one float32 rounding per operation as everywhere in bincompress; channels last.

    Shapes: (N, C, H, W) uint8 -> float32, on the same device.
    """
    x = pixels.to(torch.float32, memory_format=torch.channels_last).div_(255)
    mean, std = _constants(normalize, x.device)
    return x.sub_(mean).div_(std)


@lru_cache(maxsize=8)  # to bring them to a GPU is to wait for it, once for each batch
def _constants(normalize: Normalize, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation (1, C, 1, 1) on a device."""
    mean, std = (torch.tensor(values, dtype=torch.float32, device=device) for values in (normalize.mean, normalize.std))
    return mean.reshape(1, -1, 1, 1), std.reshape(1, -1, 1, 1)


def _crop_margins(shape: Shape) -> tuple[int, int]:
    return round(shape[2] * _CROP_PADDING), round(shape[3] * _CROP_PADDING)


def _draw_crop(shape: Shape, generator: torch.Generator) -> Choices:
    rows, columns = _crop_margins(shape)
    top = torch.randint(2 * rows + 1, (shape[0],), generator=generator)
    left = torch.randint(2 * columns + 1, (shape[0],), generator=generator)
    return torch.stack((top, left), dim=1)


def _crop(pixels: Tensor, choices: Choices, _: Normalize) -> Tensor:
    """Each image shifted by up to an eighth of its side in both directions, black coming in."""
    count, _channels, height, width = pixels.shape
    rows, columns = _crop_margins((count, _channels, height, width))
    padded = F.pad(pixels, (columns, columns, rows, rows))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, 2 rows + 1, 2 columns + 1, H, W), a view
    return windows[torch.arange(count, device=pixels.device), :, choices[:, 0], choices[:, 1]]


def _draw_flip(shape: Shape, generator: torch.Generator) -> Choices:
    return torch.rand(shape[0], generator=generator) < 0.5


def _flip(pixels: Tensor, choices: Choices, _: Normalize) -> Tensor:
    """Every other image mirrored, at random."""
    return torch.where(choices.reshape(-1, 1, 1, 1), pixels.flip(3), pixels)


def _draw_cutout(shape: Shape, generator: torch.Generator) -> Choices:
    row = torch.randint(shape[2], (shape[0],), generator=generator)
    column = torch.randint(shape[3], (shape[0],), generator=generator)
    return torch.stack((row, column), dim=1)


def _cutout(pixels: Tensor, choices: Choices, normalize: Normalize) -> Tensor:
    """A square of half the image's side, around any of its pixels, becomes the mean colour; parts may lie outside.

    Source: Cutout, arXiv 1708.04552.
    """
    channels, height, width = pixels.shape[1:]

    def inside(length: int, centre: Tensor) -> Tensor:
        side = round(length * _CUTOUT_SIDE)
        start = centre[:, None] - side // 2
        at = torch.arange(length, device=pixels.device)
        return (at >= start) & (at < start + side)

    hole = inside(height, choices[:, 0])[:, None, :, None] & inside(width, choices[:, 1])[:, None, None, :]
    mean = torch.tensor(normalize.mean).mul(255).round().to(torch.uint8).expand(channels)
    return torch.where(hole, mean.to(pixels.device).reshape(1, -1, 1, 1), pixels)


_TRANSFORMS: dict[
    str, tuple[Callable[[Shape, torch.Generator], Choices], Callable[[Tensor, Choices, Normalize], Tensor]]
] = {
    "random_crop": (_draw_crop, _crop),
    "hflip": (_draw_flip, _flip),
    "cutout": (_draw_cutout, _cutout),
}

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


class Augmentation:
    """Random choices for each of `shape[0]` images, in the order of `names`."""

    def __init__(
        self,
        names: Sequence[str],
        shape: Shape,
        normalize: Normalize,
        generator: torch.Generator,
        device: torch.device | None = None,
    ) -> None:
        self._normalize = normalize
        self._steps = [
            (apply, draw(shape, generator).to(device)) for draw, apply in (_TRANSFORMS[name] for name in names)
        ]

    def __call__(self, pixels: Tensor, indices: Tensor) -> Tensor:
        """Images (B, C, H, W) that are those of `indices` (B,), augmented."""
        for apply, choices in self._steps:
            pixels = apply(pixels, choices[indices], self._normalize)
        return pixels
