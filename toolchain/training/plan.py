"""The epochs of a recipe, laid out one by one before training starts."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from toolchain.config import Option, Phase, Recipe
from toolchain.layers import set_connection, set_precision
from toolchain.layers.connections import AXES
from toolchain.models import model_row


@dataclass(frozen=True, slots=True)
class PlannedEpoch:
    """One epoch: its number over all phases, among the quantized ones (of the next one, if it is not) and
    within its phase, all from 0, and what starts it."""

    number: int
    quantized: int
    index: int
    phase: Phase
    updates_step: bool


def plan_epochs(recipe: Recipe) -> list[PlannedEpoch]:
    """All epochs of ``recipe`` in order."""
    plan: list[PlannedEpoch] = []
    quantized_epochs = 0
    for phase in recipe.phases:
        for index in range(phase.epochs):
            quantized = phase.precision == "quantized"
            updates = quantized and recipe.step.before_epoch(quantized_epochs)
            plan.append(PlannedEpoch(len(plan), quantized_epochs, index, phase, updates))
            quantized_epochs += quantized
    return plan


def enter_phase(model: nn.Module, phase: Phase) -> None:
    """Give ``model`` the precision and the connections of ``phase``. Raises InputError."""
    set_precision(model, phase.precision)
    set_connection(model, phase.connection)


def final_options(recipe: Recipe) -> dict[str, Option]:
    """Every option of the model as a run of ``recipe`` ends: ``connection`` is that of its last phase.

    Of several connections, one a stage, a phase changes the linear and orthogonal ones.
    """
    options: dict[str, Option] = {**model_row(recipe.model).options, **recipe.options}
    kind = recipe.active_phases[-1].connection
    if kind is not None and "connection" in options:
        built = [name.strip() for name in str(options["connection"]).split(",")]
        options["connection"] = ",".join(kind if name in AXES else name for name in built)
    return options


def seed_everything(seed: int, stream: int) -> torch.Generator:
    """Seed Python, NumPy and PyTorch; returns a CPU generator for shuffling and augmentation.

    Stream 0 is the model's construction, stream ``n + 1`` is epoch ``n``. Because every epoch draws
    from a stream of its own, a resumed run needs no saved generator state to repeat it exactly.
    """
    derived = int(np.random.SeedSequence((seed, stream)).generate_state(1)[0])
    random.seed(derived)
    np.random.seed(derived)
    torch.manual_seed(derived)
    return torch.Generator().manual_seed(derived)
