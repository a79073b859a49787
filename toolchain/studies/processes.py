"""Several workers of one study on this machine, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

import click
import torch

from runtime.errors import GatefoldError

POLL_SECONDS = 0.2


@contextmanager
def worker_processes(work: Callable[..., None], count: int, *arguments: Any) -> Iterator[list[BaseProcess]]:
    """``count`` started processes, each of which does ``work(*arguments)``.

    They are killed if the block fails: whatever they do can be killed at any time. They inherit that SIGINT
    is held back, so that Ctrl-C on a terminal reaches this process alone; what comes while they start is
    only held back until they have.
    """
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_live, args=(work, count, arguments), daemon=True) for _ in range(count)
    ]
    resource_tracker.ensure_running()  # which else would unblock SIGINT as the first worker starts
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        try:
            for worker in workers:
                worker.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
        yield workers
    except BaseException:
        for worker in workers:
            if worker.pid is not None:
                worker.terminate()
        raise
    finally:
        for worker in workers:
            if worker.pid is not None:
                worker.join()


def _live(work: Callable[..., None], count: int, arguments: tuple[Any, ...]) -> None:
    """The life of a worker. Cores are divided among the workers, if the recipe does not fix its threads."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))
    try:
        work(*arguments)
    except GatefoldError as error:
        click.echo(f"gatefold: {error}", err=True)
        sys.exit(error.exit_code)
