"""Every error a user can meet, each with the exit code the command line ends with.

Messages are one line: the rule first, then what broke it and where, then what to do.
"""

from __future__ import annotations

from collections.abc import Iterable


class GatefoldError(Exception):
    """Base of all expected errors. ``exit_code`` is what the process returns."""

    exit_code = 1


class ProgramError(GatefoldError):
    """A program breaks a rule of the IR (shape, range, name or attribute)."""


class FormatError(GatefoldError):
    """A ``.gfold`` file is damaged, hostile, truncated or of another version."""


class TimeLimitError(GatefoldError):
    """An external program was stopped because it took longer than it may."""


class TooLargeError(GatefoldError):
    """A program is beyond what an executor or exporter can build here; others may run it."""


def meant(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown ``name``: the one that was meant, where one is near."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


class InputError(GatefoldError):
    """Bad input from the user: a missing file, a wrong shape, dtype, range or option."""

    exit_code = 2


class MissingToolError(GatefoldError):
    """An optional package or external program is needed and not installed."""

    exit_code = 3


class MismatchError(GatefoldError):
    """Two executors, or a program and its model, differ."""

    exit_code = 4
