"""Gates that compute a function of up to six inputs: how many, and themselves.

A function is split over and over into ``high if select else low``, where ``select`` reads some of its
inputs and ``low`` and ``high`` read the others: one input as in a decision diagram, or several that matter
only by one bit. ANDs, ORs and XORs are such splits whose branches are constants or inverses of each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations
from typing import NamedTuple

from exporters.netlist.graph import Netlist
from exporters.netlist.truth import cofactors, column, ones
from toolchain.cost.cells import CELLS
from toolchain.synthesis.library import NAND

AND_GE = (NAND + CELLS["and"].ge) / 2
"""Of an AND of literals while its polarity is not known: a NAND or a NOR, or one of the dearer cells."""


class Split(NamedTuple):
    """``high if select else low``, each a table over all inputs of the function."""

    select: int
    low: int
    high: int


class Form(NamedTuple):
    """``parts``: the tables that gates compute, the function's own among them, with the gate equivalents of
    each. ``split``: of the function, None where it is constant or a literal."""

    parts: frozenset[tuple[int, float]]
    split: Split | None

    @property
    def ge(self) -> float:
        """Gate equivalents, those of inverters not counted."""
        return round(sum(cost for _, cost in self.parts), 6)


@cache
def function_ge(table: int, inputs: int) -> float:
    """Gate equivalents of a function, those of inverters not counted."""
    return form(_upright(table, inputs), inputs).ge


def _upright(table: int, inputs: int) -> int:
    """The function or its inverse, whichever is 0 where all inputs are."""
    return table ^ ones(inputs) * (table & 1)


@cache
def form(table: int, inputs: int) -> Form:
    """The split with the fewest gates of a function that is 0 where all inputs are."""
    if table == 0 or table in (column(i, inputs) for i in range(inputs)):
        return Form(frozenset(), None)
    found = (_parts(table, split, inputs) for split in _splits(table, inputs))
    return min(found, key=lambda one: one.ge)


def _parts(table: int, split: Split, inputs: int) -> Form:
    parts = {(table, _branch_ge(split, ones(inputs)))}
    for part in split:
        parts |= form(_upright(part, inputs), inputs).parts
    return Form(frozenset(parts), split)


def _branch_ge(split: Split, full: int) -> float:
    _, low, high = split
    if low in (0, full) or high in (0, full):
        return AND_GE
    if low == high ^ full:
        return CELLS["xor"].ge
    return 2 * AND_GE if low & high in (low, high) else CELLS["mux"].ge


def _splits(table: int, inputs: int) -> Iterator[Split]:
    """All ways to split a function of at least two inputs by those of its inputs that matter only by one
    bit."""
    support = [i for i in range(inputs) if len(set(cofactors(table, i, inputs))) > 1]
    rows: dict[tuple[int, ...], list[int]] = {(): [table]}
    for size in range(1, len(support)):
        for bound in combinations(support, size):
            kept = [half for row in rows[bound[:-1]] for half in cofactors(row, bound[-1], inputs)]
            rows[bound] = kept
            if len(set(kept)) == 2:
                high = next(row for row in kept if row != kept[0])
                select = sum(_cube(bound, place, inputs) for place, row in enumerate(kept) if row == high)
                yield Split(select, kept[0], high)


def _cube(bound: Sequence[int], place: int, inputs: int) -> int:
    """Where the inputs ``bound``, the first one the highest bit, are the number ``place``."""
    cube = ones(inputs)
    for bit, name in enumerate(reversed(bound)):
        one = column(name, inputs)
        cube &= one if place >> bit & 1 else one ^ ones(inputs)
    return cube


def build_function(net: Netlist, table: int, literals: Sequence[int]) -> int:
    """The literal of a function of ``literals``, built as ``function_ge`` counts it."""
    inputs = len(literals)
    known = {column(i, inputs): literal for i, literal in enumerate(literals)} | {0: 0}

    def built(part: int) -> int:
        upright = _upright(part, inputs)
        if upright not in known:
            split = form(upright, inputs).split
            assert split is not None
            known[upright] = _branch(net, split, *map(built, split))
        return known[upright] ^ (part & 1)

    return built(table)


def _branch(net: Netlist, split: Split, select: int, low: int, high: int) -> int:
    if low > 1 and high > 1 and low != high ^ 1:
        if split.low & split.high == split.low:
            return net.or_(low, net.and_(select, high))
        if split.low & split.high == split.high:
            return net.or_(high, net.and_(select ^ 1, low))
    return net.mux(select, low, high)
