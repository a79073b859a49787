"""One epoch of training: the batches, the steps of the quantizers, the check that all stays finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.errors import GatefoldError, InputError, MissingToolError
from toolchain.config import Recipe
from toolchain.layers import HEQLayer, LookupNeurons, latent_layers, quantized_layers
from toolchain.training.batches import TrainingImages
from toolchain.training.plan import PlannedEpoch, seed_everything
from toolchain.training.progress import Event, Progress
from toolchain.training.schedule import learning_rate
from toolchain.training.world import World

CHECK_EVERY = 50
"""Batches between two looks at the losses: each look makes the host wait for the device."""


class TrainingError(GatefoldError):
    """Training cannot go on: the loss or the weights are no longer finite."""

    @staticmethod
    def at(epoch: PlannedEpoch, batch: int, what: str) -> TrainingError:
        """The error that ``what`` happened in the ``batch``-th batch, from 1, of ``epoch``."""
        phase = epoch.phase
        return TrainingError(
            f"{what} in phase {phase.name!r}, epoch {epoch.index + 1}, batch {batch}; "
            f"lower phases.{phase.name}.learning_rate and train into another --out "
            "(the last checkpoint is kept)"
        )


def check_share(recipe: Recipe, world: World) -> None:
    """Raise InputError unless every batch can be divided evenly among the processes."""
    for phase in recipe.phases:
        if phase.batch_size % world.size:
            raise InputError(
                f"phases.{phase.name}.batch_size must be a multiple of the {world.size} processes, "
                f"not {phase.batch_size}"
            )


def check_compiler(device: torch.device) -> None:
    """Raise MissingToolError unless ``torch.compile`` works here; what it makes ready is kept."""
    try:
        torch.compile(torch.neg)(torch.zeros(1, device=device))
    except Exception as error:  # whatever a compiler raises
        reason = str(error).strip().partition("\n")[0]
        raise MissingToolError(
            f"compute.compile needs a compiler that works: {reason}; install one (on CPUs g++), "
            "or leave compute.compile out"
        ) from error


def slow_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is emulated on ``device``, which takes longer than float32."""
    if device.type == "cuda":
        return not torch.cuda.is_bf16_supported(including_emulation=False)
    return not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


@dataclass(frozen=True, slots=True, eq=False)
class Trainer:
    """What every epoch needs. ``forward`` is ``model``, compiled or spread over processes as asked for."""

    recipe: Recipe
    world: World
    model: nn.Module
    forward: nn.Module
    images: TrainingImages
    tell: Progress

    @staticmethod
    def of(
        recipe: Recipe, world: World, model: nn.Module, images: TrainingImages, tell: Progress
    ) -> Trainer:
        """Put ``model`` on the device and prepare it as ``recipe.compute`` says."""
        if recipe.epochs and recipe.compute.mixed == "bfloat16" and slow_bfloat16(world.device):
            advice = "no instructions for bfloat16 here; --set compute.mixed=off trains faster"
            tell(Event(recipe.phases[0].name, 1, recipe.epochs, 0, 1, message=advice))
        layout = torch.channels_last if recipe.compute.channels_last else torch.contiguous_format
        model.to(world.device, memory_format=layout)
        forward = world.parallel(model)
        if recipe.compute.compile:
            forward = torch.compile(forward)
        return Trainer(recipe, world, model, forward, images, tell)

    def quantized(self) -> list[HEQLayer]:
        """The layers of the model that have a step."""
        return list(quantized_layers(self.model).values())

    def train(self, epoch: PlannedEpoch, optimizer: torch.optim.Optimizer) -> float:
        """One pass over the training images; returns the mean loss. Raises TrainingError.

        Afterwards every rank has the same weights and buffers, and all are finite.
        """
        phase = epoch.phase
        layers, latent = self.quantized(), latent_layers(self.model)
        every_batch = phase.precision == "quantized" and self.recipe.step.every == "batch"
        size = min(phase.batch_size, len(self.images) // self.world.size * self.world.size)
        batches = len(self.images) // size
        losses = torch.zeros(batches, device=self.world.device)
        generator = seed_everything(self.recipe.seed, 1 + epoch.number)
        shares = self.images.epoch(size, generator, self.world.rank, self.world.size)
        self.forward.train()
        for batch, (pixels, labels) in enumerate(shares):
            if every_batch or (epoch.updates_step and batch == 0):
                over = epoch.quantized + ((batch + 1) / batches if every_batch else 1)
                done = over / self.recipe.quantized_epochs
                self._update_steps(layers, losses[: batch + 1], epoch, done)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(phase, (epoch.index + batch / batches) / phase.epochs)
            losses[batch] = self.step(pixels, labels, optimizer, latent)
            if batch % CHECK_EVERY == CHECK_EVERY - 1:
                self._check(losses[: batch + 1], epoch)
            self.tell(Event(phase.name, epoch.number + 1, self.recipe.epochs, batch + 1, batches))
        loss = self._check(losses, epoch)
        self.world.align(self.model)
        for name, tensor in self.model.state_dict().items():
            if not bool(torch.isfinite(tensor).all()):
                raise TrainingError.at(epoch, batches, f"the model must stay finite, {name} is not")
        return loss

    def _update_steps(
        self, layers: Sequence[HEQLayer], losses: Tensor, epoch: PlannedEpoch, done: float
    ) -> None:
        """Set every step; ``losses`` are those of the batches so far, and a 0 for the one to come.
        ``done``: the share of the quantized epochs that is over at the next update."""
        try:
            for layer in layers:
                density = layer.density
                layer.update_step(None if density is None else self.recipe.step.density(density, done))
        except InputError:
            self._check(losses, epoch)
            raise TrainingError.at(
                epoch, len(losses), "the weights must stay finite, they are not"
            ) from None

    def step(
        self,
        pixels: Tensor,
        labels: Tensor,
        optimizer: torch.optim.Optimizer,
        layers: Sequence[HEQLayer | LookupNeurons],
    ) -> Tensor:
        """One update of the weights; returns the loss without waiting for it."""
        compute = self.recipe.compute
        if not compute.channels_last:
            pixels = pixels.contiguous()
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=compute.mixed == "bfloat16"):
            logits = self.forward(pixels)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        if self.recipe.optimizer.max_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.optimizer.max_norm)
        optimizer.step()
        for layer in layers:
            layer.clamp_latent()
        return loss.detach()

    def _check(self, losses: Tensor, epoch: PlannedEpoch) -> float:
        """Mean of ``losses`` over all processes. Raises TrainingError naming the first not finite."""
        values = (self.world.sum(losses.clone()) / self.world.size).tolist()
        for batch, value in enumerate(values, 1):
            if not math.isfinite(value):
                raise TrainingError.at(epoch, batch, f"the loss must stay finite, it became {value}")
        return math.fsum(values) / len(values)
