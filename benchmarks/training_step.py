"""What quantization-aware training costs per step, and what the data pipeline takes of it.

    python benchmarks/training_step.py [RECIPE] [--set key=value] [--device cpu|cuda] [--steps N]

The same network trains in float32 (its twin: real weights, ReLU) and quantized, one step of each in turn,
on random images in memory; medians. The pipeline (crop, flip, gather, conversion) is timed on its own.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from toolchain.cli.train import find_recipe
from toolchain.config import Recipe, override
from toolchain.layers import set_precision
from toolchain.models import model_row
from toolchain.training import TrainingImages
from toolchain.training.epoch import Trainer
from toolchain.training.plan import seed_everything
from toolchain.training.progress import silent
from toolchain.training.schedule import make_optimizer
from toolchain.training.world import World, find_device

WARM_UP = 3


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def endless(images: TrainingImages, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of one epoch after the other."""
    generator = torch.Generator().manual_seed(0)
    while True:
        yield from images.epoch(batch, generator)


class Subject:
    """One of the two networks, ready to take steps."""

    def __init__(self, recipe: Recipe, precision: str, images: TrainingImages, world: World) -> None:
        options = {"twin": True} if precision == "float" else {}
        seed_everything(0, 0)
        model = model_row(recipe.model).build(**recipe.options, **options)
        set_precision(model, precision)
        self.trainer = Trainer.of(recipe, world, model, images, silent)
        self.trainer.forward.train()
        self.optimizer = make_optimizer(recipe.optimizer, model, 1e-3)
        self.layers = self.trainer.quantized()
        self.milliseconds: list[float] = []

    def step(self, pixels: Tensor, labels: Tensor) -> None:
        """Take one step and note its time."""
        started = time.perf_counter()
        self.trainer.step(pixels, labels, self.optimizer, self.layers)
        synchronize(pixels.device)
        self.milliseconds.append(1e3 * (time.perf_counter() - started))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="vgg-small-ternary")
    parser.add_argument("--set", dest="assignments", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=15)
    arguments = parser.parse_args()
    recipe = override(find_recipe(arguments.recipe), arguments.assignments)
    torch.set_num_threads(recipe.threads or torch.get_num_threads())
    world = World(0, 1, find_device(arguments.device))
    batch = recipe.phases[-2 if len(recipe.phases) > 1 else -1].batch_size
    raw = torch.randint(0, 256, (max(2000, 4 * batch), *model_row(recipe.model).input_shape))
    labels = torch.randint(0, 10, (len(raw),))
    images = TrainingImages.of(raw.byte(), labels, recipe.augmentation, world.device)
    batches = endless(images, batch)
    subjects = {name: Subject(recipe, name, images, world) for name in ("float", "quantized")}
    pipeline = []
    for _ in range(WARM_UP + arguments.steps):
        synchronize(world.device)
        started = time.perf_counter()
        pixels, wanted = next(batches)
        synchronize(world.device)
        pipeline.append(1e3 * (time.perf_counter() - started))
        for subject in subjects.values():
            subject.step(pixels, wanted)
    median = {name: statistics.median(s.milliseconds[WARM_UP:]) for name, s in subjects.items()}
    feed = statistics.median(pipeline[WARM_UP:])
    print(f"{recipe.name}: batch {batch}, {torch.get_num_threads()} threads, {recipe.compute}")
    print(f"float step      {median['float']:9.2f} ms")
    ratio = median["quantized"] / median["float"]
    print(f"quantized step  {median['quantized']:9.2f} ms, {ratio:.2f} times the float step")
    print(f"data pipeline   {feed:9.2f} ms, {100 * feed / median['quantized']:.1f} % of a quantized step")


if __name__ == "__main__":
    main()
