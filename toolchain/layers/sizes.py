"""Checked sizes of layers."""

from __future__ import annotations

import math

from runtime.errors import InputError
from runtime.types import ELEMENT_LIMIT

Pair = int | tuple[int, int]


def pair_of(value: Pair) -> tuple[int, int]:
    """``value`` for rows and columns."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def check_shape(shape: tuple[int, ...], owner: str) -> None:
    """Raise InputError unless weights of this shape can be, before anything is allocated."""
    offender = f"{list(shape)} of {owner}"
    if min(shape) < 1:
        raise InputError(f"weights must have dimensions of at least 1, not {offender}; check the sizes")
    if math.prod(shape) > ELEMENT_LIMIT:
        raise InputError(
            f"weights may have at most {ELEMENT_LIMIT} elements, not {offender}; use smaller sizes"
        )
