"""Accuracy and loss of a model on images in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from toolchain.training.world import World

EVALUATION_BATCH = 500


@torch.no_grad()
def tally(
    model: nn.Module,
    images: NDArray[np.uint8] | Tensor,
    labels: NDArray[np.int64] | Tensor,
    batch: int = EVALUATION_BATCH,
) -> Tensor:
    """How many images have their label as the model's largest output, and the sum of their cross-entropies.

    ``images``: ``(N, C, H, W)`` raw pixels; ``labels``: ``(N,)``. Returns float64, shape (2,), on the
    model's device. The model runs in eval mode, in its own float precision, and gets its former mode back.
    """
    parameter = next(model.parameters())
    training = model.training
    model.eval()
    total = torch.zeros(2, dtype=torch.float64, device=parameter.device)
    for start in range(0, len(images), batch):
        pixels = torch.as_tensor(images[start : start + batch]).to(parameter.device, parameter.dtype)
        wanted = torch.as_tensor(labels[start : start + batch]).to(parameter.device)
        logits = model(pixels)
        total[0] += (logits.argmax(1) == wanted).sum()
        total[1] += F.cross_entropy(logits.double(), wanted, reduction="sum")
    model.train(training)
    return total


def accuracy(
    model: nn.Module,
    images: NDArray[np.uint8] | Tensor,
    labels: NDArray[np.int64] | Tensor,
    batch: int = EVALUATION_BATCH,
) -> float:
    """Share of the images, within 0..1, that have their label as the model's largest output."""
    return float(tally(model, images, labels, batch)[0]) / len(images)


@dataclass(frozen=True, slots=True)
class Score:
    """How good a model is on some images: ``accuracy`` within 0..1, mean cross-entropy ``loss``."""

    accuracy: float
    loss: float


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Images uint8 ``(N, C, H, W)`` and labels int64 ``(N,)`` on the device, to evaluate on.

    Each process holds the share of its rank; ``total`` counts the images of all.
    """

    images: Tensor
    labels: Tensor
    total: int

    @staticmethod
    def of(images: Any, labels: Any, world: World) -> Part:
        """This rank's share."""
        share = slice(world.rank, None, world.size)
        return Part(
            torch.tensor(images[share], device=world.device),
            torch.tensor(labels[share], device=world.device),
            len(images),
        )

    def score(self, model: nn.Module, world: World) -> Score:
        """How good ``model``, alike on every rank, is on all images: the same numbers on each rank."""
        correct, loss = world.sum(tally(model, self.images, self.labels)).tolist()
        return Score(correct / self.total, loss / self.total)
