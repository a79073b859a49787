"""Who works on a study: each worker holds a lock of its own for as long as it lives.

The operating system releases it even when the process is killed; from then on what the worker had taken
counts as lost. Nothing is timed: a worker that merely sleeps keeps what it has.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

STUDY_LOCK = "study.lock"
WORKERS_FOLDER = "workers"


def study_lock(directory: Path) -> FileLock:
    """The lock under which the study in ``directory`` is changed."""
    return FileLock(directory / STUDY_LOCK)


@contextmanager
def membership(directory: Path) -> Iterator[str]:
    """Be a worker of the study in ``directory`` for as long as the block runs; yields its name."""
    worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    (directory / WORKERS_FOLDER).mkdir(parents=True, exist_ok=True)
    alive = FileLock(_lock_file(directory, worker))
    with alive:
        try:
            yield worker
        finally:
            Path(alive.lock_file).unlink(missing_ok=True)


def is_alive(directory: Path, worker: str | None) -> bool:
    """Whether ``worker`` still works on the study in ``directory``; the lock of a dead one is removed."""
    if worker is None or not (path := _lock_file(directory, worker)).exists():
        return False
    try:
        with FileLock(path, timeout=0):
            path.unlink()
    except Timeout:
        return True
    return False


def _lock_file(directory: Path, worker: str) -> Path:
    return directory / WORKERS_FOLDER / f"{worker}.lock"
