"""A circuit as look-up tables: each a function of a few nets, given by its truth table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count

from exporters.netlist.splits import Steps, split
from exporters.netlist.truth import column, ones, reduced

INVERTER = 0b01
"""The truth table of an inverter."""


@dataclass(frozen=True, slots=True)
class Lut:
    """Net ``output`` is bit ``i`` of ``table`` where net ``inputs[j]`` is bit ``j`` of ``i``."""

    output: int
    inputs: tuple[int, ...]
    table: int


@dataclass(frozen=True)
class Luts:
    """``luts``, of at most ``size`` inputs, in topological order. ``outputs``: literals; but for the
    constant 1 none is inverted."""

    size: int
    luts: tuple[Lut, ...]
    outputs: tuple[int, ...]

    @property
    def count(self) -> int:
        """Look-up tables in all."""
        return len(self.luts)

    def reading_inverted(self, nets: set[int]) -> Luts:
        """The same tables where ``nets``, none of their own, carry the inverse."""
        return replace(self, luts=tuple(_flipped(lut, nets) for lut in self.luts)) if nets else self

    @cached_property
    def depth(self) -> int:
        """Tables on the longest path to an output."""
        level: dict[int, int] = {}
        for lut in self.luts:
            level[lut.output] = 1 + max((level.get(net, 0) for net in lut.inputs), default=0)
        return max((level.get(literal >> 1, 0) for literal in self.outputs), default=0)


class Builder:
    """Builds tables of at most ``size`` inputs, the same function of the same nets once. ``first``: the
    number from which on nets are new."""

    def __init__(self, size: int, first: int) -> None:
        self._size = size
        self._fresh = count(first)
        self._luts: dict[tuple[tuple[int, ...], int], Lut] = {}

    def function(self, table: int, literals: Sequence[int], steps: Steps = ()) -> int:
        """The literal of a function of ``literals``; ``steps``: how, where it has too many of them. Where
        some of them are one net it may take fewer."""
        fewer, nets = over_nets(table, literals)
        if len(nets) <= self._size:
            return self._table(fewer, nets)
        found = split(fewer, len(nets), self._size)
        if found and not 0 < len(steps) <= len(found):
            return self._steps(found, [2 * net for net in nets])
        return self._steps(steps, literals)

    def _steps(self, steps: Steps, literals: Sequence[int]) -> int:
        places = list(literals)
        for step in steps:
            places.append(self._table(*over_nets(step.table, [places[i] for i in step.inputs])))
        return places[-1]

    def _table(self, table: int, nets: tuple[int, ...]) -> int:
        flip = table & 1
        table ^= ones(len(nets)) * flip
        if len(nets) < 2:
            return (2 * nets[0] if nets else 0) ^ flip
        if (nets, table) not in self._luts:
            self._luts[nets, table] = Lut(next(self._fresh), nets, table)
        return 2 * self._luts[nets, table].output ^ flip

    def finish(self, wanted: Iterable[int]) -> Luts:
        """Everything that ``wanted``, literals, depend on. A table gives the polarity that is wanted; only
        both of one, and inverted inputs, take another table."""
        results = list(wanted)
        literals = set(results)
        made = {lut.output for lut in self._luts.values()}
        flipped = {one >> 1 for one in literals if one & 1 and one >> 1 in made and one ^ 1 not in literals}
        luts = [_flipped(lut, flipped) for lut in self._live(literals)]
        place = {0: 0, 1: 1}
        for literal in sorted(literals - {0, 1}):
            place[literal] = literal & ~1
            if literal & 1 and literal >> 1 not in flipped:
                luts.append(Lut(next(self._fresh), (literal >> 1,), INVERTER))
                place[literal] = 2 * luts[-1].output
        return Luts(self._size, tuple(luts), tuple(place[literal] for literal in results))

    def _live(self, literals: Iterable[int]) -> list[Lut]:
        needed = {literal >> 1 for literal in literals}
        live = []
        for lut in reversed(self._luts.values()):
            if lut.output in needed:
                needed.update(lut.inputs)
                live.append(lut)
        return live[::-1]


def over_nets(table: int, literals: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """A function of ``literals`` as one of those nets that matter, in order."""
    nets = sorted({literal >> 1 for literal in literals} - {0})
    if [2 * net for net in nets] != list(literals):
        columns = {net: column(i, len(nets)) for i, net in enumerate(nets)} | {0: 0}
        full = ones(len(nets))
        table = _composed(table, [columns[one >> 1] ^ full * (one & 1) for one in literals], full)
    table, kept = reduced(table, len(nets))
    return table, tuple(nets[i] for i in kept)


def _composed(table: int, inputs: list[int], full: int) -> int:
    """The function whose inputs are given as tables themselves; ``full``: the table that is 1."""
    if not inputs:
        return full * (table & 1)
    *rest, last = inputs
    half = 1 << len(rest)
    low, high = table & ((1 << half) - 1), table >> half
    if low == high:
        return _composed(low, rest, full)
    return _composed(low, rest, full) & ~last | _composed(high, rest, full) & last


def _flipped(lut: Lut, flipped: set[int]) -> Lut:
    """``lut`` where the nets ``flipped`` carry the inverse."""
    table, size = lut.table, len(lut.inputs)
    for place, net in enumerate(lut.inputs):
        if net in flipped:
            high, width = column(place, size), 1 << place
            table = (table & high) >> width | (table & ~high) << width
    return Lut(lut.output, lut.inputs, table ^ ones(size) * (lut.output in flipped))
