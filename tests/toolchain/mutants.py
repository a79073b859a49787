"""Circuits with one planted fault."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from exporters.netlist.cells import live_nodes
from exporters.netlist.circuit import Circuit
from exporters.netlist.graph import AND, CARRY, INPUT, MUX, SUM, XOR, Netlist

OTHER_KIND = {AND: XOR, XOR: AND, SUM: CARRY, CARRY: SUM, MUX: SUM}
USED = {AND: 2, XOR: 2, SUM: 3, CARRY: 3, MUX: 3}


def copied(circuit: Circuit) -> Circuit:
    """The same circuit on lists of its own; nothing may be built on it."""
    net = Netlist(circuit.net.style)
    net.kinds, net.operands = list(circuit.net.kinds), list(circuit.net.operands)
    net.levels = list(circuit.net.levels)
    return Circuit(circuit.name, net, circuit.inputs, circuit.outputs)


def mutants(circuit: Circuit, count: int, seed: int = 0) -> Iterator[tuple[str, Circuit]]:
    """Another kind of gate, an inverter more, or an operand that is 0, each at a random live gate."""
    rng = np.random.default_rng(seed)
    gates = [node for node in live_nodes(circuit.net, circuit.results) if circuit.net.kinds[node] > INPUT]
    for _ in range(count):
        changed, node = copied(circuit), int(rng.choice(gates))
        net = changed.net
        kind, operands = net.kinds[node], list(net.operands[node])
        place = int(rng.integers(USED[kind]))
        fault = str(rng.choice(["kind", "inverter", "dropped"]))
        if fault == "kind":
            net.kinds[node] = OTHER_KIND[kind]
        elif fault == "inverter":
            operands[place] ^= 1
        else:
            operands[place] = 0
        a, b, c = operands
        net.operands[node] = (a, b, c)
        yield f"{fault} at node {node}", changed
