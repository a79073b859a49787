"""In which polarity every gate of a netlist is built, and what inverters that leaves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exporters.netlist.graph import AND, MUX
from toolchain.cost.cells import CELLS

SWEEPS = 8
"""Rounds in which every gate may turn over, alone or with its readers."""

READERS = 12
"""Most readers that a gate turns over with."""

MORE = {AND: CELLS["and"].ge - 1.0, MUX: CELLS["not"].ge}
"""Gate equivalents that a gate takes more in the polarity that does not come by itself."""


@dataclass(frozen=True, slots=True)
class Gate:
    """``kind``: of a node. ``operands``: literals. ``price``: without what polarities add."""

    node: int
    kind: int
    operands: tuple[int, ...]
    price: float


def with_polarities(gates: Sequence[Gate], outputs: Iterable[int]) -> float:
    """Gate equivalents of ``gates`` in good polarities, with the inverters between them."""
    search = _Search(gates, outputs)
    for _ in range(SWEEPS):
        if not search.sweep() and not search.together():
            break
    return sum(gate.price for gate in gates) + search.added()


class _Search:
    """``native[n]``: 1 where the cell of node ``n`` gives its inverse. ``turned[n]``: whether it takes
    the inverses of its operands: NOR and OR in place of NAND and AND."""

    def __init__(self, gates: Sequence[Gate], outputs: Iterable[int]) -> None:
        self._gates = {gate.node: gate for gate in gates}
        self._native: dict[int, int] = dict.fromkeys(self._gates, 0)
        self._turned: dict[int, int] = dict.fromkeys(self._gates, 0)
        # how many readers want each literal
        self._wanted: defaultdict[int, int] = defaultdict(int)
        self._readers: defaultdict[int, list[Gate]] = defaultdict(list)
        for literal in set(outputs):
            self._wanted[literal] += 1
        for gate in gates:
            self._want(gate, 1)
            for node in {literal >> 1 for literal in self._data(gate)}:
                self._readers[node].append(gate)

    def _data(self, gate: Gate) -> tuple[int, ...]:
        """Operands whose polarity matters."""
        if gate.kind == MUX:
            return gate.operands[1:]
        return gate.operands if gate.kind == AND else ()

    def _want(self, gate: Gate, times: int) -> None:
        turned = self._turned[gate.node]
        for literal in self._data(gate):
            self._wanted[literal ^ turned] += times

    def _more(self, gate: Gate) -> float:
        """What the cell of ``gate`` takes beyond its price."""
        native, turned = self._native[gate.node], self._turned[gate.node]
        if gate.kind == AND:  # NAND gives the inverse, NOR of the inverses the value itself
            return MORE[AND] if native == turned else 0.0
        return MORE[gate.kind] if gate.kind in MORE and native != turned else 0.0

    def _inverter(self, node: int) -> float:
        native = 2 * node + self._native.get(node, 0)
        return CELLS["not"].ge if node and self._wanted[native ^ 1] else 0.0

    def _cost(self, *gates: Gate) -> float:
        """Everything that the choices of some gates bear on."""
        nodes = {literal >> 1 for gate in gates for literal in self._data(gate)}
        nodes |= {gate.node for gate in gates}
        return round(sum(map(self._more, gates)) + sum(map(self._inverter, nodes)), 6)

    def _state(self, gate: Gate) -> tuple[int, int]:
        return self._native[gate.node], self._turned[gate.node]

    def _choices(self, gate: Gate) -> list[tuple[int, int]]:
        return [(native, turned) for native in (0, 1) for turned in ((0, 1) if self._data(gate) else (0,))]

    def _turn(self, gate: Gate) -> bool:
        """Take the best choice of one gate; whether it is another."""
        now = self._state(gate)
        best = (self._cost(gate), 0, now)
        for order, choice in enumerate(self._choices(gate), 1):
            self._set(gate, choice)
            best = min(best, (self._cost(gate), order, choice))
        self._set(gate, best[2])
        return best[2] != now

    def sweep(self) -> bool:
        """Let every gate turn over; whether any did."""
        return sum(self._turn(gate) for gate in self._gates.values()) > 0

    def together(self) -> bool:
        """Let every gate turn over, and its readers after it; whether any did."""
        changed = False
        for gate in self._gates.values():
            readers = self._readers[gate.node]
            if not 0 < len(readers) <= READERS:
                continue
            several = [gate, *readers]
            states = [self._state(one) for one in several]
            now = best = self._cost(*several)
            chosen = states
            for choice in self._choices(gate):
                self._set(gate, choice)
                for reader in readers:
                    self._turn(reader)
                if (cost := self._cost(*several)) < best:
                    best, chosen = cost, [self._state(one) for one in several]
                self._restore(several, states)
            self._restore(several, chosen)
            changed |= best < now
        return changed

    def _restore(self, gates: Sequence[Gate], states: Sequence[tuple[int, int]]) -> None:
        for gate, state in zip(gates, states, strict=True):
            self._set(gate, state)

    def _set(self, gate: Gate, choice: tuple[int, int]) -> None:
        self._want(gate, -1)
        self._native[gate.node], self._turned[gate.node] = choice
        self._want(gate, 1)

    def added(self) -> float:
        """Inverters, and cells of the dearer polarity."""
        nodes = {literal >> 1 for literal, times in self._wanted.items() if times}
        return sum(map(self._more, self._gates.values())) + sum(map(self._inverter, nodes))
