"""Value sets: which integers the weights of one constant may be.

A value set has ``levels`` integers, evenly spaced around zero: all from ``-(levels - 1) / 2`` to
``(levels - 1) / 2`` for an odd number, the odd ones from ``-(levels - 1)`` to ``levels - 1`` for an even
number, which leaves out zero. The *code* of a weight is its integer, the *digit* its place in the set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ProgramError

Codes = NDArray[np.int8]
Digits = NDArray[np.uint8]

MAX_LEVELS = 127
"""Largest odd number of levels; the smallest is 3."""
MAX_EVEN_LEVELS = 64
"""Largest even number of levels; the smallest is 2. Either largest number gives ``|code| <= 63``."""
VALUE_SET_NAMES = {2: "binary", 3: "ternary", 5: "quinary"}


def code_step(levels: int) -> int:
    """Distance of neighbouring codes: 1 for an odd number of levels, 2 for an even one.

    Raises ProgramError unless ``levels`` is odd within 3..127 or even within 2..64.
    """
    odd = levels % 2 == 1
    if not (3 <= levels <= MAX_LEVELS if odd else 2 <= levels <= MAX_EVEN_LEVELS):
        raise ProgramError(
            f"weight levels must be odd within 3..{MAX_LEVELS} or even within 2..{MAX_EVEN_LEVELS}, "
            f"not {levels}"
        )
    return 1 if odd else 2


def max_code(levels: int) -> int:
    """Largest code of a value set: ``(levels - 1) / 2`` for odd, ``levels - 1`` for even ``levels``.

    Raises ProgramError for numbers of levels that ``code_step`` refuses.
    """
    return code_step(levels) * (levels - 1) // 2


def digits_of(codes: Codes, levels: int) -> Digits:
    """Digits, 0 to ``levels - 1``, of codes in the value set: ``(code + max_code) / code_step``."""
    return ((codes + np.int8(max_code(levels))) // np.int8(code_step(levels))).astype(np.uint8)


def codes_of(digits: NDArray[Any], levels: int) -> Codes:
    """Inverse of ``digits_of``: int8 ``digit * code_step - max_code``."""
    return (digits.astype(np.int16) * code_step(levels) - max_code(levels)).astype(np.int8)


def planes_of(codes: Codes, levels: int) -> NDArray[np.bool_]:
    """Sign-magnitude bit planes ``[neg, m0, m1, ...]``, shape ``(planes, *codes.shape)``.

    ``neg`` is set only where the magnitude is not zero, so it is a subset of the others' union. An even
    number of levels has odd codes only: ``m0`` is set everywhere.
    """
    magnitude = np.abs(codes.astype(np.int16))
    bits = max_code(levels).bit_length()
    return np.stack([codes < 0, *((magnitude >> b) & 1 == 1 for b in range(bits))])
