"""A circuit: a netlist and what its inputs and outputs mean."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from exporters.netlist.cells import Cell, cells
from exporters.netlist.graph import Netlist
from exporters.netlist.rules.words import Nets
from runtime.errors import InputError
from runtime.types import TensorType


@dataclass(frozen=True, slots=True, eq=False)
class Port:
    """One value at the edge of a circuit. ``nets``: literals ``(*type.shape, type.bits)``, lowest bit
    first, in two's complement where the interval is signed."""

    name: str
    type: TensorType
    nets: Nets

    @property
    def literals(self) -> list[int]:
        """All bits: element by element, the lowest first."""
        literals: list[int] = self.nets.reshape(-1).tolist()
        return literals


@dataclass(frozen=True, eq=False)
class Circuit:
    """``net`` between ``inputs`` and ``outputs``."""

    name: str
    net: Netlist
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def only(self, channel: int) -> Circuit:
        """What one channel of every output takes. Raises InputError where there is no such channel."""
        outputs = []
        for port in self.outputs:
            if not 0 <= channel < port.type.channels:
                raise InputError(
                    f"channel must be within 0..{port.type.channels - 1} of {self.name!r}, not {channel}"
                )
            nets = port.nets[channel : channel + 1] if port.type.shape else port.nets
            outputs.append(Port(port.name, TensorType(nets.shape[:-1], port.type.interval), nets))
        return replace(self, outputs=tuple(outputs))

    @cached_property
    def results(self) -> tuple[int, ...]:
        """Literals of all outputs, port by port."""
        return tuple(literal for port in self.outputs for literal in port.literals)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of everything that an output depends on."""
        return tuple(cells(self.net, self.results))

    @cached_property
    def counts(self) -> Counter[str]:
        """How many of each cell there are."""
        return Counter(cell.kind for cell in self.cells)

    @property
    def depth(self) -> int:
        """Gates on the longest path; a full adder counts as two."""
        return max((self.net.level(literal) for literal in self.results), default=0)


def input_port(net: Netlist, name: str, type_: TensorType) -> Port:
    """A port of new inputs."""
    literals = net.inputs(type_.size * type_.bits)
    return Port(name, type_, np.array(literals, np.int64).reshape(*type_.shape, type_.bits))
