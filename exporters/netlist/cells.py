"""A netlist as the cells a library has: where inverters stand, and which nodes are one adder.

A wire is named by the literal whose value it carries. Every node is computed in one polarity, the one its
cell gives with the fewest inverters; its other polarity is a ``not``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from exporters.netlist.graph import AND, CARRY, CONSTANT, INPUT, MUX, REGISTER, SUM, XOR, Netlist


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: ``kind`` as in the cost model, its input wires and its output wires (adders: sum,
    carry)."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def live_nodes(net: Netlist, outputs: Iterable[int]) -> list[int]:
    """Nodes that ``outputs``, literals, depend on, in order."""
    live = bytearray(len(net))
    for literal in outputs:
        live[literal >> 1] = 1
    kinds, operands = net.kinds, net.operands
    for node in range(len(net) - 1, 0, -1):
        if live[node] and kinds[node] > INPUT:
            for literal in operands[node]:
                live[literal >> 1] = 1
    return [node for node in range(1, len(net)) if live[node]]


def cells(net: Netlist, outputs: Iterable[int]) -> list[Cell]:
    """The cells that compute ``outputs``, in topological order; ``outputs`` themselves are wires of
    them."""
    wanted = list(outputs)
    nodes = live_nodes(net, wanted)
    mapper = _Mapper(net, _partners(net, nodes))
    for node in nodes:
        mapper.map(node)
    for literal in wanted:
        mapper.wire(literal)
    return mapper.cells


def _partners(net: Netlist, nodes: list[int]) -> dict[int, int]:
    """The other node of a full adder or a half adder, by the node that comes later."""
    first: dict[tuple[int, ...], int] = {}
    found: dict[int, int] = {}
    pairs = {SUM: CARRY, CARRY: SUM, XOR: AND, AND: XOR}
    for node in nodes:
        kind = net.kinds[node]
        if kind in pairs:
            on = tuple(sorted(literal >> 1 for literal in net.operands[node]))
            if (other := first.pop((pairs[kind], *on), None)) is not None:
                found[node] = other
                found[other] = node
            else:
                first.setdefault((kind, *on), node)
    return found


class _Mapper:
    """Cells so far, and which wires they drive."""

    def __init__(self, net: Netlist, partners: dict[int, int]) -> None:
        self.net = net
        self.partners = partners
        self.cells: list[Cell] = []
        self.driven: set[int] = {0, 1}
        self.native: dict[int, int] = {}

    def wire(self, literal: int) -> int:
        """``literal`` itself, driven by an inverter if by nothing else."""
        if literal not in self.driven:
            self.add("not", (literal ^ 1,), (literal,))
        return literal

    def add(self, kind: str, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        self.cells.append(Cell(kind, inputs, outputs))
        self.driven.update(outputs)

    def at_hand(self, literal: int) -> int:
        """The literal of the same node that its cell drives."""
        return self.native.get(literal >> 1, literal & ~1)

    def drive(self, literal: int) -> int:
        self.native[literal >> 1] = literal
        return literal

    def map(self, node: int) -> None:
        """The cell of ``node``, and of its partner with it."""
        if node in self.native:
            return
        kind = self.net.kinds[node]
        if kind in (CONSTANT, INPUT):
            self.driven.add(self.drive(2 * node))
            return
        partner = self.partners.get(node)
        _MAPS[kind](self, node, partner)

    def inverted(self, literals: Iterable[int]) -> int:
        """How many of ``literals`` would need an inverter."""
        return sum(literal not in self.driven for literal in literals)

    def wires(self, literals: Iterable[int]) -> tuple[int, ...]:
        return tuple(self.wire(literal) for literal in literals)


def _parity(literals: Iterable[int]) -> int:
    return sum(literals) & 1


def _and(mapper: _Mapper, node: int, partner: int | None) -> None:
    a, b, _ = mapper.net.operands[node]
    if partner is not None and mapper.inverted((a, b)) < 2:
        _adder(mapper, "half_adder", (a, b), partner, 2 * node)
    elif mapper.inverted((a, b)) == 2:
        mapper.add("or", (a ^ 1, b ^ 1), (mapper.drive(2 * node + 1),))
    else:
        mapper.add("and", mapper.wires((a, b)), (mapper.drive(2 * node),))


def _adder(mapper: _Mapper, kind: str, literals: tuple[int, ...], total: int, carry: int) -> None:
    wires = mapper.wires(literals)
    mapper.add(kind, wires, (mapper.drive(2 * total + _parity(wires)), mapper.drive(carry)))


def _carry_literals(mapper: _Mapper, node: int) -> tuple[tuple[int, ...], int]:
    """The inputs of a carry in the polarity that needs fewer inverters, and the literal it then gives."""
    literals = mapper.net.operands[node]
    flip = int(mapper.inverted(literals) > 1)
    return tuple(literal ^ flip for literal in literals), 2 * node + flip


def _carry(mapper: _Mapper, node: int, partner: int | None) -> None:
    literals, carry = _carry_literals(mapper, node)
    if partner is not None:
        _adder(mapper, "full_adder", literals, partner, carry)
        return
    a, b, c = literals  # a mux: where two inputs differ the third decides
    differ = mapper.net.xor(a, b)
    mapper.map(differ >> 1)
    select = mapper.at_hand(differ)
    low, high = (a, c) if select == differ else (c, a)
    mapper.add("mux", (select, *mapper.wires((low, high))), (mapper.drive(carry),))


def _xor(mapper: _Mapper, node: int, partner: int | None) -> None:
    if partner is not None:
        mapper.map(partner)
    if node in mapper.native:
        return
    a, b, _ = mapper.net.operands[node]
    wires = mapper.at_hand(a), mapper.at_hand(b)
    mapper.add("xor", wires, (mapper.drive(2 * node + _parity(wires)),))


def _sum(mapper: _Mapper, node: int, partner: int | None) -> None:
    if partner is not None:
        mapper.map(partner)
        return
    a, b, c = mapper.net.operands[node]
    first = mapper.net.xor(a, b)
    mapper.map(first >> 1)
    wires = mapper.at_hand(first), mapper.at_hand(c)
    mapper.add("xor", wires, (mapper.drive(2 * node + _parity((first ^ wires[0], c ^ wires[1]))),))


def _mux(mapper: _Mapper, node: int, partner: int | None) -> None:
    select, low, high = mapper.net.operands[node]
    wire = mapper.at_hand(select)
    if wire != select:
        low, high = high, low
    flip = int(mapper.inverted((low, high)) == 2)
    mapper.add("mux", (wire, *mapper.wires((low ^ flip, high ^ flip))), (mapper.drive(2 * node + flip),))


def _register(mapper: _Mapper, node: int, partner: int | None) -> None:
    source = mapper.net.operands[node][0]
    wire = mapper.at_hand(source)
    mapper.add("register", (wire,), (mapper.drive(2 * node + (wire ^ source)),))


_MAPS = {AND: _and, XOR: _xor, MUX: _mux, SUM: _sum, CARRY: _carry, REGISTER: _register}
