"""When, how often and where an orthogonal connection is used, in float32 (arXiv 2505.11881, section 4).

    python -m benchmarks.switching [DATA] [--out runs/switching] [--seeds 0 1 2 3 4]

Half of the epochs with one connection and half with the other; with a probability in each pass; in some of
the blocks. All against linear connections throughout, paired over the seeds. Writes NAME.md and NAME.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.connections.runs import RECIPES
from benchmarks.connections.tables import Comparison, compare
from benchmarks.study import command_line, conditions, exit_code, finish, with_spread, write_study
from toolchain.config import load_recipe, override
from toolchain.data import load
from toolchain.tables import Table, to_markdown
from toolchain.training import RunResult

ORTHOGONAL = ("options.connection=orthogonal",)

VARIANTS: dict[str, tuple[str, ...]] = {
    "linear": (),
    "linear, then orthogonal": ("phases.qat.connection=orthogonal",),
    "orthogonal, then linear": (*ORTHOGONAL, "phases.qat.connection=linear"),
    "orthogonal": ORTHOGONAL,
    **{
        f"orthogonal, probability {p}": (*ORTHOGONAL, f"options.probability={p}") for p in (0.25, 0.5, 0.75)
    },
    **{
        f"orthogonal, {pattern}": (*ORTHOGONAL, f"options.pattern={pattern}")
        for pattern in ("odd", "even", "first-half", "second-half")
    },
}
"""The rows, as ``gatefold train --set`` takes them. Phases are called ``pretrain`` and ``qat``."""

SHARED = ("options.preactivation=true", "phases.qat.precision=float")

HEADERS = ("connections", "seeds", "accuracy, %", "to linear, points", "at 5 %")

VERDICTS = {True: "yes", False: "n.s.", None: "-"}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command_line("switching", __doc__)
    made.add_argument("data", nargs="?", choices=RECIPES, default="digits", help="[default: digits]")
    made.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2, 3, 4), help="[default: 0 to 4]")
    return made


def train_all(options: argparse.Namespace) -> dict[str, dict[int, RunResult]]:
    """Every run, by variant and seed: found, or trained now. Raises InputError."""
    dataset = partial(load, options.data, options.data_dir)
    results: dict[str, dict[int, RunResult]] = {name: {} for name in VARIANTS}
    for seed in options.seeds:
        for name, assignments in VARIANTS.items():
            recipe = override(load_recipe(RECIPES[options.data]), [*SHARED, *assignments, f"seed={seed}"])
            recipe = recipe.with_epochs(options.epochs) if options.epochs else recipe
            directory = options.out / f"{options.data}-{name.replace(', ', '-').replace(' ', '-')}-s{seed}"
            results[name][seed] = finish(recipe, dataset, directory)
            print(f"{name}, seed {seed}: {100 * results[name][seed].accuracy:.2f} %", flush=True)
    return results


def accuracies(results: Mapping[int, RunResult]) -> dict[int, float]:
    """In percent, by seed."""
    return {seed: 100 * result.accuracy for seed, result in results.items()}


def row(name: str, found: Mapping[int, float], baseline: Mapping[int, float]) -> list[str]:
    """One line of the table."""
    against: Comparison | None = None if name == "linear" else compare(found, baseline)
    compared = ["-", "-"]
    if against is not None:
        compared = [with_spread(against.differences, "+"), VERDICTS[against.significant]]
    return [name, str(len(found)), with_spread(list(found.values())), *compared]


def conduct(options: argparse.Namespace) -> None:
    """Train, tabulate, write. Raises InputError."""
    results = train_all(options)
    by_variant = {name: accuracies(found) for name, found in results.items()}
    rows = [row(name, found, by_variant["linear"]) for name, found in by_variant.items()]
    markdown = to_markdown(Table(options.data, HEADERS, rows, range(1, len(HEADERS))))
    first = next(iter(results["linear"].values()))
    record: dict[str, Any] = {**conditions(first), "accuracies": by_variant}
    write_study(options.out / f"switching-{options.data}", markdown, record)
    print(f"\n{markdown}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    return exit_code(conduct, parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
