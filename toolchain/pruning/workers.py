"""Several workers of one study on this machine, each in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from runtime.errors import GatefoldError
from toolchain.data import load as load_data
from toolchain.pruning.study import Notice, Study, outcome
from toolchain.studies.processes import POLL_SECONDS, worker_processes


def work_together(
    study: Study, count: int, data_dir: Path | None, device: str, watch: Callable[[int], None], quiet: bool
) -> None:
    """Run ``count`` workers until no job is left; ``watch`` is told how many of the study's jobs are done.

    Each loads the data set for itself. Unless ``quiet``, they print a line on standard error for every run.
    Raises GatefoldError when they died and left jobs undone; a single one's job is done by another.
    """
    with worker_processes(_work, count, study, data_dir, device, quiet) as workers:
        while any(worker.is_alive() for worker in workers):
            watch(study.finished())
            time.sleep(POLL_SECONDS)
    left = set(study.outstanding()) - set(study.errors())
    if left:
        codes = ", ".join(str(worker.exitcode) for worker in workers)
        raise GatefoldError(
            f"workers ended with codes {codes} and left {len(left)} runs; go on with --resume"
        )


def _work(study: Study, data_dir: Path | None, device: str, quiet: bool) -> None:
    dataset = load_data(study.plan.settings.recipe.dataset, data_dir)
    study.work(dataset, device, partial(_tell, quiet))


def _tell(quiet: bool, notice: Notice) -> None:
    if not quiet and notice.event is None:
        click.echo(outcome(notice), err=True)
