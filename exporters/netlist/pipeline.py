"""Pipelines: registers wherever a path would be too long, and as many on every path."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from exporters.netlist.cells import live_nodes
from exporters.netlist.circuit import Circuit, Port
from exporters.netlist.graph import AND, CARRY, INPUT, LEVELS, MUX, REGISTER, SUM, XOR, Netlist

_BUILD: dict[int, Callable[..., int]] = {
    AND: Netlist.and_,
    XOR: Netlist.xor,
    MUX: Netlist.mux,
    SUM: Netlist.sum3,
    CARRY: Netlist.carry,
}


def pipelined(circuit: Circuit, levels: int | None) -> tuple[Circuit, int]:
    """``circuit`` with registers behind every ``levels`` logic levels and behind its outputs; None: behind
    its outputs alone. Also the latency: how many registers each path has.

    A gate that has more levels than allowed stands alone between registers. Every path from an input to an
    output has as many registers, so a new sample may enter at every clock. Constant outputs have none.
    """
    source, net = circuit.net, Netlist()
    delays = _Delays(net)
    for port in circuit.inputs:
        for literal, fresh in zip(port.literals, net.inputs(len(port.literals)), strict=True):
            delays.place(literal >> 1, fresh, 0, 0)
    for node in live_nodes(source, circuit.results):
        kind = source.kinds[node]
        if kind == INPUT:
            continue
        if kind == REGISTER:
            raise ValueError("a circuit must be combinational to be pipelined")
        count = 2 if kind in (AND, XOR) else 3
        operands = source.operands[node][:count]
        stage = max(delays.stage(literal) for literal in operands)
        arrival = max(delays.arrival(literal, stage) for literal in operands) + LEVELS[kind]
        if levels is not None and arrival > levels and arrival > LEVELS[kind]:
            stage, arrival = stage + 1, LEVELS[kind]
        built = _BUILD[kind](net, *(delays.at(literal, stage) for literal in operands))
        delays.place(node, built, stage, arrival)
    last = max((delays.stage(literal) for literal in circuit.results), default=0)
    outputs = tuple(_registered(port, delays, last + 1) for port in circuit.outputs)
    inputs = tuple(
        Port(port.name, port.type, _mapped(port, [delays.at(n, 0) for n in port.literals]))
        for port in circuit.inputs
    )
    return Circuit(circuit.name, net, inputs, outputs), last + 1


def _registered(port: Port, delays: _Delays, stage: int) -> Port:
    return Port(port.name, port.type, _mapped(port, [delays.at(n, stage) for n in port.literals]))


def _mapped(port: Port, literals: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.array(literals, np.int64).reshape(port.nets.shape)


class _Delays:
    """Where every node of a circuit is in its pipeline, and the registers that carry it further."""

    def __init__(self, net: Netlist) -> None:
        self._net = net
        self._chains: dict[int, list[int]] = {0: [0]}
        self._stages: dict[int, int] = {0: 0}
        self._arrivals: dict[int, int] = {0: 0}

    def place(self, node: int, literal: int, stage: int, arrival: int) -> None:
        self._chains[node] = [literal]
        self._stages[node] = stage
        self._arrivals[node] = arrival

    def stage(self, literal: int) -> int:
        return self._stages[literal >> 1]

    def arrival(self, literal: int, stage: int) -> int:
        """Levels since the last register, for a reader in ``stage``."""
        node = literal >> 1
        return self._arrivals[node] if self._stages[node] == stage else 0

    def at(self, literal: int, stage: int) -> int:
        """``literal`` as it is in ``stage``, through registers that all its readers share."""
        node = literal >> 1
        if node == 0:
            return literal
        chain = self._chains[node]
        while len(chain) <= stage - self._stages[node]:
            chain.append(self._net.register(chain[-1]))
        return chain[stage - self._stages[node]] ^ (literal & 1)
