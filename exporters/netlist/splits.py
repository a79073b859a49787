"""Functions of more inputs than a look-up table has, as several tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations
from typing import NamedTuple

from exporters.netlist.truth import cofactors, column, reduced


class Step(NamedTuple):
    """A table of the places ``inputs``: inputs of the function, then results of the steps before."""

    inputs: tuple[int, ...]
    table: int


Steps = tuple[Step, ...]
"""The last one is the function."""

MULTIPLEXER = 0b11001010
"""Of three inputs: the first where the third is 0, else the second."""

FIRST_HALF, SECOND_HALF = 0b1111_0000_1100_1010, 0b1100_1010_1111_0000
"""A multiplexer of four by two tables. The first, of two values, the low and the high select: the value
where the high select is 0, else the low select. The second, of two values, the first table, the high
select: the first table where that is 0, else the value that it selects."""


@cache
def split(table: int, inputs: int, size: int) -> Steps | None:
    """A function of more than ``size`` inputs by the fewest tables of so many, at most two in a row: some
    of its inputs go to tables of their own, whose results tell apart all that matters. None where no such
    split is found."""
    best: tuple[int, tuple[int, ...], list[int]] | None = None
    for taken in range(inputs - size + 1, size + 1):
        for bound in combinations(range(inputs), taken):
            rows = [table]
            for place in bound:
                rows = [half for row in rows for half in cofactors(row, place, inputs)]
            results = (len(set(rows)) - 1).bit_length()
            if inputs - taken + results <= size and (best is None or results < best[0]):
                best = results, bound, rows
                if results == 1:
                    return _two_levels(inputs, *best)
    return _two_levels(inputs, *best) if best else None


def _two_levels(inputs: int, results: int, bound: tuple[int, ...], rows: list[int]) -> Steps:
    """``rows``: the function for every value of ``bound``, whose last is the lowest bit."""
    distinct = list(dict.fromkeys(rows))
    codes = [distinct.index(row) for row in rows]
    first = [sum((code >> j & 1) << i for i, code in enumerate(codes)) for j in range(results)]
    free = tuple(i for i in range(inputs) if i not in bound)
    top = 0
    for code in range(1 << results):
        row = distinct[min(code, len(distinct) - 1)]
        for value in range(1 << len(free)):
            place = sum((value >> j & 1) << name for j, name in enumerate(free))
            top |= (row >> place & 1) << (code << len(free) | value)
    last = Step((*free, *range(inputs, inputs + results)), top)
    return (*(Step(bound[::-1], one) for one in first), last)


@cache
def halved(table: int, inputs: int, size: int) -> Steps:
    """Any function by tables of ``size`` inputs, 4 or more: those of its parts where one or two of its
    inputs are known, and multiplexers."""
    table, kept = reduced(table, inputs)
    count = len(kept)
    if count <= size:
        return (Step(kept, table),)
    found = [steps] if (steps := split(table, count, size)) else []
    best = min((*found, *_halves(table, count, size), *_quarters(table, count, size)), key=len)
    return _placed(best, (*kept, *range(inputs, inputs + len(best))))


def _placed(steps: Steps, places: Sequence[int]) -> Steps:
    """``steps`` whose inputs are elsewhere."""
    return tuple(Step(tuple(places[i] for i in step.inputs), step.table) for step in steps)


def _halves(table: int, inputs: int, size: int) -> Iterator[Steps]:
    for select in range(inputs):
        steps, ends = _parts(cofactors(table, select, inputs), inputs, size)
        yield (*steps, Step((*ends, select), MULTIPLEXER))


def _quarters(table: int, inputs: int, size: int) -> Iterator[Steps]:
    for low, high in combinations(range(inputs), 2):
        parts = [part for half in cofactors(table, high, inputs) for part in cofactors(half, low, inputs)]
        steps, ends = _parts(parts, inputs, size)
        first = Step((*ends[:2], low, high), FIRST_HALF)
        middle = inputs + len(steps)
        yield (*steps, first, Step((*ends[2:], middle, high), SECOND_HALF))


def _parts(tables: Sequence[int], inputs: int, size: int) -> tuple[list[Step], list[int]]:
    """Steps that compute each of ``tables``, equal ones once, and the places where they are."""
    steps: list[Step] = []
    places: dict[int, int] = {column(i, inputs): i for i in range(inputs)}
    for table in tables:
        if table in places:
            continue
        own = halved(table, inputs, size)
        first = inputs + len(steps)
        steps += _placed(own, (*range(inputs), *range(first, first + len(own))))
        places[table] = inputs + len(steps) - 1
    return steps, [places[table] for table in tables]
