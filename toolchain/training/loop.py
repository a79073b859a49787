"""The training loop: phases of epochs, with histogram-equalized step updates between them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.errors import GatefoldError, InputError
from toolchain.config import Recipe
from toolchain.data import Dataset, validation_split
from toolchain.layers import quantized_layers, set_precision
from toolchain.models import ModelRow, model_row
from toolchain.training.augment import augment
from toolchain.training.checkpoint import (
    MetricsLog,
    Progression,
    load_checkpoint,
    open_run,
    save_checkpoint,
)
from toolchain.training.evaluate import accuracy
from toolchain.training.health import find_warnings, layer_health
from toolchain.training.plan import PlannedEpoch, plan_epochs, seed_everything
from toolchain.training.progress import Event, Progress, silent
from toolchain.training.run import RunResult, tool_versions, write_result
from toolchain.training.schedule import learning_rate, make_optimizer


class TrainingError(GatefoldError):
    """Training cannot go on: the loss is no longer finite."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """The images in memory on the training device: uint8 ``(N, C, H, W)`` and int64 ``(N,)`` tensors.

    ``watched`` is what every epoch is evaluated on: the validation share, or the test part without one.
    """

    train: tuple[Tensor, Tensor]
    watched: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    @staticmethod
    def of(dataset: Dataset, recipe: Recipe, device: torch.device) -> Samples:
        """Split as the recipe says, and move to ``device`` once."""
        seen = validation_split(dataset, recipe.validation, recipe.seed) if recipe.validation else dataset

        def move(images: Any, labels: Any) -> tuple[Tensor, Tensor]:
            return torch.tensor(images, device=device), torch.tensor(labels, device=device)

        return Samples(
            move(seen.train_images, seen.train_labels),
            move(seen.test_images, seen.test_labels),
            move(dataset.test_images, dataset.test_labels),
        )


def train(
    recipe: Recipe,
    dataset: Dataset,
    out_dir: str | Path,
    device: str = "cpu",
    resume: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Train ``recipe`` on ``dataset`` into the run directory ``out_dir``.

    On the CPU the same recipe, thread count and library versions give the same weights, whether or not
    the run was interrupted and resumed in between. Every epoch adds a line to ``metrics.jsonl`` and then
    replaces the checkpoint, so a run can be stopped at any time. Raises InputError when recipe, data
    set, device and directory do not go together or another process trains into the directory, and
    TrainingError when the loss is not finite.
    """
    row = model_row(recipe.model)
    _check_fit(recipe, row, dataset)
    place = _find_device(device)
    with _threads(recipe.threads):
        seed_everything(recipe.seed, 0)
        model = row.build(**recipe.options)
        with open_run(Path(out_dir), recipe, resume):
            return _train_model(model, recipe, dataset, Path(out_dir), place, resume, progress or silent)


def _train_model(
    model: nn.Module,
    recipe: Recipe,
    dataset: Dataset,
    directory: Path,
    device: torch.device,
    resume: bool,
    tell: Progress,
) -> RunResult:
    done, optimizer_state = load_checkpoint(directory, recipe, model) if resume else (Progression(), None)
    model.to(device, memory_format=torch.channels_last)  # on CPUs, about twice as fast
    metrics = MetricsLog(directory, done.epochs)
    samples = Samples.of(dataset, recipe, device)
    optimizer = None
    for epoch in plan_epochs(recipe)[done.epochs :]:
        started = time.perf_counter()
        set_precision(model, epoch.phase.precision)
        if optimizer is None or epoch.index == 0:
            optimizer = make_optimizer(recipe.optimizer, model, epoch.phase.learning_rate)
            if epoch.index:
                optimizer.load_state_dict(optimizer_state)
        loss = _train_epoch(recipe, epoch, model, optimizer, samples.train, tell)
        line = _measure(recipe, epoch, model, samples, loss, metrics)
        seconds = time.perf_counter() - started
        done.advance(seconds)
        _choose(recipe, epoch, done, line["accuracy"], model)
        metrics.append(line | {"seconds": round(seconds, 3)})
        save_checkpoint(directory, recipe, done, model, optimizer)
        _tell_epoch(recipe, epoch, metrics.lines[-1], tell)
    return _finish(recipe, directory, model, done, samples, device)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with ``count`` CPU threads within the block; 0 leaves the number as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check_fit(recipe: Recipe, row: ModelRow, dataset: Dataset) -> None:
    if recipe.dataset != dataset.name:
        raise InputError(f"recipe {recipe.name!r} trains on {recipe.dataset!r}, not on {dataset.name!r}")
    if (row.input_shape, row.input_interval) != (dataset.shape, dataset.interval):
        raise InputError(
            f"model {row.name!r} takes images of shape {list(row.input_shape)} within "
            f"{row.input_interval}, data set {dataset.name!r} has {list(dataset.shape)} within "
            f"{dataset.interval}"
        )


def _find_device(device: str) -> torch.device:
    try:
        return torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError):
        raise InputError(f"device {device!r} is not available here; use cpu") from None


def _train_epoch(
    recipe: Recipe,
    epoch: PlannedEpoch,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: tuple[Tensor, Tensor],
    tell: Progress,
) -> float:
    """One pass over the training images; returns the mean loss."""
    images, labels = data
    phase = epoch.phase
    layers = list(quantized_layers(model).values())
    generator = seed_everything(recipe.seed, 1 + epoch.number)
    size = min(phase.batch_size, len(images))
    batches = len(images) // size
    order = torch.randperm(len(images), generator=generator).to(images.device)
    every_batch = phase.precision == "quantized" and recipe.step.every == "batch"
    total = 0.0
    model.train()
    for batch in range(batches):
        if every_batch or (epoch.updates_step and batch == 0):
            for layer in layers:
                layer.update_step()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(phase, (epoch.index + batch / batches) / phase.epochs)
        chosen = order[batch * size : (batch + 1) * size]
        pixels = augment(images[chosen], recipe.augmentation, generator).float()
        loss = F.cross_entropy(model(pixels), labels[chosen])
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss must stay finite, it became {value} in phase {phase.name!r}, "
                f"epoch {epoch.index + 1}, batch {batch + 1}; lower phases.{phase.name}.learning_rate "
                "and train into another --out (the last checkpoint is kept)"
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for layer in layers:
            layer.clamp_latent()
        total += value
        tell(Event(phase.name, epoch.number + 1, recipe.epochs, batch + 1, batches))
    return total / batches


def _measure(
    recipe: Recipe,
    epoch: PlannedEpoch,
    model: nn.Module,
    samples: Samples,
    loss: float,
    metrics: MetricsLog,
) -> dict[str, Any]:
    """The epoch's line of metrics, all but its duration."""
    phase = epoch.phase
    layers = layer_health(model) if phase.precision == "quantized" else {}
    return {
        "phase": phase.name,
        "epoch": epoch.number + 1,
        "precision": phase.precision,
        "loss": loss,
        "accuracy": accuracy(model, *samples.watched),
        "accuracy_on": "validation" if recipe.validation else "test",
        "learning_rate": learning_rate(phase, epoch.index / phase.epochs),
        "layers": {path: layer.to_json() for path, layer in layers.items()},
        "warnings": find_warnings(layers, metrics.of_phase(phase.name)),
    }


def _choose(
    recipe: Recipe, epoch: PlannedEpoch, done: Progression, watched: float, model: nn.Module
) -> None:
    """Keep this epoch's weights if the recipe's policy wants them."""
    comparable = epoch.phase.precision == recipe.phases[-1].precision
    if recipe.keep == "last" or (comparable and watched > done.chosen_accuracy):
        done.chosen_epoch, done.chosen_accuracy = epoch.number + 1, watched
        if recipe.keep == "best":
            done.chosen = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _tell_epoch(recipe: Recipe, epoch: PlannedEpoch, line: dict[str, Any], tell: Progress) -> None:
    position = (epoch.phase.name, epoch.number + 1, recipe.epochs, 1, 1)
    for message in line["warnings"]:
        tell(Event(*position, message=message))
    tell(Event(*position, metrics=line))


def _finish(
    recipe: Recipe,
    directory: Path,
    model: nn.Module,
    done: Progression,
    samples: Samples,
    device: torch.device,
) -> RunResult:
    """Test the chosen weights and write them with their result."""
    if done.chosen:
        model.load_state_dict(done.chosen)
    set_precision(model, recipe.phases[-1].precision)
    result = RunResult(
        recipe=recipe.name,
        model=recipe.model,
        options={**model_row(recipe.model).options, **recipe.options},
        dataset=recipe.dataset,
        seed=recipe.seed,
        accuracy=accuracy(model, *samples.test),
        validation_accuracy=done.chosen_accuracy if recipe.validation else None,
        train_samples=len(samples.train[0]),
        test_samples=len(samples.test[0]),
        epoch=done.chosen_epoch,
        epochs=recipe.epochs,
        seconds=round(done.seconds, 2),
        device=str(device),
        threads=torch.get_num_threads(),
        versions=tool_versions(),
    )
    write_result(directory, {name: t.cpu().contiguous() for name, t in model.state_dict().items()}, result)
    return result
