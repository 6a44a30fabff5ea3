"""From a Split's bytes to the batches of an epoch: order, augmentation, normalisation, mixing; on any device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bincompress.data import Split
from bincompress.finetune.augment import Augmentation, normalized
from bincompress.finetune.losses import one_hot
from bincompress.program import Normalize

_CPU = torch.device("cpu")
_RESIDENT_BYTES = 4 << 30  # a GPU holds all pixels up to here, else they follow batch by batch
_SEED_STRIDE = 1_000_003  # seeds of different epochs and runs must not meet
_VIEW_SEEDS = 1 << 40  # nor those of augmentation and order


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """Seed torch's global generators (stochastic signs, dropout) and return one for the order of the data."""
    value = seed * _SEED_STRIDE + epoch + 1
    torch.manual_seed(value)
    return torch.Generator().manual_seed(value)


@dataclass(frozen=True)
class Batch:
    """Images x (B, C, H, W) as the network reads them and what to answer.

    `indices` (B,) count in the split, on the CPU. `labels` (B,) are classes; `targets` the same, or probabilities
    (B, classes) where images have been mixed, and the labels then are those of the larger parts.
    """

    indices: Tensor
    x: Tensor
    labels: Tensor
    targets: Tensor


class Feed:
    """The training data of a run."""

    def __init__(
        self,
        split: Split,
        normalize: Normalize,
        batch_size: int,
        *,
        seed: int = 0,
        transforms: tuple[str, ...] = (),
        mixup: float = 0.0,
        device: torch.device = _CPU,
    ) -> None:
        self._images, self._labels = torch.from_numpy(split.images), torch.from_numpy(split.labels).to(device)
        self._classes = len(split.classes)
        self._normalize = normalize
        self._batch_size = batch_size
        self._seed = seed
        self._transforms = transforms
        self._mixup = mixup
        self._device = device
        if device != _CPU and split.images.nbytes <= _RESIDENT_BYTES:
            self._images = self._images.to(device)

    @property
    def steps(self) -> int:
        """Number of batches of an epoch: an incomplete last one is left out, for BatchNorm wants full ones."""
        return max(1, len(self._labels) // self._batch_size)

    def epoch(self, number: int, view: int | None = None) -> Iterator[Batch]:
        """The batches of epoch `number`, in an order of its own.

        Augmentation is a function of the seed, the image and `view`, which is the epoch's number by default.
        """
        order_generator = epoch_generator(self._seed, number)
        view = number if view is None else view
        augment = Augmentation(
            self._transforms,
            (len(self._images), *self._images.shape[1:]),
            self._normalize,
            torch.Generator().manual_seed(self._seed * _SEED_STRIDE + view + 1 + _VIEW_SEEDS),
            self._device,
        )
        mixing = np.random.default_rng((self._seed, number + 1))
        order = torch.randperm(len(self._images), generator=order_generator)
        if self._device.type == "cuda":
            order = order.pin_memory()  # else each copy to the GPU would wait for all that it still has to do
        for start in range(0, self.steps * self._batch_size, self._batch_size):
            indices = order[start : start + self._batch_size]
            there = indices.to(self._device, non_blocking=True)
            x = normalized(augment(self._pixels(indices, there), there), self._normalize)
            labels = self._labels[there]
            if self._mixup:
                share = float(mixing.beta(self._mixup, self._mixup))
                partners = torch.randperm(len(indices), generator=order_generator).to(self._device)
                yield mixed(Batch(indices, x, labels, labels), partners, share, self._classes)
            else:
                yield Batch(indices, x, labels, labels)

    def _pixels(self, indices: Tensor, there: Tensor) -> Tensor:
        if self._images.device == self._device:
            return self._images[there]
        return self._images[indices].pin_memory().to(self._device, non_blocking=True)


def mixed(batch: Batch, partners: Tensor, share: float, classes: int) -> Batch:
    """`share` of each image and of its target with the rest from its partner, a permutation (B,) of the batch.

    Source: mixup, arXiv 1710.09412, with one share per batch as in its code.
    """
    probabilities = one_hot(batch.labels, classes).to(batch.x.dtype)
    return Batch(
        batch.indices,
        share * batch.x + (1 - share) * batch.x[partners],
        batch.labels if share >= 0.5 else batch.labels[partners],
        share * probabilities + (1 - share) * probabilities[partners],
    )


def hold_out(split: Split, count: int, seed: int) -> tuple[Split, Split]:
    """`split` without `count` images chosen at random by `seed`, and those; both keep its order."""
    chosen = np.zeros(len(split), dtype=bool)
    chosen[np.random.default_rng(seed).permutation(len(split))[:count]] = True
    return (
        Split(split.images[~chosen], split.labels[~chosen], split.classes, split.name),
        Split(split.images[chosen], split.labels[chosen], split.classes, f"{split.name} held out"),
    )
