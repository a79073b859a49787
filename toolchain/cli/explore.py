"""``gatefold explore``."""

from __future__ import annotations

import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.errors import GatefoldError, InputError
from toolchain.cli.common import (
    PARALLEL,
    command_line,
    data_dir_option,
    emit,
    extra,
    json_option,
    set_option,
    table,
    tell_download,
)
from toolchain.cli.train import find_recipe

if TYPE_CHECKING:
    from toolchain.explore.exploration import Exploration
    from toolchain.explore.ledger import Budget, Row
    from toolchain.explore.results import Outcome

OBJECTIVES = ("gates", "luts", "bytes", "latency")
SAMPLERS = ("tpe", "nsga2", "random")


@click.command("explore")
@click.argument("recipe", metavar="MODEL|RECIPE")
@click.option(
    "--space",
    type=click.Path(path_type=Path),
    help="A .toml file of keys, as of --set, and what each may be: width = [8, 16], "
    "density = {low = 0.1, high = 0.3, log = true} [default: the recipe's own].",
)
@click.option(
    "--objective",
    type=click.Choice(OBJECTIVES),
    default="gates",
    show_default=True,
    help="What to make small: gate equivalents or look-up tables of the circuit, bytes of flash of the C, "
    "or clocks for an image.",
)
@click.option("--fit", multiple=True, metavar="DEVICE", help="A device that it must fit; repeatable.")
@click.option(
    "--max",
    "maxima",
    multiple=True,
    metavar="NAME=NUMBER",
    help="A limit: gates, lut4, lut6, registers, clocks, flash, ram, weights or macs; repeatable.",
)
@click.option(
    "--trials", type=click.IntRange(1), default=60, show_default=True, help="Networks to train, all in all."
)
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Begin no trial after so many.")
@click.option(
    "--refine", type=click.IntRange(1), metavar="EPOCHS", help="Train the front again, for so many epochs."
)
@click.option("--workers", type=PARALLEL, default=1, show_default=True, help="Processes, here.")
@click.option("--sampler", type=click.Choice(SAMPLERS), default="tpe", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the sampler.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs of every trial, phases in proportion.")
@set_option
@click.option(
    "--reference",
    "references",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PROGRAM",
    help="A program to show beside the front; repeatable.",
)
@data_dir_option
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--storage", metavar="URL", help="A database server for the trials [default: a file].")
@click.option("--resume", is_flag=True, help="Go on with the exploration, or work on it as well.")
@click.option("--out", type=click.Path(path_type=Path), help="Its directory [default: explorations/NAME].")
@json_option
def command(
    recipe: str,
    space: Path | None,
    maxima: tuple[str, ...],
    trials: int,
    minutes: float | None,
    refine: int | None,
    workers: int,
    epochs: int | None,
    assignments: tuple[str, ...],
    references: tuple[Path, ...],
    data_dir: Path | None,
    device: str,
    storage: str | None,
    resume: bool,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Search a space of networks for the best accuracy at every cost.

    MODEL or RECIPE is trained at many points of its space. What cannot fit is rejected before it is
    trained, and what falls behind is stopped; each finished trial is a run directory with its program. The
    accuracy that decides is that on held-out training images; that on the test images is reported.

    Stopped in any way, it goes on with --resume; the same command with --resume, in other processes or on
    other machines that share the directory, takes part in the work.
    """
    with extra("explore", "exploration"):
        from toolchain.config import override
        from toolchain.data import load as load_data
        from toolchain.explore.exploration import open_exploration
        from toolchain.explore.ledger import Budget
        from toolchain.explore.plot import draw
        from toolchain.explore.results import read_reference
        from toolchain.explore.settings import make_settings
        from toolchain.explore.space import load_axes
        from toolchain.explore.workers import work_here, work_together
        from toolchain.models import models
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError("gatefold explore must be started without torchrun; use --workers")
    source = "" if recipe in models() else Path(recipe).stem
    axes, where = load_axes(space, source)
    chosen = override(find_recipe(recipe), assignments)
    chosen = chosen.with_epochs(epochs) if epochs else chosen
    settings = make_settings(chosen, axes, where, maxima, **options)
    shown = [read_reference(path, settings.limits) for path in references]
    dataset = load_data(chosen.dataset, data_dir, tell_download)
    directory = out or Path("explorations") / chosen.name
    words = _train_command(recipe, assignments, epochs, settings.recipe.validation)
    exploration = open_exploration(directory, settings, resume, storage, command_line(), words)
    deadline = time.monotonic() + 60 * minutes if minutes else math.inf
    budget = Budget(trials, deadline, refine or 0)
    quiet = as_json or sys.stderr.isatty()
    with exploration.open() as ledger:
        before = sum(row.trained for row in ledger.rows())
    with _bar(exploration.settings.recipe.name, budget, before) as watch:
        if workers == 1:
            work_here(exploration, budget, dataset, device, watch, quiet)
        else:
            del dataset
            work_together(exploration, budget, workers, data_dir, device, watch, quiet)
    _report(exploration, shown, draw, as_json)


def _train_command(recipe: str, sets: Sequence[str], epochs: int | None, validation: float) -> str:
    """What trains the recipe as it stands, the share held out included."""
    words = ["gatefold", "train", recipe]
    words += [word for text in (*sets, f"validation={validation}") for word in ("--set", text)]
    return shlex.join([*words, "--epochs", str(epochs)] if epochs else words)


@contextmanager
def _bar(name: str, budget: Budget, before: int) -> Iterator[Callable[[list[Row]], None]]:
    """A bar over the trials on standard error, shown only on a terminal; it estimates the time left.

    ``before``: how many were trained already.
    """
    start = time.monotonic()
    with click.progressbar(
        length=budget.trials,
        label=name,
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
        width=20,
        show_eta=False,
        show_percent=False,
        item_show_func=lambda text: text,
    ) as bar:

        def watch(rows: list[Row]) -> None:
            trained = sum(row.trained for row in rows if row.refines is None)
            done = trained - before
            seconds = (time.monotonic() - start) / done * (budget.trials - trained) if done else math.inf
            bar.update(min(trained, budget.trials) - bar.pos, _status(rows, trained, budget, seconds))

        yield watch


def _status(rows: list[Row], trained: int, budget: Budget, seconds: float) -> str:
    best = max((row.accuracy for row in rows if row.fate == "finished"), default=0.0)
    parts = [f"{trained}/{budget.trials} trials"]
    parts += [f"best {100 * best:.2f} %"] if best else []
    parts += [f"{sum(row.fate == 'rejected' for row in rows)} rejected"]
    parts += [f"{seconds / 60:.0f} min left"] if 0 < seconds < math.inf else []
    return ", ".join(parts)


def _report(
    exploration: Exploration, references: Sequence[Any], draw: Callable[..., None], as_json: bool
) -> None:
    """Write and print what was found. Raises GatefoldError when no trial was finished, or some failed."""
    from toolchain.explore.exploration import failures
    from toolchain.explore.plot import PICTURES
    from toolchain.explore.results import FRONT_FILE, FRONT_TABLE, TRIALS_TABLE, Outcome, publish
    from toolchain.studies.members import study_lock

    with exploration.open() as ledger:
        outcome = Outcome(exploration.settings, ledger.rows(), references)
    directory = exploration.directory
    with study_lock(directory):
        publish(directory, outcome)
        draw(outcome, _title(outcome), directory)
    files = ", ".join([FRONT_TABLE, FRONT_FILE, TRIALS_TABLE, *PICTURES])
    text = f"{_front_table(outcome)}\n{_counts(outcome)}\n{directory}: trials/, {files}"
    emit({"exploration": str(directory), **outcome.to_json()}, as_json, text)
    failed = failures(list(outcome.rows))
    if failed:
        run, reason = next(iter(failed.items()))
        raise GatefoldError(f"{len(failed)} trials failed, the first {run}: {reason}")


def _title(outcome: Outcome) -> str:
    settings = outcome.settings
    limits = [*settings.fit, *(f"{name} at most {most:,}" for name, most in settings.most.items())]
    return ", ".join([settings.recipe.name, *limits])


def _counts(outcome: Outcome) -> str:
    counts = outcome.counts
    parts = [f"{counts['trained']} trials trained ({counts['stopped']} stopped early)"]
    parts += [f"{counts['rejected']} rejected untrained"]
    parts += [f"{counts['refined']} refined"] if counts["refined"] else []
    parts += [f"{counts['running']} still running"] if counts["running"] else []
    return ", ".join(parts)


def _front_table(outcome: Outcome) -> str:
    """One row for each point of the front, from the cheapest to the most accurate."""
    from toolchain.explore.settings import folding_of

    short = {key: key.rpartition(".")[2] for key in outcome.settings.axes if key != "folding"}
    headers = ["run", "validation %", "test %", "gates", "LUT4", "flash B", "clocks", "folding"]
    rows = [
        [
            row.run,
            f"{100 * row.accuracy:.2f}",
            f"{100 * (row.test or 0.0):.2f}",
            *(f"{row.cost.measures[name]:,}" for name in ("gates", "lut4", "flash", "clocks")),
            folding_of(row.point),
            *(_short(row.point[key]) for key in short),
        ]
        for row in outcome.front
        if row.cost
    ]
    return table([*headers, *short.values()], rows)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
