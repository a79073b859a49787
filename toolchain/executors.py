"""What a user may ask of an executor: which ones, their kernel, their threads."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import exporters
from runtime.errors import InputError
from runtime.ir import Program
from runtime.session import ExecutorRow, Session

TUNING = ("kernel", "threads")
"""Keyword arguments of an executor's class that the command line sets."""


def chosen(names: str) -> dict[str, ExecutorRow]:
    """The executors asked for: a comma-separated list, or ``all``. Raises InputError."""
    rows = exporters.executors()
    if names == "all":
        return rows
    picked = [name.strip() for name in names.split(",") if name.strip()]
    if not picked:
        raise InputError(f"--executors must name at least one of {', '.join(rows)}, or be left out")
    for name in picked:
        if name not in rows:
            raise InputError(f"executor must be one of {', '.join(rows)}, not {name!r}")
    return {name: rows[name] for name in picked}


def tuning_of(name: str, row: ExecutorRow) -> frozenset[str]:
    """Which options of ``TUNING`` the executor of that name has. Raises MissingToolError."""
    return frozenset(inspect.signature(row.load(name)).parameters) & frozenset(TUNING)


def open_tuned(
    program: Program, executor: str, kernel: str | None = None, threads: int | None = None
) -> Session:
    """A session with a kernel and a number of threads where they are given.

    Raises InputError for an option that the executor does not have, and as ``Session`` does.
    """
    table = exporters.executors()
    options: dict[str, Any] = {
        name: value for name, value in (("kernel", kernel), ("threads", threads)) if value is not None
    }
    if executor in table and options:
        check_tuning({executor: table[executor]}, options)
    return Session(program, executor, table, **options)


def check_tuning(rows: Mapping[str, ExecutorRow], options: Mapping[str, Any]) -> None:
    """Raise InputError for an option that none of ``rows`` has."""
    for option in options:
        if not any(option in tuning_of(name, row) for name, row in rows.items() if not row.missing()):
            having = [
                name
                for name, row in exporters.executors().items()
                if not row.missing() and option in tuning_of(name, row)
            ]
            raise InputError(
                f"--{option} is for {', '.join(having) or 'no executor'}, not for {', '.join(rows)}; "
                "leave it out, or choose another executor"
            )
