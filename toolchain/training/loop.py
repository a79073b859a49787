"""The training loop: phases of epochs, with histogram-equalized step updates between them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from runtime.errors import InputError
from toolchain.config import Recipe
from toolchain.data import Dataset, validation_split
from toolchain.layers import quantized_layers
from toolchain.layers.connections import switchable
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
from toolchain.training.evaluate import Part, Score
from toolchain.training.health import find_warnings, layer_health
from toolchain.training.plan import (
    PlannedEpoch,
    enter_phase,
    final_options,
    plan_epochs,
    seed_everything,
)
from toolchain.training.progress import Event, Progress, silent
from toolchain.training.run import (
    RunResult,
    digest,
    hardware,
    load_weights,
    tool_versions,
    write_result,
)
from toolchain.training.schedule import learning_rate, make_optimizer
from toolchain.training.streams import PROBED_IMAGES, stream_health, stream_warnings
from toolchain.training.world import World, join_world


def train(
    recipe: Recipe,
    dataset: Dataset,
    out_dir: str | Path,
    device: str = "cpu",
    resume: bool = False,
    progress: Progress | None = None,
    start: Mapping[str, Tensor] | None = None,
) -> RunResult:
    """Train ``recipe`` on ``dataset`` into the run directory ``out_dir``.

    ``start``: weights, masks and buffers to begin with, a state of the recipe's model; without it the
    recipe's seed draws them (``initial_model``). A run is resumed with the start it began with.

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
    check_fit(recipe, row, dataset)
    directory = Path(out_dir)
    with _threads(recipe.threads), join_world(device) as world, ExitStack() as stack:
        check_share(recipe, world)
        if recipe.compute.compile:
            check_compiler(world.device)
        model = initial_model(recipe)
        _try_phases(model, recipe, row)
        if start is not None:
            load_weights(model, start, "the start")
        began = digest(start) if start is not None else None
        world.from_first(lambda: stack.enter_context(open_run(directory, recipe, resume, began)))
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
    probe = watched.images[:PROBED_IMAGES].float()
    trainer = Trainer.of(recipe, world, model, images, tell)
    optimizer = None
    for epoch in plan_epochs(recipe)[done.epochs :]:
        if _out_of_patience(recipe, done):
            break
        started = time.perf_counter()
        enter_phase(model, epoch.phase)
        if optimizer is None or epoch.index == 0:
            optimizer = make_optimizer(recipe.optimizer, model, epoch.phase.learning_rate)
            if epoch.index:
                optimizer.load_state_dict(optimizer_state)
        loss = trainer.train(epoch, optimizer)
        reached = watched.score(model, world)
        seconds = time.perf_counter() - started
        done.advance(seconds)
        _choose(recipe, epoch, done, reached, model)
        measured = {"loss": loss, "accuracy": reached.accuracy, "seconds": round(seconds, 3)}
        if recipe.watch == "loss":
            measured["validation_loss"] = reached.loss
        world.from_first(_record, directory, trainer, epoch, done, optimizer, metrics, measured, probe)
    return _finish(recipe, directory, model, done, len(images), watched, dataset, world)


def initial_model(recipe: Recipe) -> nn.Module:
    """The untrained network of ``recipe``, with the weights that its seed draws.

    Every quantized layer chooses its step as the recipe says, from these weights on. Raises InputError.
    """
    row = model_row(recipe.model)
    seed_everything(recipe.seed, 0)
    model = row.build(**recipe.options)
    for layer in quantized_layers(model).values():
        layer.rule = recipe.step.rule or layer.rule
        layer.zero_median = recipe.step.zero_median
        layer.update_step()
    return model


def check_recipe(model: nn.Module, recipe: Recipe) -> None:
    """Raise InputError when ``recipe`` changes connections or densities that ``model`` does not have."""
    densities = [layer.density for layer in quantized_layers(model).values()]
    if recipe.step.ramp and all(density is None for density in densities):
        raise InputError(
            f"step.ramp needs layers of a given density, which model {recipe.model!r} does not have"
        )
    for phase in recipe.active_phases:
        if phase.connection is not None and not switchable(model):
            raise InputError(
                f"phase {phase.name}: connection {phase.connection!r} needs linear or orthogonal "
                f"connections, which model {recipe.model!r} does not have"
            )


@torch.no_grad()
def _try_phases(model: nn.Module, recipe: Recipe, row: ModelRow) -> None:
    """Raise InputError now, not hours later, when a phase that has epochs does not fit the model."""
    check_recipe(model, recipe)
    image = torch.full((1, *row.input_shape), float(row.input_interval.lo))
    for phase in recipe.active_phases:
        enter_phase(model, phase)
        model.eval()(image)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with ``count`` CPU threads within the block; 0 leaves the number as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_fit(recipe: Recipe, row: ModelRow, dataset: Dataset) -> None:
    """Raise InputError unless ``recipe`` trains the network of ``row`` on images like those of
    ``dataset``."""
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
    probe: Tensor,
) -> None:
    """Write the epoch's line of metrics, then the checkpoint; tell the listener.

    ``probe``: images that the streams are looked at with.
    """
    phase = epoch.phase
    layers = layer_health(trainer.model) if phase.precision == "quantized" else {}
    streams = stream_health(trainer.model, probe)
    history = metrics.of_phase(phase.name)
    line = {
        "phase": phase.name,
        "epoch": epoch.number + 1,
        "precision": phase.precision,
        **measured,
        "accuracy_on": "validation" if trainer.recipe.validation else "test",
        "learning_rate": learning_rate(phase, epoch.index / phase.epochs),
        "layers": {path: layer.to_json() for path, layer in layers.items()},
        "streams": {path: stream.to_json() for path, stream in streams.items()},
        "warnings": find_warnings(layers, history) + stream_warnings(streams, history),
    }
    metrics.append(line)
    save_checkpoint(directory, trainer.recipe, done, trainer.model, optimizer)
    _tell_epoch(trainer.recipe, epoch, line, trainer.tell)


def _choose(
    recipe: Recipe, epoch: PlannedEpoch, done: Progression, reached: Score, model: nn.Module
) -> None:
    """Keep this epoch's weights if the recipe's policy wants them."""
    last = recipe.active_phases[-1]
    comparable = (epoch.phase.precision, epoch.phase.connection) == (last.precision, last.connection)
    value = -reached.loss if recipe.watch == "loss" else reached.accuracy
    if recipe.keep == "last" or (comparable and value > done.chosen_value):
        done.chosen_epoch, done.chosen_value = epoch.number + 1, value
        if recipe.keep == "best":
            done.chosen = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _out_of_patience(recipe: Recipe, done: Progression) -> bool:
    """Whether what the recipe watches has not improved for as many epochs as its patience."""
    return 0 < recipe.patience <= done.epochs - done.chosen_epoch and done.chosen_epoch > 0


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
    watched: Part,
    dataset: Dataset,
    world: World,
) -> RunResult:
    """Test the chosen weights and write them with their result."""
    if done.chosen:
        model.load_state_dict(done.chosen)
    enter_phase(model, recipe.active_phases[-1])
    test = Part.of(dataset.test_images, dataset.test_labels, world)
    result = RunResult(
        recipe=recipe.name,
        model=recipe.model,
        options=final_options(recipe),
        dataset=recipe.dataset,
        seed=recipe.seed,
        accuracy=test.score(model, world).accuracy,
        validation_accuracy=watched.score(model, world).accuracy if recipe.validation else None,
        train_samples=train_samples,
        test_samples=test.total,
        epoch=done.chosen_epoch,
        epochs=done.epochs,
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
