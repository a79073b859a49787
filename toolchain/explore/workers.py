"""Workers of one exploration on this machine: in this process, or each in one of its own."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import click

from runtime.errors import GatefoldError
from toolchain.data import Dataset
from toolchain.data import load as load_data
from toolchain.explore.exploration import Exploration, Watch
from toolchain.explore.ledger import FINISHED, STOPPED, Budget, Row
from toolchain.studies.processes import worker_processes

POLL_SECONDS = 1.0


def outcome_line(row: Row) -> str:
    """One line for a trial that was trained, or failed; nothing for others."""
    if row.fate == FINISHED and row.cost:
        parts = [f"{100 * row.accuracy:.2f} % validation", f"{row.cost.measures['gates']:,} gates"]
        parts += [f"{row.cost.measures['lut4']:,} LUT4", f"{row.seconds:.0f} s"]
        return f"{row.run}: {', '.join(parts)}{'' if row.cost.fits else ', does not fit'}"
    if row.fate == STOPPED:
        return f"{row.run}: stopped after epoch {len(row.curve)} at {100 * row.accuracy:.2f} % validation"
    return f"{row.run}: failed: {row.error}" if row.error else ""


def work_here(
    exploration: Exploration, budget: Budget, dataset: Dataset, device: str, watch: Watch, quiet: bool
) -> None:
    """Be the one worker."""
    exploration.work(budget, dataset, device, watch, partial(_tell, quiet))


def work_together(
    exploration: Exploration,
    budget: Budget,
    count: int,
    data_dir: Path | None,
    device: str,
    watch: Watch,
    quiet: bool,
) -> None:
    """Run ``count`` workers until there is nothing left to do. Each loads the data set for itself.

    Raises GatefoldError when they died and left trials behind; a single one's trial is done by another.
    """
    with (
        exploration.open() as ledger,
        worker_processes(_work, count, exploration, budget, data_dir, device, quiet) as workers,
    ):
        while any(worker.is_alive() for worker in workers):
            watch(ledger.rows())
            time.sleep(POLL_SECONDS)
        left = [row for row in ledger.rows() if not row.fate]
    codes = [worker.exitcode for worker in workers]
    if left or all(codes):
        words = ", ".join(map(str, codes))
        raise GatefoldError(
            f"workers ended with codes {words} and left {len(left)} trials; go on with --resume"
        )


def _work(
    exploration: Exploration, budget: Budget, data_dir: Path | None, device: str, quiet: bool
) -> None:
    dataset = load_data(exploration.settings.recipe.dataset, data_dir)
    exploration.work(budget, dataset, device, lambda _rows: None, partial(_tell, quiet))


def _tell(quiet: bool, row: Row) -> None:
    line = outcome_line(row)
    if line and not quiet:
        click.echo(line, err=True)
