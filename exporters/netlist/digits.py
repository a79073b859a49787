"""Integers in signed digits, and arrays of Python integers, which may pass 64 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.object_]
"""An array of Python integers."""


def integers(values: object) -> Integers:
    """``values`` as an array of Python integers."""
    return np.asarray(values).astype(np.object_)


def signed_digits(values: Integers) -> tuple[Integers, Integers]:
    """Canonical signed digits: masks ``(p, n)`` with ``values == p - n``, ``p & n == 0`` and no two
    adjacent bits set, so that the number of nonzero digits is minimal (Reitwiesner 1960)."""
    half = values >> 1
    tripled = values + half
    changed = half ^ tripled
    return tripled & changed, half & changed
