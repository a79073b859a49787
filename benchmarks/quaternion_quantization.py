"""What each choice of quantization costs a trained, pruned network, with training and by calibration alone.

    python -m benchmarks.quaternion_quantization RUN [RUN ...] [--epochs N] [--data-dir D] [--out DIR]

RUN: directories of plain networks that differ in their seed, such as tickets of ``gatefold prune``. One
choice at a time departs from ternary weights, 2-bit activations and one step a layer. Prints a table of
means and sample deviations over the runs, in percent, and the bytes of the weights. Finished runs are not
repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runtime.errors import GatefoldError
from runtime.files import atomic_write
from runtime.ops import Conv2d, Dense
from toolchain.data import load
from toolchain.pipeline import lower_run
from toolchain.quantize import qat_phase, quantized_recipe, starting_state
from toolchain.tables import Table, to_text
from toolchain.training import load_run, train
from toolchain.training.run import RESULT_FILE

IMAGES = 500
"""Training images to calibrate on."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to quantize; the defaults are what the others depart from."""

    levels: int = 3
    bits: int = 2
    steps: str = "layer"
    rule: str = "quantile-span"

    @property
    def name(self) -> str:
        """What tells this choice from the others."""
        return f"n{self.levels}-b{self.bits}-{self.steps}-{self.rule}"


BASE = Choice()
CHOICES = {
    "base: ternary, 2 bits, a step a layer": BASE,
    "a step a component": replace(BASE, steps="component"),
    "rule twn": replace(BASE, rule="twn"),
    "rule max-abs": replace(BASE, rule="max-abs"),
    "5 levels": replace(BASE, levels=5),
    "5 levels, a step a component": replace(BASE, levels=5, steps="component"),
    "7 levels": replace(BASE, levels=7),
    "15 levels": replace(BASE, levels=15),
    "127 levels": replace(BASE, levels=127),
    "1 bit": replace(BASE, bits=1),
    "3 bits": replace(BASE, bits=3),
    "4 bits": replace(BASE, bits=4),
    "8 bits": replace(BASE, bits=8),
}


@dataclass(frozen=True, slots=True)
class Found:
    """Accuracy in percent of one choice and run, and bytes of the stored weights."""

    accuracy: float
    weight_bytes: int


def measure(run: Path, choice: Choice, epochs: int, data_dir: Path | None, out: Path) -> Found:
    """Quantize ``run`` unless that is done already, and lower the result."""
    directory = out / f"{run.resolve().parent.parent.name}-{run.name}-{choice.name}-e{epochs}"
    if not (directory / RESULT_FILE).exists():
        plain = load_run(run)
        phase = qat_phase(epochs)
        options = {"levels": choice.levels, "bits": choice.bits, "steps": choice.steps}
        recipe = quantized_recipe(plain, run, options, phase)
        recipe = recipe.model_copy(update={"step": recipe.step.model_copy(update={"rule": choice.rule})})
        dataset = load(recipe.dataset, data_dir)
        start = starting_state(plain, recipe, dataset, IMAGES)
        train(recipe, dataset, directory, resume=(directory / "recipe.json").exists(), start=start)
    program, done = lower_run(directory)
    linear = [node.op for node in program.nodes if isinstance(node.op, Conv2d | Dense)]
    return Found(100 * done.result.accuracy, sum(op.weights.stored_bytes for op in linear))


def spread(values: Sequence[float]) -> str:
    """Mean and sample deviation."""
    deviation = f" +- {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, default=Path("quantization-study"))
    arguments = parser.parse_args()
    plain = [100 * load_run(run).result.accuracy for run in arguments.runs]
    print(f"plain networks: {spread(plain)} % ({len(plain)} runs)", flush=True)
    rows, records = [], []
    for name, choice in CHOICES.items():
        found = {
            epochs: [
                measure(run, choice, epochs, arguments.data_dir, arguments.out) for run in arguments.runs
            ]
            for epochs in (0, arguments.epochs)
        }
        cells = [spread([f.accuracy for f in each]) for each in found.values()]
        size = statistics.mean(f.weight_bytes for f in found[arguments.epochs])
        rows.append((name, *cells, f"{size:,.0f}"))
        records.append(
            {"choice": name, "runs": {n: [f.accuracy for f in each] for n, each in found.items()}}
        )
        print(f"{name}: {cells[0]} % calibrated, {cells[1]} % trained", flush=True)
    headers = ("choice", "calibrated %", f"{arguments.epochs} epochs %", "weight bytes")
    print(to_text(Table("Choices", headers, rows, range(1, 4))))
    with atomic_write(arguments.out / "results.json") as temporary:
        temporary.write_text(json.dumps({"plain": plain, "choices": records}, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except GatefoldError as error:
        raise SystemExit(f"error: {error}") from None
