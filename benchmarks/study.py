"""What the studies share: their command line, runs that are resumed, means over seeds, their files."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.errors import GatefoldError, InputError
from runtime.files import atomic_write
from toolchain.cli.main import report_failure
from toolchain.config import Recipe
from toolchain.data import Dataset
from toolchain.training import RunResult, load_run, train
from toolchain.training.run import RECIPE_FILE, RESULT_FILE


def command_line(name: str, description: str) -> argparse.ArgumentParser:
    """The options of ``python -m benchmarks.NAME`` that every study has; ``runs/NAME`` by default."""
    made = argparse.ArgumentParser(
        f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    made.add_argument("--data-dir", type=Path, help="where the files are [default: $GATEFOLD_DATA]")
    made.add_argument("--out", type=Path, default=Path("runs") / name, help="for runs and tables")
    made.add_argument("--figures", type=Path, help="for the figures [default: OUT]")
    made.add_argument("--epochs", type=_epochs, help="of a run in all [default: those of the data set]")
    return made


def _epochs(text: str) -> int:
    """A number of epochs on the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text}")
    return int(text)


def exit_code(conduct: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """Conduct a study; an expected error is one line and its own exit code."""
    try:
        conduct(options)
    except GatefoldError as error:
        return report_failure(error)
    return 0


def stored(recipe: Recipe, directory: Path) -> RunResult:
    """The result of the finished run in ``directory``. Raises InputError for a run of another recipe."""
    found = load_run(directory)
    if found.recipe != recipe:
        raise InputError(f"{directory} must hold a run of the same recipe; choose another --out")
    return found.result


def finish(recipe: Recipe, dataset: Callable[[], Dataset], directory: Path) -> RunResult:
    """The result of ``recipe`` in ``directory``: found there, or trained now, from where it stopped.

    Raises InputError when the directory holds a run of another recipe, and as ``dataset`` and ``train`` do.
    """
    if (directory / RESULT_FILE).exists():
        return stored(recipe, directory)
    return train(recipe, dataset(), directory, resume=(directory / RECIPE_FILE).exists())


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; that of a single value is unknown, and 0 here."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def with_spread(values: Sequence[float], sign: str = "") -> str:
    """``91.00 ± 1.00``, or the single value alone; ``sign``: as in a format, ``+`` to show it."""
    mean, spread = mean_and_spread(values)
    return f"{mean:{sign}.2f}" + f" ± {spread:.2f}" * (len(values) > 1)


def conditions(result: RunResult) -> dict[str, Any]:
    """On what a study was made, as the first of its runs tells."""
    return {
        "dataset": result.dataset,
        "recipe": result.recipe,
        "epochs": result.epochs,
        "hardware": result.hardware,
        "threads": result.threads,
        "versions": result.versions,
    }


def write_study(stem: Path, markdown: str, record: Mapping[str, Any]) -> None:
    """Write ``STEM.md`` and ``STEM.json``. Raises InputError where they cannot be written."""
    for suffix, text in (("md", markdown), ("json", json.dumps(record, indent=1))):
        with atomic_write(stem.parent / f"{stem.name}.{suffix}") as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
