"""The netlist: gates over single bits, hashed as they are built.

A net is a node; a *literal* is twice its node, plus one for its inverse, so an inverter is a wire here and
only ``instances`` decides where one is really built. Literals 0 and 1 are the constants. Nodes are built in
topological order and never twice: every function puts its operands into a canonical order and polarity,
folds constants and looks the result up. A full adder is two nodes on the same three literals, its sum and
its carry, and since both are self-dual (inverting all inputs inverts both outputs) ``(a, b, ~c)`` and
``(~a, ~b, c)`` are one adder. That is what lets two neurons share adders whose weights have opposite signs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

CONSTANT, INPUT, AND, XOR, MUX, SUM, CARRY, REGISTER = range(8)
"""Kinds of nodes. ``MUX``: select, low, high. ``SUM`` and ``CARRY``: of a full adder."""

LEVELS: Final = (0, 0, 1, 1, 1, 2, 2, 0)
"""Logic levels that a node of each kind adds: a full adder counts as two gates in a row."""

ARITY: Final = (0, 0, 2, 2, 3, 3, 3, 1)
"""Operands of a node of each kind."""

Word = list[int]
"""Literals of one value, lowest bit first."""

Key = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Style:
    """How sums are built. ``group``: bits that one compressor takes, 3 or 6. ``shared``: fewest neurons for
    which an adder of their own is built."""

    group: int
    shared: int


STYLES: Final = {"gates": Style(3, 2), "lut6": Style(6, 3)}
"""``gates``: full adders, fewest of them. ``lut6``: groups of six bits, each bit of whose sum is one
look-up table, where a full adder alone would take two for three bits; sharing pays later there."""


class Netlist:
    """Nodes ``kinds[i]`` with operand literals ``operands[i]`` (unused ones are 0), at logic level
    ``levels[i]``."""

    __slots__ = ("_known", "kinds", "levels", "operands", "style")

    def __init__(self, style: Style = STYLES["gates"]) -> None:
        self.style = style
        self.kinds: list[int] = [CONSTANT]
        self.operands: list[tuple[int, int, int]] = [(0, 0, 0)]
        self.levels: list[int] = [0]
        self._known: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self.kinds)

    def level(self, literal: int) -> int:
        """Gates on the longest path to ``literal``."""
        return self.levels[literal >> 1]

    def inputs(self, count: int) -> Word:
        """Literals of ``count`` new inputs."""
        first = len(self.kinds)
        self.kinds += [INPUT] * count
        self.operands += [(0, 0, 0)] * count
        self.levels += [0] * count
        return list(range(2 * first, 2 * (first + count), 2))

    def inverter(self) -> Callable[[int], int]:
        """A function that inverts a literal."""
        return lambda literal: literal ^ 1

    def gate(self, cell: str, *literals: int) -> int:
        """The literal of a cell of one output: ``and``, ``or``, ``xor``, ``not`` or ``mux``."""
        return _GATES[cell](self, *literals)

    def pair(self, cell: str, *literals: int) -> tuple[int, int]:
        """Sum and carry of a ``half_adder`` or a ``full_adder``."""
        if cell == "half_adder":
            return self.xor(*literals), self.and_(*literals)
        return self.sum3(*literals), self.carry(*literals)

    def _node(self, kind: int, a: int, b: int, c: int = 0) -> int:
        key = (kind, a, b, c)
        node = self._known.get(key)
        if node is None:
            node = self._known[key] = len(self.kinds)
            self.kinds.append(kind)
            self.operands.append((a, b, c))
            levels = self.levels
            self.levels.append(max(levels[a >> 1], levels[b >> 1], levels[c >> 1]) + LEVELS[kind])
        return 2 * node

    def and_(self, a: int, b: int) -> int:
        """``a & b``."""
        if a > b:
            a, b = b, a
        if a < 2:
            return b if a else 0
        if a >> 1 == b >> 1:
            return a if a == b else 0
        for x, y in ((a, b), (b, a)):  # one of the operands of the other, or its inverse
            node = y >> 1
            if self.kinds[node] == AND:
                left, right, _ = self.operands[node]
                if x in (left, right):
                    if not y & 1:
                        return y
                    return self.and_(x, (right if x == left else left) ^ 1)
                if x ^ 1 in (left, right):
                    return x if y & 1 else 0
        return self._node(AND, a, b)

    def or_(self, a: int, b: int) -> int:
        """``a | b``."""
        return self.and_(a ^ 1, b ^ 1) ^ 1

    def xor(self, a: int, b: int) -> int:
        """``a ^ b``."""
        inverted = (a ^ b) & 1
        a, b = a & ~1, b & ~1
        if a > b:
            a, b = b, a
        if a == b:
            return inverted
        if a == 0:
            return b ^ inverted
        return self._node(XOR, a, b) ^ inverted

    def mux(self, select: int, low: int, high: int) -> int:
        """``high if select else low``."""
        if select & 1:
            select, low, high = select ^ 1, high, low
        if low == high or select == 0:
            return low
        if low == high ^ 1:
            return self.xor(select, low)
        if low < 2 or low >> 1 == select >> 1:
            return self.or_(select ^ 1, high) if low in (1, select ^ 1) else self.and_(select, high)
        if high < 2 or high >> 1 == select >> 1:
            return self.or_(select, low) if high in (1, select) else self.and_(select ^ 1, low)
        inverted = low & 1
        return self._node(MUX, select, low ^ inverted, high ^ inverted) ^ inverted

    def sum3(self, a: int, b: int, c: int) -> int:
        """``a ^ b ^ c`` of a full adder."""
        inverted = (a ^ b ^ c) & 1
        a, b, c = sorted((a & ~1, b & ~1, c & ~1))
        if a == b:
            return c ^ inverted
        if b == c:
            return a ^ inverted
        if a == 0:
            return self.xor(b, c) ^ inverted
        return self._node(SUM, a, b, c) ^ inverted

    def carry(self, a: int, b: int, c: int) -> int:
        """The majority of three bits: the carry of a full adder."""
        a, b, c = sorted((a, b, c))
        if a >> 1 == b >> 1:
            return a if a == b else c
        if b >> 1 == c >> 1:
            return b if b == c else a
        if a < 2:
            return self.or_(b, c) if a else self.and_(b, c)
        if (a & 1) + (b & 1) + (c & 1) > 1:
            return self._node(CARRY, a ^ 1, b ^ 1, c ^ 1) ^ 1
        return self._node(CARRY, a, b, c)

    def register(self, a: int) -> int:
        """``a`` a clock later."""
        return a if a < 2 else self._node(REGISTER, a & ~1, 0) ^ (a & 1)


_GATES: dict[str, Callable[..., int]] = {
    "and": Netlist.and_,
    "or": Netlist.or_,
    "xor": Netlist.xor,
    "not": lambda net, a: a ^ 1,
    "mux": Netlist.mux,
}

BUILD: Final[dict[int, Callable[..., int]]] = {
    AND: Netlist.and_,
    XOR: Netlist.xor,
    MUX: Netlist.mux,
    SUM: Netlist.sum3,
    CARRY: Netlist.carry,
}
"""What builds a node of every kind from literals."""


def built(
    net: Netlist, kind: int, operands: Iterable[int], place: Mapping[int, int] | Sequence[int]
) -> int:
    """A node of another netlist in ``net``; ``place``: the literals of the nodes that it reads."""
    return BUILD[kind](net, *(place[literal >> 1] ^ (literal & 1) for literal in operands))
