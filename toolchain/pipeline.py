"""The main job as one straight line of stages: run directory, model, program, check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from runtime.errors import InputError
from runtime.ir import Program
from runtime.session import Session
from toolchain.config import Phase, Recipe
from toolchain.layers import HEQClassifier
from toolchain.lowering import CLASS, SCORES, lower, reference_model
from toolchain.models import model_row
from toolchain.training import Run, load_run

CHUNK = 256

DEFAULT_PHASES = (
    Phase(name="pretrain", epochs=5, precision="float", learning_rate=5e-3, batch_size=100),
    Phase(
        name="qat", epochs=24, precision="quantized", learning_rate=5e-3, batch_size=100, schedule="cosine"
    ),
    Phase(name="finetune", epochs=1, precision="quantized", learning_rate=1e-4, batch_size=400),
)
"""Full-precision pre-training, quantization-aware training, one fine-tuning epoch (papers, HEQ recipe)."""


def default_recipe(model: str) -> Recipe:
    """The recipe for a model that is trained by its name. Raises InputError for an unknown model."""
    row = model_row(model)
    return Recipe(name=model, model=model, dataset=row.dataset, phases=DEFAULT_PHASES)


def lower_run(run_dir: str | Path) -> tuple[Program, Run]:
    """The program of a finished run, with its provenance as metadata. Raises InputError, LoweringError."""
    run = load_run(run_dir)
    if run.recipe.active_phases[-1].precision != "quantized":
        raise InputError(
            f"{run_dir} ends in full precision and has no integer program; quantize it with `gatefold "
            "quantize`, or train a recipe that ends quantized"
        )
    row, result = model_row(run.recipe.model), run.result
    metadata = {
        "model": result.model,
        "options": result.options,
        "recipe": result.recipe,
        "dataset": result.dataset,
        "accuracy": result.accuracy,
        "test_samples": result.test_samples,
        "epochs": result.epochs,
        "seed": result.seed,
        "versions": result.versions,
    }
    name = run.recipe.name
    return lower(run.model, row.input_shape, row.input_interval, name, metadata), run


@dataclass(frozen=True)
class ModelCheck:
    """A program against its torch model: link one of the exactness chain.

    ``mismatches``: samples whose float64 logits are not exactly ``scores * scale``, or whose class differs.
    ``float32_differing``: samples whose float32 evaluation gives other scores, by ties and rounding.
    """

    samples: int
    mismatches: int
    float32_differing: int

    def to_json(self) -> dict[str, int]:
        """The rows ``float64`` and ``float32`` as plain numbers."""
        return {
            "samples": self.samples,
            "mismatches": self.mismatches,
            "float32_differing": self.float32_differing,
        }


@torch.no_grad()
def check_model(
    program: Program,
    model: nn.Module,
    images: NDArray[Any],
    progress: Callable[[int], None] | None = None,
) -> ModelCheck:
    """Compare ``program`` with ``model`` on ``images`` (N, C, H, W), in float64 and in float32.

    ``model`` ends in a ``HEQClassifier``; the program runs on ``packed``.
    """
    session = Session(program, "packed")
    exact = reference_model(model)
    single = reference_model(model).float()
    scale = _logit_scale(exact)
    mismatches = differing = 0
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        found = session.run(part)
        pixels = torch.as_tensor(part.astype(np.float64))
        logits = exact(pixels).numpy()
        wrong = (logits != found[SCORES].astype(np.float64) * scale).any(axis=1)
        mismatches += int((wrong | (logits.argmax(axis=1) != found[CLASS])).sum())
        scores32 = np.rint(single(pixels.float()).double().numpy() / scale)
        differing += int((scores32 != found[SCORES]).any(axis=1).sum())
        if progress:
            progress(len(part))
    return ModelCheck(len(images), mismatches, differing)


def _logit_scale(model: nn.Module) -> float:
    classifiers = [m for m in model.modules() if isinstance(m, HEQClassifier)]
    if len(classifiers) != 1:
        raise InputError(f"the model must end in one HEQClassifier, not {len(classifiers)}")
    return float(classifiers[0].scale)
