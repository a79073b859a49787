"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from toolchain.config import Optimizer, Phase

SCHEDULES: dict[str, Callable[[Phase, float], float]] = {
    "constant": lambda _phase, _done: 1.0,
    "cosine": lambda _phase, done: 0.5 * (1 + math.cos(math.pi * done)),
    "step": lambda phase, done: phase.decay ** sum(done >= milestone for milestone in phase.milestones),
}
"""Factor on the learning rate of a phase of which the share ``done`` is over, 0 <= done < 1."""

ADAPTIVE = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def learning_rate(phase: Phase, done: float) -> float:
    """The learning rate of ``phase`` when the share ``done`` of its batches has been trained."""
    return phase.learning_rate * SCHEDULES[phase.schedule](phase, done)


def make_optimizer(options: Optimizer, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    """A fresh optimizer over all parameters of ``model``."""
    if options.kind == "sgd":
        return torch.optim.SGD(
            model.parameters(), rate, momentum=options.momentum, weight_decay=options.weight_decay
        )
    return ADAPTIVE[options.kind](model.parameters(), rate, weight_decay=options.weight_decay)
