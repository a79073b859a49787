"""Several workers of one study on this machine, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import click
import torch

from runtime.errors import GatefoldError
from toolchain.data import load as load_data
from toolchain.pruning.study import Notice, Study, outcome

POLL_SECONDS = 0.2


def work_together(
    study: Study, count: int, data_dir: Path | None, device: str, watch: Callable[[int], None], quiet: bool
) -> None:
    """Run ``count`` workers until no job is left; ``watch`` is told how many of the study's jobs are done.

    Each loads the data set for itself. Unless ``quiet``, they print a line on standard error for every run.
    Raises GatefoldError when they died and left jobs undone; a single one's job is done by another.
    """
    with _processes(study, count, data_dir, device, quiet) as workers:
        while any(worker.is_alive() for worker in workers):
            watch(study.finished())
            time.sleep(POLL_SECONDS)
    left = set(study.outstanding()) - set(study.errors())
    if left:
        codes = ", ".join(str(worker.exitcode) for worker in workers)
        raise GatefoldError(
            f"workers ended with codes {codes} and left {len(left)} runs; go on with --resume"
        )


@contextmanager
def _processes(
    study: Study, count: int, data_dir: Path | None, device: str, quiet: bool
) -> Iterator[list[BaseProcess]]:
    """Started workers, which are killed if the block fails: whatever they do can be killed at any time.

    They inherit that SIGINT is ignored, so that Ctrl-C on a terminal reaches this process alone.
    """
    context = multiprocessing.get_context("spawn")
    arguments = (study, data_dir, device, count, quiet)
    workers = [context.Process(target=_work, args=arguments, daemon=True) for _ in range(count)]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for worker in workers:
            worker.start()
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        yield workers
    except BaseException:
        for worker in workers:
            worker.terminate()
        raise
    finally:
        for worker in workers:
            worker.join()


def _work(study: Study, data_dir: Path | None, device: str, count: int, quiet: bool) -> None:
    """The life of a worker. Cores are divided among the workers, if the recipe does not fix its threads."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))
    try:
        dataset = load_data(study.plan.settings.recipe.dataset, data_dir)
        study.work(dataset, device, partial(_tell, quiet))
    except GatefoldError as error:
        click.echo(f"gatefold: {error}", err=True)
        sys.exit(error.exit_code)


def _tell(quiet: bool, notice: Notice) -> None:
    if not quiet and notice.event is None:
        click.echo(outcome(notice), err=True)
