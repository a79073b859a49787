"""Pipelines: registers wherever a path would be too long, and as many on every path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exporters.netlist.cells import live_nodes
from exporters.netlist.circuit import Circuit, Port
from exporters.netlist.graph import ARITY, BUILD, INPUT, LEVELS, REGISTER, Netlist


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Where the nodes of a circuit are in its pipeline. ``stages``: registers before each node.
    ``arrivals``: levels since the last of them. ``last``: the stage of the latest output."""

    stages: dict[int, int]
    arrivals: dict[int, int]
    last: int
    arrival: int

    def arrives(self, literal: int, stage: int) -> int:
        """Levels since the last register, for a reader in ``stage``."""
        node = literal >> 1
        return self.arrivals[node] if self.stages[node] == stage else 0


def scheduled(circuit: Circuit, levels: int | None, entered: int = 0) -> Schedule:
    """Registers behind every ``levels`` logic levels; None: nowhere. ``entered``: levels that lie between
    the inputs and the registers before them.

    A gate that has more levels than allowed stands alone between registers.
    """
    source = circuit.net
    found = Schedule({0: 0}, {0: 0}, 0, 0)
    for port in circuit.inputs:
        for literal in port.literals:
            found.stages[literal >> 1], found.arrivals[literal >> 1] = 0, entered
    for node in live_nodes(source, circuit.results):
        kind = source.kinds[node]
        if kind == INPUT:
            continue
        if kind == REGISTER:
            raise ValueError("a circuit must be combinational to be pipelined")
        operands = source.operands[node][: ARITY[kind]]
        stage = max(found.stages[literal >> 1] for literal in operands)
        arrival = max(found.arrives(literal, stage) for literal in operands) + LEVELS[kind]
        if levels is not None and arrival > levels and arrival > LEVELS[kind]:
            stage, arrival = stage + 1, LEVELS[kind]
        found.stages[node], found.arrivals[node] = stage, arrival
    last = max((found.stages[literal >> 1] for literal in circuit.results), default=0)
    arrival = max((found.arrives(literal, last) for literal in circuit.results if literal > 1), default=0)
    return Schedule(found.stages, found.arrivals, last, arrival)


def pipelined(circuit: Circuit, levels: int | None) -> tuple[Circuit, int]:
    """``circuit`` with registers behind every ``levels`` logic levels and behind its outputs; None: behind
    its outputs alone. Also the latency: how many registers each path has.

    Every path from an input to an output has as many registers, so a new sample may enter at every clock.
    Constant outputs have none.
    """
    schedule = scheduled(circuit, levels)
    return registered(circuit, schedule, schedule.last + 1), schedule.last + 1


def registered(circuit: Circuit, schedule: Schedule, latency: int) -> Circuit:
    """``circuit`` with the registers of ``schedule``, and more behind its outputs up to ``latency``."""
    source, net = circuit.net, Netlist()
    delays = _Delays(net, schedule)
    for port in circuit.inputs:
        for literal, fresh in zip(port.literals, net.inputs(len(port.literals)), strict=True):
            delays.place(literal >> 1, fresh)
    for node in live_nodes(source, circuit.results):
        kind = source.kinds[node]
        if kind == INPUT:
            continue
        operands = source.operands[node][: ARITY[kind]]
        stage = schedule.stages[node]
        delays.place(node, BUILD[kind](net, *(delays.at(literal, stage) for literal in operands)))
    inputs = tuple(_port(port, delays, 0) for port in circuit.inputs)
    outputs = tuple(_port(port, delays, latency) for port in circuit.outputs)
    return Circuit(circuit.name, net, inputs, outputs)


def _port(port: Port, delays: _Delays, stage: int) -> Port:
    literals = [delays.at(literal, stage) for literal in port.literals]
    return Port(port.name, port.type, np.array(literals, np.int64).reshape(port.nets.shape))


class _Delays:
    """The nodes of a circuit in its pipeline, and the registers that carry them further."""

    def __init__(self, net: Netlist, schedule: Schedule) -> None:
        self._net = net
        self._stages = schedule.stages
        self._chains: dict[int, list[int]] = {0: [0]}

    def place(self, node: int, literal: int) -> None:
        self._chains[node] = [literal]

    def at(self, literal: int, stage: int) -> int:
        """``literal`` as it is in ``stage``, through registers that all its readers share."""
        node = literal >> 1
        if node == 0:
            return literal
        chain = self._chains[node]
        while len(chain) <= stage - self._stages[node]:
            chain.append(self._net.register(chain[-1]))
        return chain[stage - self._stages[node]] ^ (literal & 1)
