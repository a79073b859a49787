"""From a run of a plain network, pruned or not, to a run of its quantized twin.

The recipe of the plain run is changed in its options and phases; the weights, masks, norms and ranges that
training starts from are those of ``toolchain.calibration``. With 0 epochs they are the result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runtime.errors import InputError
from toolchain.calibration import adopt_weights, calibrate
from toolchain.config import Recipe, parse_recipe
from toolchain.data import Dataset
from toolchain.models import model_row
from toolchain.training import Run, initial_model
from toolchain.training.loop import check_fit

PLAIN_LEVELS = 0
"""Default of the option ``levels`` of a model that has a plain form."""


def has_plain_form(model: str) -> bool:
    """Whether the model of that name is a plain float32 network by default, which can be quantized."""
    return model_row(model).options.get("levels") == PLAIN_LEVELS


def qat_phase(epochs: int, learning_rate: float = 1e-3, batch_size: int = 100) -> dict[str, Any]:
    """The one phase of a quantized recipe: quantization-aware training with a falling learning rate."""
    return {
        "name": "qat",
        "epochs": epochs,
        "precision": "quantized",
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "schedule": "cosine",
    }


def quantized_recipe(run: Run, where: Path, options: dict[str, Any], phase: dict[str, Any]) -> Recipe:
    """The recipe of the twin: ``options`` (those not None) on top of the run's, and the one ``phase``.

    Raises InputError, naming ``where`` the run is, when its model has no plain form or it is quantized
    already, for options that the model does not have, and for a phase that breaks a rule.
    """
    row = model_row(run.recipe.model)
    if not has_plain_form(row.name):
        raise InputError(
            f"{where}: model {row.name!r} has no plain form to be quantized; "
            "train it with a quantized phase"
        )
    levels = run.recipe.options.get("levels", PLAIN_LEVELS)
    if levels != PLAIN_LEVELS:
        raise InputError(f"{where} is quantized already, to {levels} levels; lower it")
    known = {name: value for name, value in options.items() if value is not None}
    for name in known:
        if name not in row.options:
            raise InputError(f"model {row.name!r} has no option {name!r} ({', '.join(row.options)})")
    chosen = {**row.options, **run.recipe.options, **known}
    kind = chosen.get("algebra", "real")
    table = run.recipe.model_dump(mode="json") | {
        "name": f"{run.recipe.name}-heq",
        "summary": f"{row.name}: {kind} HEQ weights of {chosen['levels']} levels, "
        f"{chosen['bits']}-bit codes",
        "options": {**run.recipe.options, **known},
        "keep": "last",
        "watch": "accuracy",
        "patience": 0,
        "validation": 0.0,
        "phases": [phase],
    }
    return parse_recipe(table, "quantize")


def starting_state(run: Run, recipe: Recipe, dataset: Dataset, images: int) -> dict[str, Tensor]:
    """The calibrated state of the twin that ``recipe`` trains, from the first ``images`` training images.

    The same run and recipe give the same state. Raises InputError when the data set does not fit the
    network, or the two networks do not fit each other.
    """
    check_fit(recipe, model_row(recipe.model), dataset)
    if recipe.options.get("levels", PLAIN_LEVELS) == PLAIN_LEVELS:
        raise InputError("options.levels must be above 0 for a quantized network; leave it to --levels")
    twin = initial_model(recipe)
    adopt_weights(twin, run.model)
    calibrate(twin, run.model, torch.tensor(dataset.train_images[:images]).float())
    return {name: tensor.clone() for name, tensor in twin.state_dict().items()}
