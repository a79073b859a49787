"""JSON as a program may hold it: finite numbers of bounded length, nothing else."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

INTEGER_DIGITS = 20
"""Longest integer literal; enough for 64 bits with a sign."""


def dumps(value: Any) -> str:
    """Canonical text: sorted keys, no spaces. Raises ValueError, TypeError or RecursionError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def loads(text: str) -> Any:
    """Parse ``text``. Raises ValueError (or RecursionError) for anything a program may not hold."""
    return json.loads(text, parse_constant=_constant, parse_float=_float, parse_int=_int)


def _constant(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not a finite number")


def _float(literal: str) -> float:
    value = float(literal)
    if not math.isfinite(value):
        raise ValueError(f"{literal:.40} is not a finite number")
    return value


def _int(literal: str) -> int:
    if len(literal) > INTEGER_DIGITS:
        raise ValueError(f"an integer may have at most {INTEGER_DIGITS} characters, not {len(literal)}")
    return int(literal)
