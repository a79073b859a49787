"""Functions of a few given ones: what equals a truth table in up to two gates of what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporters.netlist.graph import AND, MUX, XOR

PRICES = {AND: 1.17, XOR: 2.0, MUX: 2.33}
"""What a gate of each kind takes, in two-input NANDs; of AND the mean of its polarities."""

Rows = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate to be built, its result inverted if ``inverted`` is 1. ``operands``: literals and gates."""

    kind: int
    operands: tuple[Expression, ...]
    inverted: int = 0

    @property
    def price(self) -> float:
        """Of this gate and those it reads."""
        return PRICES[self.kind] + sum(one.price for one in self.operands if isinstance(one, Gate))


Expression = int | Gate


class Divisors:
    """Literals of known functions. ``tables``: of every node, over one set of at least six inputs;
    ``full``: the table that is 1."""

    def __init__(self, tables: Mapping[int, int], full: int) -> None:
        self._full, self._words = full, full.bit_length() // 64
        self._nodes = len(tables)
        self._literals = [2 * node + inverted for inverted in (0, 1) for node in tables]
        self._tables = [table ^ full * inverted for inverted in (0, 1) for table in tables.values()]
        self._known: dict[int, int] = {}
        for literal, table in zip(self._literals, self._tables, strict=True):
            self._known.setdefault(table, literal)
        packed = b"".join(table.to_bytes(8 * self._words, "little") for table in self._tables)
        self._rows: Rows = np.frombuffer(packed, "<u8").reshape(-1, self._words)

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

    def _row(self, table: int) -> Rows:
        return np.frombuffer(table.to_bytes(8 * self._words, "little"), "<u8")

    def _holding(self, table: int, care: int) -> NDArray[np.intp]:
        """Divisors that are 1 wherever ``table``, within ``care``, is."""
        return np.flatnonzero(~np.any(self._row(table) & ~(self._rows & self._row(care)), axis=1))

    def _ands(self, table: int, care: int) -> Iterator[Gate]:
        """ANDs and ORs of two divisors that are ``table`` within ``care``."""
        for inverted in (0, 1):
            wanted = (table ^ care * inverted) & care
            places = self._holding(wanted, care)
            excess = self._rows[places] & self._row(care & ~wanted)
            for i in range(1, len(places)):
                if (hit := ~np.any(excess[:i] & excess[i], axis=1)).any():
                    pair = int(places[hit.argmax()]), int(places[i])
                    yield Gate(AND, tuple(self._literals[place] for place in pair), inverted)

    def _xors(self, table: int, care: int) -> Iterator[Gate]:
        """XORs of two divisors that are ``table`` within ``care``."""
        known: dict[int, int] = {}
        for literal, one in zip(self._literals, self._tables, strict=True):
            known.setdefault(one & care, literal)
        wanted = table & care
        for literal, one in zip(self._literals[: self._nodes], self._tables, strict=False):
            other = known.get(one & care ^ wanted)
            if other is not None and other >> 1 != literal >> 1:
                yield Gate(XOR, (literal, other))

    def _within(self, table: int, forms: Callable[[int, int], Iterator[Gate]]) -> Iterator[Gate]:
        """ANDs and ORs of a divisor and one of ``forms`` of two more."""
        for inverted in (0, 1):
            wanted = table ^ self._full * inverted
            for place in self._holding(wanted, self._full):
                for gate in forms(wanted, self._tables[place]):
                    yield Gate(AND, (self._literals[place], gate), inverted)

    def _differing(self, table: int) -> Iterator[Gate]:
        """XORs of a divisor and an AND or OR of two more."""
        for literal, one in zip(self._literals[: self._nodes], self._tables, strict=False):
            for gate in self._ands(table ^ one, self._full):
                yield Gate(XOR, (literal, gate))

    def _multiplexers(self, table: int) -> Iterator[Gate]:
        differ = self._rows ^ self._row(table)
        for place in range(self._nodes):
            select = self._rows[place]
            high = ~np.any(differ & select, axis=1)
            low = ~np.any(differ & ~select, axis=1)
            if high.any() and low.any():
                branches = (self._literals[int(found.argmax())] for found in (low, high))
                yield Gate(MUX, (self._literals[place], *branches))
