"""Carry-save adders: sums of bit rows held as bit rows, one lane a position, 64 lanes a word.

Rows are added by carry-save adders, column by column: three rows of weight ``2^c`` become one of weight
``2^c`` and one of weight ``2^(c + 1)`` by five word operations, whatever the rows stand for. A step of the
schedule adds every third of a column at once, for all outputs at once, so that NumPy's loops stay long.
Carries take the place of rows that are added already: what is written was read a moment ago.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from runtime.packed.layout import Call
from runtime.packed.planes import Words

Fetch = Callable[[int, int], Sequence[Call]]
"""Calls that write the given rows of column ``c`` to the workspace from row ``first`` on: of (c, first)."""


class Step(NamedTuple):
    """Add rows of a workspace: every row of ``a``, of ``b`` and, unless it is None, of ``c``.

    The sums replace the last of them or, of a ``final`` step, are that bit of the counter. The carries go
    to the rows ``carry``; None drops them.
    """

    a: slice
    b: slice
    c: slice | None
    carry: slice | None
    final: bool

    def calls(self, workspace: Words, spare: Words, total: Words | None) -> Iterator[Call]:
        """The word operations on a workspace (rows, ...) with ``spare`` (rows, ...) for what lies between.

        ``total``: (1, ...), the bit of the counter; None where it is not asked for.
        """
        xor, conjunction = np.bitwise_xor, np.bitwise_and
        a, b = workspace[self.a], workspace[self.b]
        last = b if self.c is None else workspace[self.c]
        sums, between = total if self.final else last, spare[: len(a)]
        if self.c is not None:
            yield partial(xor, a, b, b)
        if self.carry is not None:
            if self.c is None:
                yield partial(conjunction, a, b, between)
            else:
                yield partial(xor, a, last, between)
                yield partial(conjunction, between, b, between)
        if sums is not None:
            yield partial(xor, a if self.c is None else b, last, sums)
        if self.carry is not None:
            carry = workspace[self.carry]
            yield partial(np.copyto, carry, between) if self.c is None else partial(xor, a, between, carry)


class Addition(NamedTuple):
    """The rows of one column: ``given`` ones from row ``first`` of the workspace on, behind its carries.

    Without ``steps`` the sum is the row ``only``, or 0 where that is None.
    """

    first: int
    given: int
    steps: tuple[Step, ...]
    only: int | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the rows of every column are added up.

    ``rows``: rows of the workspace. ``spare``: rows beside it. ``columns``: one bit of the sum each.
    """

    rows: int
    spare: int
    columns: tuple[Addition, ...]

    def calls(
        self, workspace: Words, spare: Words, totals: Words, fetch: Fetch, lowest: int = 0
    ) -> Iterator[Call]:
        """Calls that write the bits of the sums from ``lowest`` on to ``totals`` (bits, ...).

        ``workspace`` and ``spare``: (rows, ...).
        """
        for column, addition in enumerate(self.columns):
            if addition.given:
                yield from fetch(column, addition.first)
            total = totals[column - lowest : column - lowest + 1] if column >= lowest else None
            for step in addition.steps:
                yield from step.calls(workspace, spare, total)
            if not addition.steps and total is not None:
                alone = addition.only
                yield partial(np.copyto, total, 0 if alone is None else workspace[alone : alone + 1])


@lru_cache(maxsize=256)
def schedule(counts: tuple[int, ...], bits: int) -> Schedule:
    """The schedule for ``counts[c]`` rows of weight ``2^c`` whose sum is below ``2^bits``.

    A carry out of the last column is never set, so none is kept.
    """
    additions: list[Addition] = []
    rows = spare = start = carried = 0
    for column in range(bits):
        given = counts[column] if column < len(counts) else 0
        left = given + carried
        rows = max(rows, start + left)
        steps = _steps(start, left, column == bits - 1)
        additions.append(Addition(start + carried, given, steps, start if left == 1 else None))
        carries = [step.carry for step in steps if step.carry]
        spare = max([spare, *(carry.stop - carry.start for carry in carries)])
        start, carried = (carries[0].start, carries[-1].stop - carries[0].start) if carries else (start, 0)
    return Schedule(rows, spare, tuple(additions))


def _steps(start: int, left: int, last: bool) -> tuple[Step, ...]:
    """Steps that add ``left`` rows from ``start`` on; their carries follow each other.

    Those of the first step replace ``b`` (of two rows ``a``), those of the second ``a``, and those of later
    ones rows that were added before.
    """
    steps: list[Step] = []
    carry = start + left // 3
    while left > 1:
        inputs = min(left, 3)
        count = left // inputs
        a, b, c = (slice(start + i * count, start + (i + 1) * count) for i in range(3))
        start, left = start + count * (inputs - 1), left - count * (inputs - 1)
        carries = None if last else slice(carry, carry + count)
        steps.append(Step(a, b, c if inputs == 3 else None, carries, left == 1))
        carry += count
    return tuple(steps)
