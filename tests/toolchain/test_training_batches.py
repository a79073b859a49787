"""Training batches: shuffling, cropping, mirroring, and the shares of several processes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from toolchain.config import Augmentation
from toolchain.training import TrainingImages

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def training_images(images: torch.Tensor, shift: int = 0, flip: bool = False) -> TrainingImages:
    """Images whose label is their place."""
    return TrainingImages.of(images, torch.arange(len(images)), Augmentation(shift=shift, flip=flip), CPU)


def one_epoch(images: TrainingImages, batch: int, **share: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(images.epoch(batch, generator(), **share))


def test_every_image_comes_once_an_epoch_as_float_pixels_with_its_label() -> None:
    raw = torch.randint(0, 256, (12, 3, 4, 5), generator=generator()).byte()
    batches = one_epoch(training_images(raw), 4)
    pixels = torch.cat([batch for batch, _ in batches])
    labels = torch.cat([batch for _, batch in batches])
    assert [len(batch) for batch, _ in batches] == [4, 4, 4]
    assert (pixels.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert sorted(labels.tolist()) == list(range(12))
    assert labels.tolist() != list(range(12))
    assert torch.equal(pixels, raw[labels].float())


def test_an_incomplete_batch_is_left_out() -> None:
    labels = [labels for _, labels in one_epoch(training_images(torch.zeros(11, 1, 2, 2).byte()), 4)]
    assert [len(part) for part in labels] == [4, 4]
    assert len(set(torch.cat(labels).tolist())) == 8


def test_pixels_lie_channels_last_in_memory() -> None:
    pixels, _ = one_epoch(training_images(torch.zeros(4, 3, 5, 5).byte(), shift=2, flip=True), 4)[0]
    assert pixels.shape == (4, 3, 5, 5)
    assert pixels.is_contiguous(memory_format=torch.channels_last)


def test_every_shift_occurs_about_equally_often_and_brings_zeros_in() -> None:
    image = torch.arange(1, 17, dtype=torch.uint8).reshape(1, 1, 4, 4)
    ((shifted, _),) = one_epoch(training_images(image.repeat(900, 2, 1, 1), shift=1), 900)
    padded = F.pad(image[0, 0], (1, 1, 1, 1)).float()
    windows = [padded[row : row + 4, column : column + 4] for row in range(3) for column in range(3)]
    counts = [int((shifted == window).all((1, 2, 3)).sum()) for window in windows]
    assert sum(counts) == 900
    assert min(counts) > 60


@pytest.mark.parametrize(("flip", "least", "most"), [(True, 170, 230), (False, 0, 0)])
def test_half_of_the_images_are_mirrored_if_asked_for(flip: bool, least: int, most: int) -> None:
    image = torch.arange(12, dtype=torch.uint8).reshape(1, 1, 3, 4)
    ((pixels, _),) = one_epoch(training_images(image.repeat(400, 1, 1, 1), flip=flip), 400)
    kept = int((pixels == image).all((1, 2, 3)).sum())
    mirrored = int((pixels == image.flip(3)).all((1, 2, 3)).sum())
    assert kept + mirrored == 400
    assert least <= mirrored <= most


def test_shift_and_mirroring_are_drawn_independently() -> None:
    image = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3)
    ((pixels, _),) = one_epoch(training_images(image.repeat(900, 1, 1, 1), shift=1, flip=True), 900)
    padded = F.pad(image[0, 0], (1, 1, 1, 1)).float()
    windows = [padded[row : row + 3, column : column + 3] for row in range(3) for column in range(3)]
    counts = [
        int((pixels == window).all((1, 2, 3)).sum()) for kept in windows for window in (kept, kept.flip(1))
    ]
    assert sum(counts) == 900
    assert min(counts) > 20


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_shares_of_the_ranks_are_disjoint_and_together_the_batch_of_one_process(ranks: int) -> None:
    raw = torch.randint(0, 256, (32, 2, 6, 6), generator=generator()).byte()
    images = training_images(raw, shift=2, flip=True)
    whole = one_epoch(images, 6)
    shares = [one_epoch(images, 6, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert len(whole) == 5
    for batch, (pixels, labels) in enumerate(whole):
        for rank, share in enumerate(shares):
            assert len(share[batch][0]) == 6 // ranks
            assert torch.equal(share[batch][0], pixels[rank::ranks])
            assert torch.equal(share[batch][1], labels[rank::ranks])


def test_an_epoch_draws_the_same_numbers_for_any_number_of_ranks_and_batches() -> None:
    images = training_images(torch.zeros(32, 1, 4, 4).byte(), shift=1, flip=True)
    following = []
    for share in ({}, {"rank": 1, "ranks": 2}):
        source = generator()
        list(images.epoch(4 + len(share), source, **share))
        following.append(torch.rand(4, generator=source))
    assert torch.equal(*following)


def test_another_seed_gives_another_order() -> None:
    images = training_images(torch.zeros(32, 1, 2, 2).byte())
    orders = [next(images.epoch(32, generator(seed)))[1].tolist() for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
