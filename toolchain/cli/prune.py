"""``gatefold prune``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
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
    from toolchain.pruning.results import Point
    from toolchain.pruning.study import Notice, Study

ACCURACIES = {"last": ("last",), "early": ("early",), "both": ("last", "early")}
HEADINGS = {"last": "last epoch %", "early": "early stopping %"}

PERMILLE = 1000
"""Resolution of the bar for a single run."""

Advance = Callable[[float, str], None]
"""Moves the bar to so many runs, and says what is being done."""


def _names(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(","))


def _numbers(_context: click.Context, parameter: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"must be whole numbers with commas between them, not {text!r}") from None


@click.command("prune")
@click.argument("recipe", metavar="RECIPE")
@click.option(
    "--algebra", "algebras", metavar="LIST", callback=_names, help="Networks to compare [real,quaternion]."
)
@click.option("--seeds", default="0", show_default=True, callback=_numbers, help="Seeds, as in 0,1,2.")
@click.option("--rounds", type=int, help="Rounds of pruning, at most [default: 12; with --until: 100].")
@click.option("--until", type=float, help="Stop at so many percent of the dense real network's parameters.")
@click.option(
    "--share",
    type=float,
    default=0.2,
    show_default=True,
    help="Share of the remaining weights to prune in a round.",
)
@click.option(
    "--granularity", default="weight", show_default=True, help="weight, quaternion or channel goes as one."
)
@click.option(
    "--protocol",
    default="continue",
    show_default=True,
    help="continue: prune and train on; rewind: put the initial weights back each round.",
)
@click.option(
    "--accuracy",
    "accuracies",
    type=click.Choice(list(ACCURACIES)),
    default="last",
    show_default=True,
    help="Which to measure: after the last epoch, by early stopping, or both.",
)
@click.option(
    "--early-epochs", type=int, help="Epochs at most with early stopping [default: the recipe's]."
)
@click.option("--patience", type=int, default=10, show_default=True, help="Epochs, of early stopping.")
@click.option(
    "--validation", type=float, default=0.1, show_default=True, help="Held-out share, of early stopping."
)
@click.option("--epochs", type=click.IntRange(1), help="Epochs of every run, phases in proportion.")
@set_option
@data_dir_option
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--workers", type=PARALLEL, default=1, show_default=True, help="Processes, here.")
@click.option("--storage", metavar="URL", help="A database server for the queue [default: a file].")
@click.option("--resume", is_flag=True, help="Go on with the study, or work on it as well.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The study's directory [default: studies/NAME]."
)
@json_option
def command(
    recipe: str,
    assignments: tuple[str, ...],
    epochs: int | None,
    data_dir: Path | None,
    device: str,
    workers: int,
    storage: str | None,
    resume: bool,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Prune a network round by round, and measure what every round leaves of it.

    RECIPE is a recipe, a model or a .toml file, as in train. The study is a directory of training runs.
    Stopped in any way, it goes on with --resume; the same command with --resume, in other processes or on
    other machines that share the directory, takes part in the work.
    """
    with extra("prune", "pruning"):
        from toolchain.config import override
        from toolchain.data import load as load_data
        from toolchain.pruning.settings import make_settings
        from toolchain.pruning.study import open_study
        from toolchain.pruning.workers import work_together
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError("gatefold prune must be started without torchrun; use --workers")
    chosen = override(find_recipe(recipe), assignments)
    chosen = chosen.with_epochs(epochs) if epochs else chosen
    settings = make_settings(chosen, **options | {"accuracies": ACCURACIES[options["accuracies"]]})
    dataset = load_data(chosen.dataset, data_dir, tell_download)
    directory = out or Path("studies") / chosen.name
    study = open_study(directory, settings, resume, storage, command_line())
    study.retry()
    quiet = as_json or sys.stderr.isatty()
    with _bar(study) as advance:
        if workers == 1:
            study.work(dataset, device, partial(_follow, advance, quiet, set()))
        else:
            del dataset
            work_together(study, workers, data_dir, device, lambda done: advance(done, ""), quiet)
    _report(study, as_json)


@contextmanager
def _bar(study: Study) -> Iterator[Advance]:
    """A bar over the runs of ``study`` on standard error, shown only on a terminal."""
    jobs = len(study.plan.jobs())
    with click.progressbar(
        length=PERMILLE * jobs,
        label=study.plan.settings.recipe.name,
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
        width=20,
        show_eta=False,
        item_show_func=lambda text: text,
    ) as bar:
        yield lambda done, text: bar.update(int(PERMILLE * done) - bar.pos, f"{int(done)}/{jobs} {text}")


def _follow(advance: Advance, quiet: bool, warned: set[str], notice: Notice) -> None:
    """Move the bar along with the epochs of the present run; print its outcome unless ``quiet``.

    A warning is printed once, not for every run; ``warned`` holds those that were.
    """
    from toolchain.pruning.study import outcome

    event = notice.event
    if event and event.message:
        if event.message not in warned:
            click.echo(f"warning: {notice.job.run}: {event.message}", err=True)
        warned.add(event.message)
    elif event:
        part = (event.epoch - 1 + event.batch / (event.batches + 1)) / event.epochs
        advance(notice.finished + part, f"{notice.job.run} epoch {event.epoch}/{event.epochs}")
    else:
        advance(notice.finished, notice.job.run)
        if not quiet:
            click.echo(outcome(notice), err=True)


def _report(study: Study, as_json: bool) -> None:
    """Write and print what was found. Raises GatefoldError when runs have failed."""
    from toolchain.pruning.plot import PICTURE_FILE
    from toolchain.pruning.results import RESULTS_FILE, TABLE_FILE, summarize

    tickets, errors = study.publish(), study.errors()
    points = summarize(tickets)
    found = {
        "study": str(study.directory),
        "reference_parameters": study.plan.reference,
        "points": [asdict(point) for point in points],
        "tickets": [asdict(ticket) for ticket in tickets],
        "failed": errors,
    }
    text = (
        f"{_table(points, study.plan.settings.accuracies)}\n"
        f"remaining: % of the {study.plan.reference:,} parameters of the dense real network\n"
        f"{study.directory}: runs, {RESULTS_FILE}, {TABLE_FILE}, {PICTURE_FILE}"
    )
    emit(found, as_json, text)
    if errors:
        run, reason = next(iter(errors.items()))
        raise GatefoldError(
            f"{len(errors)} of {len(study.plan.jobs())} runs failed, the first {run}: {reason}"
        )


def _table(points: Sequence[Point], protocols: Sequence[str]) -> str:
    """One row for each network and round: what remains, and the accuracies."""
    found = {(p.network, p.round, p.accuracy_protocol): p for p in points}
    rows = []
    for network, index in dict.fromkeys((point.network, point.round) for point in points):
        cells = [found.get((network, index, protocol)) for protocol in protocols]
        percent = next(cell.percent for cell in cells if cell)
        rows.append([network, index, f"{percent:.2f}", *map(_cell, cells)])
    return table(["network", "round", "remaining %", *(HEADINGS[p] for p in protocols)], rows)


def _cell(point: Point | None) -> str:
    if point is None:
        return "-"
    deviation = f" +- {100 * point.deviation:.2f}" if point.seeds > 1 else ""
    return f"{100 * point.mean:.2f}{deviation}"
