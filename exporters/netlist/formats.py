"""Circuits as BLIF and as AIGER, for other tools.

Bits are named ``port[i]``, element by element, the lowest bit first.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporters.netlist.cells import Cell, live_nodes
from exporters.netlist.circuit import Circuit, Port
from exporters.netlist.graph import AND, CARRY, INPUT, MUX, REGISTER, SUM, XOR

_COVERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "and": (("11 1",),),
    "or": (("1- 1", "-1 1"),),
    "xor": (("10 1", "01 1"),),
    "not": (("0 1",),),
    "mux": (("01- 1", "1-1 1"),),
    "half_adder": (("10 1", "01 1"), ("11 1",)),
    "full_adder": (("100 1", "010 1", "001 1", "111 1"), ("11- 1", "1-1 1", "-11 1")),
}
"""Covers of each output of each cell, in the order of its inputs."""


def bit_names(port: Port) -> list[str]:
    """Names of the bits of a port, in the order of ``port.literals``."""
    return [f"{port.name}[{i}]" for i in range(len(port.literals))]


def to_blif(circuit: Circuit) -> str:
    """The cells of ``circuit`` in BLIF; registers are latches that start at 0."""
    return "\n".join(_blif_lines(circuit)) + "\n"


def _blif_lines(circuit: Circuit) -> Iterator[str]:
    names = {0: "const0", 1: "const1"}
    for port in circuit.inputs:
        names |= dict(zip(port.literals, bit_names(port), strict=True))
    outputs = [name for port in circuit.outputs for name in bit_names(port)]
    yield f".model {circuit.name}"
    yield " ".join([".inputs", *(name for port in circuit.inputs for name in bit_names(port))])
    yield " ".join([".outputs", *outputs])
    yield from (".names const0", ".names const1", "1")
    for cell in circuit.cells:
        yield from _blif_cell(cell, names)
    for literal, name in zip(circuit.results, outputs, strict=True):
        yield from (f".names {_wire(literal, names)} {name}", "1 1")
    yield ".end"


def _wire(literal: int, names: dict[int, str]) -> str:
    return names.setdefault(literal, f"n{literal >> 1}" + "i" * (literal & 1))


def _blif_cell(cell: Cell, names: dict[int, str]) -> Iterator[str]:
    inputs = [_wire(literal, names) for literal in cell.inputs]
    if cell.kind == "register":
        yield f".latch {inputs[0]} {_wire(cell.outputs[0], names)} 0"
        return
    for cover, output in zip(_COVERS[cell.kind], cell.outputs, strict=True):
        yield " ".join([".names", *inputs, _wire(output, names)])
        yield from cover


def to_aiger(circuit: Circuit) -> bytes:
    """``circuit`` in the binary AIGER format (version 1.9): ANDs, inverters, and latches for registers."""
    graph = _Aig()
    inputs = [literal for port in circuit.inputs for literal in port.literals]
    graph.map = {0: 0} | {literal >> 1: 2 * (1 + i) for i, literal in enumerate(inputs)}
    live = [n for n in live_nodes(circuit.net, circuit.results) if circuit.net.kinds[n] > INPUT]
    registers = [node for node in live if circuit.net.kinds[node] == REGISTER]
    graph.map |= {node: 2 * (1 + len(inputs) + i) for i, node in enumerate(registers)}
    graph.top = len(inputs) + len(registers)
    for node in live:
        if circuit.net.kinds[node] != REGISTER:
            graph.map[node] = graph.build(circuit.net.kinds[node], circuit.net.operands[node])
    latches = [graph.literal(circuit.net.operands[node][0]) for node in registers]
    results = [graph.literal(literal) for literal in circuit.results]
    counts = (graph.top, len(inputs), len(registers), len(results), len(graph.ands))
    lines = [f"aig {' '.join(map(str, counts))}", *map(str, latches), *map(str, results)]
    body = b"".join(
        _delta(2 * (len(inputs) + len(registers) + 1 + i), a, b) for i, (a, b) in enumerate(graph.ands)
    )
    symbols = [f"i{i} {name}" for i, name in enumerate(n for p in circuit.inputs for n in bit_names(p))]
    symbols += [f"o{i} {name}" for i, name in enumerate(n for p in circuit.outputs for n in bit_names(p))]
    return ("\n".join(lines) + "\n").encode() + body + ("\n".join(symbols) + "\n").encode()


def _delta(left: int, a: int, b: int) -> bytes:
    return _varint(left - a) + _varint(a - b)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


class _Aig:
    """ANDs with inverters. ``map``: the literal of every node of the circuit."""

    def __init__(self) -> None:
        self.map: dict[int, int] = {}
        self.ands: list[tuple[int, int]] = []
        self.top = 0
        self._known: dict[tuple[int, int], int] = {}

    def literal(self, literal: int) -> int:
        return self.map[literal >> 1] ^ (literal & 1)

    def and_(self, a: int, b: int) -> int:
        a, b = max(a, b), min(a, b)
        if b < 2:
            return a if b else 0
        if a >> 1 == b >> 1:
            return a if a == b else 0
        if (a, b) not in self._known:
            self.ands.append((a, b))
            self.top += 1
            self._known[a, b] = 2 * self.top
        return self._known[a, b]

    def xor(self, a: int, b: int) -> int:
        return self.and_(self.and_(a, b) ^ 1, self.and_(a ^ 1, b ^ 1) ^ 1)

    def mux(self, select: int, low: int, high: int) -> int:
        return self.and_(self.and_(select, high) ^ 1, self.and_(select ^ 1, low) ^ 1) ^ 1

    def build(self, kind: int, operands: tuple[int, int, int]) -> int:
        a, b, c = map(self.literal, operands)
        if kind == AND:
            return self.and_(a, b)
        if kind == MUX:
            return self.mux(a, b, c)
        differ = self.xor(a, b)
        if kind == XOR:
            return differ
        if kind == SUM:
            return self.xor(differ, c)
        assert kind == CARRY
        return self.and_(self.and_(a, b) ^ 1, self.and_(differ, c) ^ 1) ^ 1
