"""Augmentation of a whole batch at once, on the device the images are on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from toolchain.config import Augmentation


def augment(images: Tensor, options: Augmentation, generator: torch.Generator) -> Tensor:
    """Shift and flip every image of a batch on its own.

    ``images``: ``(N, C, H, W)``, any dtype; so is the result. Shifts are uniform in
    ``-shift .. shift`` in both directions and bring zeros in; a flip has probability 1/2.
    Random numbers come from ``generator`` on the CPU, so a seed means the same on every device.
    """
    if options.flip:
        mirrored = torch.rand(len(images), generator=generator) < 0.5
        images = torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(3), images)
    if options.shift:
        images = _shifted(images, options.shift, generator)
    return images


def _shifted(images: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Crop a window at a random offset out of the zero-padded images, by indexing."""
    count, _, height, width = images.shape
    padded = F.pad(images, (shift, shift, shift, shift)).permute(0, 2, 3, 1)
    offsets = torch.randint(0, 2 * shift + 1, (2, count, 1), generator=generator).to(images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    sample = torch.arange(count, device=images.device)[:, None, None]
    return padded[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
