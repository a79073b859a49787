"""The naive netlist: every cell as it was asked for, nothing shared or folded.

It is what the closed formulas of the cost model count, and what the optimized ``graph`` is measured
against.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from exporters.netlist.graph import STYLES, Style, Word

Lanes = NDArray[np.uint8]
"""One bit per sample, eight samples a byte."""


def _full_adder(a: Lanes, b: Lanes, c: Lanes) -> tuple[Lanes, ...]:
    return a ^ b ^ c, (a & b) | (c & (a ^ b))


FUNCTIONS: dict[str, Callable[..., tuple[Lanes, ...]]] = {
    "and": lambda a, b: (a & b,),
    "or": lambda a, b: (a | b,),
    "xor": lambda a, b: (a ^ b,),
    "not": lambda a: (~a,),
    "mux": lambda select, low, high: ((low & ~select) | (high & select),),
    "half_adder": lambda a, b: (a ^ b, a & b),
    "full_adder": _full_adder,
}
"""Outputs of every combinational cell; adders give sum and carry."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One cell with its input nets; its outputs are numbered from ``first`` on."""

    cell: str
    inputs: tuple[int, ...]
    first: int


@dataclass(slots=True)
class PlainNetlist:
    """Gates in topological order over nets numbered from 0; nets 0 and 1 are the constants."""

    nets: int = 2
    style: Style = STYLES["gates"]
    gates: list[Gate] = field(default_factory=list)

    def inputs(self, count: int) -> Word:
        """``count`` new nets that nothing drives."""
        self.nets += count
        return list(range(self.nets - count, self.nets))

    def pair(self, cell: str, *inputs: int) -> tuple[int, int]:
        """Append an adder; its sum and carry nets."""
        self.gates.append(Gate(cell, inputs, self.nets))
        self.nets += 2
        return self.nets - 2, self.nets - 1

    def gate(self, cell: str, *inputs: int) -> int:
        """Append a cell of one output; its net."""
        self.gates.append(Gate(cell, inputs, self.nets))
        self.nets += 1
        return self.nets - 1

    def inverter(self) -> Callable[[int], int]:
        """An inverting function that builds one NOT per net however often it is asked."""
        known: dict[int, int] = {}

        def invert(net: int) -> int:
            if net not in known:
                known[net] = self.gate("not", net)
            return known[net]

        return invert

    def level(self, net: int) -> int:
        """Logic levels are not kept here."""
        return 0

    def cells(self) -> Counter[str]:
        """How many of each cell the netlist has."""
        return Counter(gate.cell for gate in self.gates)

    def evaluate(self, inputs: dict[int, Lanes], samples: int) -> list[Lanes]:
        """Lanes of every net for the lanes of the undriven ones."""
        width = -(-samples // 8)
        values = [np.zeros(width, np.uint8), np.full(width, 255, np.uint8)]
        values += [values[0]] * (self.nets - 2)
        for net, lanes in inputs.items():
            values[net] = lanes
        for gate in self.gates:
            results = FUNCTIONS[gate.cell](*(values[net] for net in gate.inputs))
            values[gate.first : gate.first + len(results)] = results
        return values
