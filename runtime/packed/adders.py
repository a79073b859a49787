"""Carry-save adders: sums of bit rows held as bit rows, one lane a position, 64 lanes a word.

Rows are added by carry-save adders, column by column: three rows of weight ``2^c`` become one of weight
``2^c`` and one of weight ``2^(c + 1)`` by five word operations, whatever the rows stand for. A step of the
schedule adds every third of a column at once, for all outputs at once, so that NumPy's loops stay long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from runtime.packed.planes import Words


class Step(NamedTuple):
    """Add rows of a workspace: every row of ``a``, of ``b`` and, unless it is None, of ``c``.

    The sums replace the last of them. The carries go to the rows ``carry``; None drops them.
    """

    a: slice
    b: slice
    c: slice | None
    carry: slice | None

    @staticmethod
    def of(start: int, count: int, inputs: int, carry: int | None) -> Step:
        """Add ``inputs`` (2 or 3) runs of ``count`` rows that follow each other."""
        a, b, c = (slice(start + i * count, start + (i + 1) * count) for i in range(3))
        return Step(
            a, b, c if inputs == 3 else None, None if carry is None else slice(carry, carry + count)
        )


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the rows of every column are added up.

    ``rows``: rows of the workspace. ``first``: where the given rows of each column lie.
    ``sums``: the row that ends as bit ``c`` of the sum, or -1 where that bit is 0 everywhere.
    """

    rows: int
    first: tuple[int, ...]
    steps: tuple[Step, ...]
    sums: tuple[int, ...]


@lru_cache(maxsize=256)
def schedule(counts: tuple[int, ...], bits: int) -> Schedule:
    """The schedule for ``counts[c]`` rows of weight ``2^c`` whose sum is below ``2^bits``.

    A carry out of the last column is never set, so none is kept.
    """
    first: list[int] = []
    sums: list[int] = []
    steps: list[Step] = []
    end = carried = 0
    for column in range(bits):
        given = counts[column] if column < len(counts) else 0
        start, left = end, given + carried
        first.append(start + carried)
        end = start + left
        last, carried = column == bits - 1, 0
        while left > 1:
            inputs = min(left, 3)
            count = left // inputs
            steps.append(Step.of(start, count, inputs, None if last else end + carried))
            carried += count
            start, left = start + count * (inputs - 1), left - count * (inputs - 1)
        sums.append(start if left else -1)
        carried = 0 if last else carried
    return Schedule(end, tuple(first), tuple(steps), tuple(sums))


def add_rows(workspace: Words, steps: Sequence[Step]) -> None:
    """Run the steps of a schedule on a workspace of shape (rows, ...), in place."""
    xor, conjunction = np.bitwise_xor, np.bitwise_and
    for step_a, step_b, step_c, step_carry in steps:
        a, b = workspace[step_a], workspace[step_b]
        carry = None if step_carry is None else workspace[step_carry]
        if step_c is None:
            if carry is not None:
                conjunction(a, b, carry)
            xor(a, b, b)
            continue
        c = workspace[step_c]
        xor(a, b, b)
        if carry is not None:
            xor(a, c, carry)
            conjunction(carry, b, carry)
            xor(carry, a, carry)
        xor(b, c, c)
