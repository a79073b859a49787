"""Every error a user can meet, each with the exit code the command line ends with.

Messages are one line: the rule first, then what broke it and where, then what to do.
"""

from __future__ import annotations


class GatefoldError(Exception):
    """Base of all expected errors. ``exit_code`` is what the process returns."""

    exit_code = 1


class ProgramError(GatefoldError):
    """A program breaks a rule of the IR (shape, range, name or attribute)."""


class FormatError(GatefoldError):
    """A ``.gfold`` file is damaged, hostile, truncated or of another version."""


class TooLargeError(GatefoldError):
    """A program is beyond what an executor or exporter can build here; others may run it."""


class InputError(GatefoldError):
    """Bad input from the user: a missing file, a wrong shape, dtype, range or option."""

    exit_code = 2


class MissingToolError(GatefoldError):
    """An optional package or external program is needed and not installed."""

    exit_code = 3


class MismatchError(GatefoldError):
    """Two executors, or a program and its model, differ."""

    exit_code = 4
