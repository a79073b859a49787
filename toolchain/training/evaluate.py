"""Accuracy of a model on images in memory."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

EVALUATION_BATCH = 500


@torch.no_grad()
def count_correct(
    model: nn.Module,
    images: NDArray[np.uint8] | Tensor,
    labels: NDArray[np.int64] | Tensor,
    batch: int = EVALUATION_BATCH,
) -> int:
    """How many images have their label as the model's largest output.

    ``images``: ``(N, C, H, W)`` raw pixels; ``labels``: ``(N,)``. The model runs in eval mode, on its
    own device, in its own float precision, and gets its former mode back.
    """
    parameter = next(model.parameters())
    training = model.training
    model.eval()
    correct = 0
    for start in range(0, len(images), batch):
        pixels = torch.as_tensor(images[start : start + batch]).to(parameter.device, parameter.dtype)
        wanted = torch.as_tensor(labels[start : start + batch]).to(parameter.device)
        correct += int((model(pixels).argmax(1) == wanted).sum())
    model.train(training)
    return correct


def accuracy(
    model: nn.Module,
    images: NDArray[np.uint8] | Tensor,
    labels: NDArray[np.int64] | Tensor,
    batch: int = EVALUATION_BATCH,
) -> float:
    """``count_correct`` as a share of the images, within 0..1."""
    return count_correct(model, images, labels, batch) / len(images)
