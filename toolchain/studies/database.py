"""Optuna's storage of a study: a file beside the runs, or a database server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from runtime.errors import InputError
from toolchain.studies.members import study_lock

DATABASE_FILE = "study.db"


@contextmanager
def open_database(
    directory: Path, name: str, storage: str | None, directions: Sequence[str], remedy: str
) -> Iterator[optuna.Study]:
    """Optuna's study ``name`` for as long as the block runs; it is made if there is none.

    ``storage``: the URL of a database that SQLAlchemy can open; without it a file in ``directory``.
    ``directions``: of its objectives. ``remedy``: for a file that is damaged. Raises InputError when it
    cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = directory.resolve() / DATABASE_FILE
    with study_lock(directory):
        try:
            database = RDBStorage(storage or f"sqlite:///{file}")
            sampler = optuna.samplers.RandomSampler()  # the default one is slow to make
            study = optuna.create_study(
                storage=database,
                sampler=sampler,
                study_name=name,
                directions=list(directions),
                load_if_exists=True,
            )
        except Exception as error:  # whatever a database or its driver raises
            reason = str(error).strip().partition("\n")[0]
            what, advice = ("--storage", "") if storage else (str(file), f"; {remedy}")
            raise InputError(f"{what} must be a database that can be opened: {reason}{advice}") from error
    try:
        yield study
    finally:
        database.remove_session()
        database.engine.dispose()
