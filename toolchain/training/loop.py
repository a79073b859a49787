"""The training loop: phases of epochs, with histogram-equalized step updates between them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from runtime.errors import InputError
from toolchain.config import Recipe, StepUpdate
from toolchain.data import Dataset, validation_split
from toolchain.layers import quantized_layers, set_precision
from toolchain.models import ModelRow, model_row
from toolchain.training.batches import TrainingImages
from toolchain.training.checkpoint import (
    MetricsLog,
    Progression,
    load_checkpoint,
    open_run,
    save_checkpoint,
)
from toolchain.training.epoch import Trainer, check_compiler, check_share
from toolchain.training.evaluate import count_correct
from toolchain.training.health import find_warnings, layer_health
from toolchain.training.plan import PlannedEpoch, plan_epochs, seed_everything
from toolchain.training.progress import Event, Progress, silent
from toolchain.training.run import RunResult, hardware, tool_versions, write_result
from toolchain.training.schedule import learning_rate, make_optimizer
from toolchain.training.world import World, join_world


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

    def accuracy(self, model: nn.Module, world: World) -> float:
        """Share of all images that ``model``, alike on every rank, gets right: the same number on each."""
        correct = torch.tensor(count_correct(model, self.images, self.labels), device=world.device)
        return int(world.sum(correct)) / self.total


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
    replaces the checkpoint, so a run can be stopped at any time.

    Under ``torchrun`` every process calls this with the same arguments. The batch is divided among them,
    gradients are averaged, and the steps of the quantizers are equal, as they follow from equal weights;
    batch norms see their own share of a batch, and those of rank 0 are kept. Rank 0 writes the directory.
    With three processes or more, a resumed run may differ in the last bits of its weights: the first
    batch after the start adds up the gradients in another order.

    Raises InputError when recipe, data set, device and directory do not go together or another process
    trains into the directory, MissingToolError when ``compute.compile`` finds no compiler, and
    TrainingError when the loss or the weights are not finite; on all processes alike.
    """
    row = model_row(recipe.model)
    _check_fit(recipe, row, dataset)
    directory = Path(out_dir)
    with _threads(recipe.threads), join_world(device) as world, ExitStack() as stack:
        check_share(recipe, world)
        if recipe.compute.compile:
            check_compiler(world.device)
        seed_everything(recipe.seed, 0)
        model = row.build(**recipe.options)
        _configure_steps(model, recipe.step)
        world.from_first(lambda: stack.enter_context(open_run(directory, recipe, resume)))
        tell = progress if progress and world.first else silent
        return _train_model(model, recipe, dataset, directory, world, resume, tell)


def _train_model(
    model: nn.Module,
    recipe: Recipe,
    dataset: Dataset,
    directory: Path,
    world: World,
    resume: bool,
    tell: Progress,
) -> RunResult:
    done, optimizer_state = Progression(), None
    if resume:
        done, optimizer_state = world.from_first(load_checkpoint, directory, recipe, model)
    metrics = world.from_first(MetricsLog, directory, done.epochs)
    seen = validation_split(dataset, recipe.validation, recipe.seed) if recipe.validation else dataset
    images = TrainingImages.of(
        torch.tensor(seen.train_images),
        torch.tensor(seen.train_labels),
        recipe.augmentation,
        world.device,
    )
    watched = Part.of(seen.test_images, seen.test_labels, world)
    trainer = Trainer.of(recipe, world, model, images, tell)
    optimizer = None
    for epoch in plan_epochs(recipe)[done.epochs :]:
        started = time.perf_counter()
        set_precision(model, epoch.phase.precision)
        if optimizer is None or epoch.index == 0:
            optimizer = make_optimizer(recipe.optimizer, model, epoch.phase.learning_rate)
            if epoch.index:
                optimizer.load_state_dict(optimizer_state)
        loss = trainer.train(epoch, optimizer)
        reached = watched.accuracy(model, world)
        seconds = time.perf_counter() - started
        done.advance(seconds)
        _choose(recipe, epoch, done, reached, model)
        measured = {"loss": loss, "accuracy": reached, "seconds": round(seconds, 3)}
        world.from_first(_record, directory, trainer, epoch, done, optimizer, metrics, measured)
    return _finish(recipe, directory, model, done, len(images), dataset, world)


def _configure_steps(model: nn.Module, options: StepUpdate) -> None:
    """Let every quantized layer choose its step as the recipe says, from its initial weights on."""
    for layer in quantized_layers(model).values():
        layer.rule = options.rule or layer.rule
        layer.zero_median = options.zero_median
        layer.update_step()


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


def _record(
    directory: Path,
    trainer: Trainer,
    epoch: PlannedEpoch,
    done: Progression,
    optimizer: torch.optim.Optimizer,
    metrics: MetricsLog,
    measured: dict[str, float],
) -> None:
    """Write the epoch's line of metrics, then the checkpoint; tell the listener."""
    phase = epoch.phase
    layers = layer_health(trainer.model) if phase.precision == "quantized" else {}
    line = {
        "phase": phase.name,
        "epoch": epoch.number + 1,
        "precision": phase.precision,
        **measured,
        "accuracy_on": "validation" if trainer.recipe.validation else "test",
        "learning_rate": learning_rate(phase, epoch.index / phase.epochs),
        "layers": {path: layer.to_json() for path, layer in layers.items()},
        "warnings": find_warnings(layers, metrics.of_phase(phase.name)),
    }
    metrics.append(line)
    save_checkpoint(directory, trainer.recipe, done, trainer.model, optimizer)
    _tell_epoch(trainer.recipe, epoch, line, trainer.tell)


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
    train_samples: int,
    dataset: Dataset,
    world: World,
) -> RunResult:
    """Test the chosen weights and write them with their result."""
    if done.chosen:
        model.load_state_dict(done.chosen)
    set_precision(model, recipe.phases[-1].precision)
    test = Part.of(dataset.test_images, dataset.test_labels, world)
    result = RunResult(
        recipe=recipe.name,
        model=recipe.model,
        options={**model_row(recipe.model).options, **recipe.options},
        dataset=recipe.dataset,
        seed=recipe.seed,
        accuracy=test.accuracy(model, world),
        validation_accuracy=done.chosen_accuracy if recipe.validation else None,
        train_samples=train_samples,
        test_samples=test.total,
        epoch=done.chosen_epoch,
        epochs=recipe.epochs,
        seconds=round(done.seconds, 2),
        device=world.device.type,
        hardware=hardware(world.device),
        processes=world.size,
        threads=torch.get_num_threads(),
        versions=tool_versions(),
    )
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    world.from_first(write_result, directory, state, result)
    return result
