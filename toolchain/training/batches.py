"""Shuffled, augmented batches, cut out of images that stay on the training device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from toolchain.config import Augmentation


@dataclass(frozen=True, slots=True, eq=False)
class TrainingImages:
    """The training part in memory on the device, zero-padded for cropping.

    ``padded``: uint8 ``(N, H + 2 shift, W + 2 shift, C)``; channels come last, so that a crop is one
    gather and its result needs no copy to be ``channels_last``. ``labels``: int64 ``(N,)``.
    """

    padded: Tensor
    labels: Tensor
    augmentation: Augmentation

    @staticmethod
    def of(
        images: Tensor, labels: Tensor, augmentation: Augmentation, device: torch.device
    ) -> TrainingImages:
        """From images ``(N, C, H, W)``, uint8. They are moved once; every epoch works on the device."""
        shift = augmentation.shift
        count, channels, height, width = images.shape
        padded = torch.zeros(
            (count, height + 2 * shift, width + 2 * shift, channels), dtype=torch.uint8, device=device
        )
        padded[:, shift : shift + height, shift : shift + width] = images.to(device).permute(0, 2, 3, 1)
        return TrainingImages(padded, labels.to(device), augmentation)

    def __len__(self) -> int:
        return len(self.padded)

    def epoch(
        self, batch_size: int, generator: torch.Generator, rank: int = 0, ranks: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels ``(n, C, H, W)``, float32, and labels ``(n,)`` of this rank's share of every batch.

        Every image is shifted by up to ``shift`` pixels in both directions, zeros coming in, and mirrored
        with probability 1/2 if ``flip``. The last, incomplete batch is left out. All random numbers of the
        epoch are drawn from ``generator`` on the CPU, so a seed means the same on every device and for any
        number of ranks, and the device is never waited for.
        """
        device, count, shift = self.padded.device, len(self), self.augmentation.shift
        order = torch.randperm(count, generator=generator).to(device)
        offsets = torch.randint(0, 2 * shift + 1, (2, count, 1), generator=generator).to(device)
        mirrored = (torch.rand(count, 1, generator=generator) < 0.5 * self.augmentation.flip).to(device)
        height, width = (size - 2 * shift for size in self.padded.shape[1:3])
        row = torch.arange(height, device=device)
        column = torch.arange(width, device=device)
        for start in range(0, count - batch_size + 1, batch_size):
            place = slice(start + rank, start + batch_size, ranks)
            chosen = order[place]
            rows = offsets[0, place] + row
            columns = offsets[1, place] + torch.where(mirrored[place], width - 1 - column, column)
            pixels = self.padded[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
            yield pixels.permute(0, 3, 1, 2).float(), self.labels[chosen]
