"""Functions of a few given ones: what equals a truth table in up to two gates of what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from exporters.netlist.functions import PRICES
from exporters.netlist.graph import AND, MUX, XOR


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate to be built, its result inverted if ``inverted`` is 1. ``operands``: literals and gates."""

    kind: int
    operands: tuple[Expression, ...]
    inverted: int = 0


Expression = int | Gate


class Divisors:
    """Literals of known functions. ``tables``: of every node, over one set of inputs; ``full``: the table
    that is 1."""

    def __init__(self, tables: Mapping[int, int], full: int) -> None:
        self._full = full
        self._upright = [(2 * node, table) for node, table in tables.items()]
        pairs = [(literal, table, table ^ full) for literal, table in self._upright]
        self._all = pairs + [(literal + 1, inverse, table) for literal, table, inverse in pairs]
        self._known = {table: literal for literal, table, _ in reversed(self._all)}

    def find(self, table: int, below: float) -> Expression | None:
        """The cheapest form found of ``table`` that takes less than ``below``."""
        if table in (0, self._full):
            return int(table == self._full)
        if table in self._known:
            return self._known[table]
        for price, forms in self._forms(table):
            if price >= below:
                return None
            if (found := next(forms, None)) is not None:
                return found
        return None

    def _forms(self, table: int) -> Iterator[tuple[float, Iterator[Gate]]]:
        """Kinds of forms in the order of their prices."""
        full, one = self._full, PRICES[AND]
        yield one, self._ands(table, full)
        yield PRICES[XOR], self._xors(table, full)
        yield 2 * one, self._within(table, self._ands)
        yield PRICES[MUX], self._multiplexers(table)
        yield one + PRICES[XOR], self._within(table, self._xors)
        yield one + PRICES[XOR], self._differing(table)

    def _ands(self, table: int, care: int) -> Iterator[Gate]:
        """ANDs and ORs of two divisors that are ``table`` within ``care``."""
        for inverted in (0, 1):
            wanted = (table ^ -inverted) & care
            rest = care & ~wanted
            excess = [(literal, one & rest) for literal, one, inverse in self._all if not wanted & inverse]
            for place, (literal, more) in enumerate(excess):
                for other, much in excess[:place]:
                    if not more & much:
                        yield Gate(AND, (other, literal), inverted)

    def _xors(self, table: int, care: int) -> Iterator[Gate]:
        """XORs of two divisors that are ``table`` within ``care``."""
        known = {one & care: literal for literal, one, _ in reversed(self._all)}
        for literal, one in self._upright:
            other = known.get((one ^ table) & care)
            if other is not None and other >> 1 != literal >> 1:
                yield Gate(XOR, (literal, other))

    def _within(self, table: int, forms: Callable[[int, int], Iterator[Gate]]) -> Iterator[Gate]:
        """ANDs and ORs of a divisor and one of ``forms`` of two more."""
        for inverted in (0, 1):
            wanted = table ^ self._full * inverted
            for literal, one, inverse in self._all:
                if not wanted & inverse:
                    for gate in forms(wanted, one):
                        yield Gate(AND, (literal, gate), inverted)

    def _differing(self, table: int) -> Iterator[Gate]:
        """XORs of a divisor and an AND or OR of two more."""
        for literal, one in self._upright:
            for gate in self._ands(table ^ one, self._full):
                yield Gate(XOR, (literal, gate))

    def _multiplexers(self, table: int) -> Iterator[Gate]:
        differ = [(literal, one ^ table) for literal, one, _ in self._all]
        for select, one, inverse in self._all[: len(self._upright)]:
            high = next((literal for literal, off in differ if not off & one), None)
            if high is not None:
                low = next((literal for literal, off in differ if not off & inverse), None)
                if low is not None:
                    yield Gate(MUX, (select, low, high))
