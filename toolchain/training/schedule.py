"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from toolchain.config import Optimizer, Phase

SCHEDULES: dict[str, Callable[[float, Sequence[float]], float]] = {
    "constant": lambda _done, _milestones: 1.0,
    "cosine": lambda done, _milestones: 0.5 * (1 + math.cos(math.pi * done)),
    "step": lambda done, milestones: 0.1 ** sum(done >= milestone for milestone in milestones),
}
"""Factor on the learning rate for the share of a phase that is done, 0 <= share < 1, and its milestones."""


def learning_rate(phase: Phase, done: float) -> float:
    """The learning rate of ``phase`` when the share ``done`` of its batches has been trained."""
    return phase.learning_rate * SCHEDULES[phase.schedule](done, phase.milestones)


def make_optimizer(options: Optimizer, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    """A fresh optimizer over all parameters of ``model``."""
    if options.kind == "sgd":
        return torch.optim.SGD(
            model.parameters(), rate, momentum=options.momentum, weight_decay=options.weight_decay
        )
    return torch.optim.Adam(model.parameters(), rate, weight_decay=options.weight_decay)
