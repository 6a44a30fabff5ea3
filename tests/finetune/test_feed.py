"""Augmentation and batches: what is done to which image, and that nothing but seed, image and view decides it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bincompress.data import Split
from bincompress.finetune.augment import Augmentation, default_transforms, normalized
from bincompress.finetune.feed import Batch, Feed, hold_out, mixed
from bincompress.lower.emulate import normalize_pixels
from bincompress.program import Normalize
from tests.finetune.synthetic import NORMALIZE, task

ALL = ("random_crop", "hflip", "cutout")


def augmented(name: str, pixels: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """All images through one transform."""
    shape = (len(pixels), pixels.shape[1], pixels.shape[2], pixels.shape[3])
    generator = torch.Generator().manual_seed(seed)
    return Augmentation((name,), shape, NORMALIZE, generator)(pixels, torch.arange(len(pixels)))


def ramp(count: int) -> torch.Tensor:
    """Images (count, 2, 8, 8) whose pixels all differ."""
    return torch.arange(1, 65, dtype=torch.uint8).reshape(1, 1, 8, 8).expand(count, 2, 8, 8)


def test_normalisation_is_the_one_that_everything_else_uses() -> None:
    pixels = torch.randint(0, 256, (4, 3, 5, 6), dtype=torch.uint8)
    normalize = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected = torch.from_numpy(normalize_pixels(pixels.numpy(), normalize))
    assert torch.equal(normalized(pixels, normalize), expected)


def test_crops_are_shifts_in_all_directions() -> None:
    pixels = ramp(200)
    padded = F.pad(pixels[0], (1, 1, 1, 1))
    windows = [padded[:, r : r + 8, c : c + 8] for r in range(3) for c in range(3)]
    crops = augmented("random_crop", pixels)
    found = [next(i for i, window in enumerate(windows) if torch.equal(window, crop)) for crop in crops]
    assert set(found) == set(range(9))


def test_flips_are_mirrors_of_every_other_image() -> None:
    pixels = ramp(200)
    flips = augmented("hflip", pixels)
    mirrored = [torch.equal(flip, pixels[0].flip(2)) for flip in flips]
    assert all(torch.equal(flip, pixels[0]) or mirror for flip, mirror in zip(flips, mirrored, strict=True))
    assert 60 < sum(mirrored) < 140


def test_cutout_is_a_square_of_the_mean_around_any_pixel() -> None:
    pixels = ramp(2000)
    expected = set()
    for row in range(8):
        for column in range(8):
            image = pixels[0].clone().numpy()
            image[:, max(0, row - 2) : row + 2, max(0, column - 2) : column + 2] = 128  # half of the side; mean 0.5
            expected.add(image.tobytes())
    assert {image.numpy().tobytes() for image in augmented("cutout", pixels)} == expected


def test_what_happens_to_an_image_does_not_depend_on_its_batch() -> None:
    split = task(64)
    pixels = torch.from_numpy(split.images)

    def augmentation() -> Augmentation:
        return Augmentation(ALL, (64, 1, 8, 8), NORMALIZE, torch.Generator().manual_seed(3))

    whole = augmentation()(pixels, torch.arange(64))
    order = torch.randperm(64)
    for picked in order.split(10):
        assert torch.equal(augmentation()(pixels[picked], picked), whole[picked])
    assert not torch.equal(whole, pixels)


def test_a_view_comes_back_the_same_in_another_order() -> None:
    def images(epoch: int, view: int, seed: int = 0) -> tuple[list[int], torch.Tensor]:
        data = list(Feed(task(64), NORMALIZE, 16, seed=seed, transforms=ALL).epoch(epoch, view))
        order = torch.cat([batch.indices for batch in data])
        return order.tolist(), torch.cat([batch.x for batch in data])[order.argsort()]

    first, again, other = images(0, 0), images(2, 0), images(1, 1)
    assert torch.equal(first[1], again[1])
    assert first[0] != again[0]
    assert not torch.equal(first[1], other[1])
    assert not torch.equal(first[1], images(0, 0, seed=1)[1])


def test_epochs_shuffle_by_seed_and_drop_an_incomplete_batch() -> None:
    split = task(70)

    def labels(seed: int, epoch: int) -> list[int]:
        data = list(Feed(split, NORMALIZE, 32, seed=seed, transforms=ALL).epoch(epoch))
        assert [batch.x.shape for batch in data] == [(32, 1, 8, 8)] * 2
        for batch in data:
            assert torch.equal(batch.labels, torch.from_numpy(split.labels)[batch.indices])
        return torch.cat([batch.indices for batch in data]).tolist()

    assert labels(1, 0) == labels(1, 0)
    assert len({tuple(labels(seed, epoch)) for seed in (1, 2) for epoch in (-1, 0, 1)}) == 6


def test_a_single_batch_is_enough() -> None:
    small = Split(task(5).images, task(5).labels, task().classes, "task")
    feed = Feed(small, NORMALIZE, 32)
    assert feed.steps == 1
    assert [len(batch.labels) for batch in feed.epoch(0)] == [5]


def test_augmentation_by_data_set() -> None:
    assert default_transforms("cifar10#train") == ("random_crop", "hflip")
    assert default_transforms("mnist#train") == default_transforms("digits#train") == default_transforms("mine") == ()


def test_mixing_is_a_weighted_mean_of_images_and_targets() -> None:
    x, labels = torch.randn(3, 1, 2, 2), torch.tensor([0, 2, 2])
    batch = mixed(Batch(torch.arange(3), x, labels, labels), torch.tensor([1, 0, 2]), 0.7, 3)
    torch.testing.assert_close(batch.x[0], 0.7 * x[0] + 0.3 * x[1])
    torch.testing.assert_close(batch.x[2], x[2])
    torch.testing.assert_close(batch.targets, torch.tensor([[0.7, 0, 0.3], [0.3, 0, 0.7], [0, 0, 1.0]]))
    assert batch.labels.tolist() == [0, 2, 2]
    swapped = mixed(Batch(torch.arange(3), x, labels, labels), torch.tensor([1, 0, 2]), 0.2, 3)
    assert swapped.labels.tolist() == [2, 0, 2]


def test_mixup_draws_its_share_from_a_beta_distribution_and_repeats_by_epoch() -> None:
    feed = Feed(task(64 * 40), NORMALIZE, 64, mixup=0.4)
    shares = np.concatenate([[float(b.targets.max(dim=1).values.min()) for b in feed.epoch(e)] for e in range(10)])
    draws = np.random.default_rng(1).beta(0.4, 0.4, 20000)
    assert np.mean(shares) == pytest.approx(np.maximum(draws, 1 - draws).mean(), abs=0.03)
    assert all(torch.allclose(b.targets.sum(dim=1), torch.ones(64)) for b in feed.epoch(0))
    again = Feed(task(64 * 40), NORMALIZE, 64, mixup=0.4)
    assert all(torch.equal(a.x, b.x) for a, b in zip(feed.epoch(3), again.epoch(3), strict=True))


def test_held_out_images_are_a_random_part_and_never_trained_on() -> None:
    split = task(100)
    train, held = hold_out(split, 30, seed=4)
    assert (len(train), len(held)) == (70, 30)
    rows = {image.tobytes() for image in train.images} | {image.tobytes() for image in held.images}
    assert len(rows) == 100
    assert not {image.tobytes() for image in train.images} & {image.tobytes() for image in held.images}
    assert hold_out(split, 30, seed=4)[1].labels.tolist() == held.labels.tolist()
    assert hold_out(split, 30, seed=5)[1].images.tobytes() != held.images.tobytes()
    assert set(np.bincount(held.labels, minlength=4) > 0) == {True}
