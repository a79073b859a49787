"""Small binary decision diagrams: for comparisons of long words, whose diagrams are short."""

from __future__ import annotations

from collections.abc import Mapping

from exporters.netlist.graph import AND, CARRY, MUX, SUM, XOR, Netlist
from toolchain.proof.cones import closed, resolve

MOST_NODES = 200_000
"""Nodes after which a diagram is given up."""


class TooManyNodesError(Exception):
    """A diagram has become too large."""


class Diagrams:
    """Reduced ordered diagrams that share nodes. 0 and 1 are the constants; variables are numbers, those
    that are asked for first are the lowest."""

    def __init__(self) -> None:
        self._nodes: list[tuple[int, int, int]] = [(1 << 62, 0, 0), (1 << 62, 1, 1)]
        self._known: dict[tuple[int, int, int], int] = {}
        self._ites: dict[tuple[int, int, int], int] = {}

    def variable(self, number: int) -> int:
        """The diagram of one variable."""
        return self._node(number, 0, 1)

    def _node(self, variable: int, low: int, high: int) -> int:
        if low == high:
            return low
        key = (variable, low, high)
        if key not in self._known:
            if len(self._nodes) > MOST_NODES:
                raise TooManyNodesError
            self._known[key] = len(self._nodes)
            self._nodes.append(key)
        return self._known[key]

    def ite(self, test: int, then: int, other: int) -> int:
        """``then`` where ``test`` is 1, else ``other``."""
        if test < 2 or then == other:
            return then if test else other
        if (then, other) == (1, 0):
            return test
        key = (test, then, other)
        if key not in self._ites:
            top = min(self._nodes[d][0] for d in key)
            parts = [
                [self._nodes[d][side] if self._nodes[d][0] == top else d for d in key] for side in (1, 2)
            ]
            self._ites[key] = self._node(top, self.ite(*parts[0]), self.ite(*parts[1]))
        return self._ites[key]

    def invert(self, a: int) -> int:
        """``not a``."""
        return self.ite(a, 0, 1)

    def both(self, a: int, b: int) -> int:
        """``a and b``."""
        return self.ite(a, b, 0)

    def differ(self, a: int, b: int) -> int:
        """``a xor b``."""
        return self.ite(a, self.invert(b), b)

    def at_least(self, word: list[int], least: int) -> int:
        """Whether the unsigned ``word`` of diagrams, lowest bit first, is ``least`` or more."""
        if least <= 0:
            return 1
        if least >> len(word):
            return 0
        verdict = 1
        for place, bit in enumerate(word):
            verdict = self.both(bit, verdict) if least >> place & 1 else self.ite(bit, 1, verdict)
        return verdict


def diagrams_of(
    net: Netlist, given: Mapping[int, int], literals: list[int], diagrams: Diagrams
) -> list[int]:
    """Diagrams of ``literals`` where those of the nodes ``given`` are known.

    Raises OpenConeError where another input is needed.
    """
    values = {0: 0} | dict(given)

    def gate(kind: int, operands: tuple[int, ...]) -> int:
        bits = [_inverted(diagrams, values[literal >> 1], literal & 1) for literal in operands]
        return _gate(kind, bits, diagrams)

    return [
        _inverted(diagrams, resolve(net, literal >> 1, values, gate, closed), literal & 1)
        for literal in literals
    ]


def _inverted(diagrams: Diagrams, diagram: int, inverted: int) -> int:
    return diagrams.invert(diagram) if inverted else diagram


def _gate(kind: int, bits: list[int], diagrams: Diagrams) -> int:
    if kind == AND:
        return diagrams.both(*bits)
    if kind == XOR:
        return diagrams.differ(*bits)
    a, b, c = bits
    if kind == MUX:
        return diagrams.ite(a, c, b)
    if kind == SUM:
        return diagrams.differ(diagrams.differ(a, b), c)
    assert kind == CARRY
    return diagrams.ite(diagrams.differ(a, b), c, a)
