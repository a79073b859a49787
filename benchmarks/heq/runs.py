"""The training runs behind the studies: each trained once, into a directory named after what it varies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.study import finish
from toolchain.config import Recipe, load_recipe, override
from toolchain.data import load
from toolchain.quantizers import entropy_bits
from toolchain.training import RunResult
from toolchain.training.run import METRICS_FILE


@dataclass(frozen=True, slots=True)
class Setting:
    """What all runs on one data set share.

    ``recipe``: a shipped one, with two quantized phases ``qat`` and ``finetune``. ``assignments``: as for
    ``gatefold train --set``. ``epochs``: of all phases together. ``few``: the number of epochs between two
    updates of the steps that the study of frequency looks at. ``levels``: those of the study of levels.
    """

    recipe: str
    assignments: tuple[str, ...]
    epochs: int
    seeds: tuple[int, ...]
    few: int
    levels: tuple[int, ...]


SETTINGS = {
    "digits": Setting(
        "digits-ternary",
        ("options.width=16",),
        epochs=26,
        seeds=(0, 1, 2),
        few=5,
        levels=(2, 3, 4, 5, 7, 8, 15, 127),
    ),
    "fashion-mnist": Setting(
        "fashion-or",
        ("options.width=16", "threads=1", "compute.mixed=bfloat16"),
        epochs=6,
        seeds=(0,),
        few=2,
        levels=(2, 3, 5, 127),
    ),
}


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to quantize; the defaults are the paper's: ternary, the quantile rule, once an epoch.

    ``every``: as ``step.every`` of a recipe. ``twin``: not quantized at all, the float32 twin.
    """

    levels: int = 3
    rule: str = "quantile-span"
    every: str | int = "epoch"
    zero_median: bool = False
    twin: bool = False

    @property
    def name(self) -> str:
        """What tells this variant's runs from others: ``n3-quantile-span-epoch``."""
        parts = [f"n{self.levels}", self.rule, str(self.every)] + ["zero-median"] * self.zero_median
        return "twin" if self.twin else "-".join(parts)

    @property
    def assignments(self) -> list[str]:
        """The variant as ``gatefold train --set`` takes it."""
        if self.twin:
            return ["options.twin=true", "phases.qat.precision=float", "phases.finetune.precision=float"]
        return [
            f"options.levels={self.levels}",
            f"step.rule={self.rule}",
            f"step.every={self.every}",
            f"step.zero_median={str(self.zero_median).lower()}",
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One finished run. ``lines``: its ``metrics.jsonl``, of which the quantized epochs have codes."""

    variant: Variant
    seed: int
    result: RunResult
    lines: tuple[dict[str, Any], ...]

    @property
    def quantized(self) -> list[dict[str, Any]]:
        """The lines of the quantized epochs, oldest first."""
        return [line for line in self.lines if line["precision"] == "quantized"]

    @property
    def accuracy(self) -> float:
        """Test accuracy of the last epoch's weights, in percent."""
        return 100 * self.result.accuracy

    @property
    def layers(self) -> list[str]:
        """Paths of the quantized layers, from the image to the scores; none of a twin."""
        return list(self.lines[-1]["layers"])

    def histograms(self, layer: str) -> np.ndarray:
        """Counts of the codes, lowest first, after every quantized epoch: int64 (epochs, levels)."""
        return np.array([line["layers"][layer]["histogram"] for line in self.quantized])

    def steps(self, layer: str) -> np.ndarray:
        """The step during the last batch of every quantized epoch: float64 (epochs,)."""
        return np.array([line["layers"][layer]["step"] for line in self.quantized])

    def shares(self) -> np.ndarray:
        """Share (0..1) of every code among all weights after every quantized epoch: (epochs, levels)."""
        counts = np.sum([self.histograms(layer) for layer in self.layers], axis=0)
        return counts / counts.sum(axis=1, keepdims=True)

    def entropy(self) -> np.ndarray:
        """Bits per weight after every quantized epoch: the layers' entropies, averaged over the weights."""
        counts = [torch.from_numpy(self.histograms(layer)) for layer in self.layers]
        bits = [[entropy_bits(histogram) for histogram in layer] for layer in counts]
        return np.average(bits, axis=0, weights=[int(layer[0].sum()) for layer in counts])

    def imbalance(self) -> np.ndarray:
        """Share of positive less share of negative codes (-1..1) in every layer at the end: (layers,)."""
        last = [self.histograms(layer)[-1] for layer in self.layers]
        half = self.variant.levels // 2
        return np.array([(h[-half:].sum() - h[:half].sum()) / h.sum() for h in last])

    def fullest(self) -> float:
        """Largest share (0..1) of one code in any layer at the end."""
        return max(float(layer["fullest"]) for layer in self.lines[-1]["layers"].values())

    def seconds(self) -> float:
        """Duration of the fastest epoch of the phase ``qat``: other work on the machine only slows it."""
        return min(float(line["seconds"]) for line in self.lines if line["phase"] == "qat")


def recipe_of(setting: Setting, variant: Variant, seed: int, epochs: int | None = None) -> Recipe:
    """The recipe of one run; ``epochs`` in all, those of the setting by default. Raises InputError."""
    assignments = [*setting.assignments, *variant.assignments, f"seed={seed}"]
    return override(load_recipe(setting.recipe), assignments).with_epochs(epochs or setting.epochs)


def run_all(
    variants: Iterable[Variant],
    data: str,
    out: Path,
    data_dir: Path | None = None,
    seeds: Sequence[int] = (),
    epochs: int | None = None,
) -> Iterator[Outcome]:
    """Finish the runs of ``variants`` on data set ``data``, seed by seed, in folders of ``out``.

    ``seeds`` and ``epochs`` replace those of the setting. Raises InputError as loading and training do.
    """
    dataset = cache(partial(load, data, data_dir))
    setting = SETTINGS[data]
    for seed in seeds or setting.seeds:
        for variant in dict.fromkeys(variants):
            directory = out / f"{data}-{variant.name}-s{seed}"
            result = finish(recipe_of(setting, variant, seed, epochs), dataset, directory)
            metrics = (directory / METRICS_FILE).read_text(encoding="utf-8")
            lines = tuple(json.loads(line) for line in metrics.splitlines())
            yield Outcome(variant, seed, result, lines)
