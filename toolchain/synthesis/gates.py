"""Gate equivalents of a netlist as synthesis builds it from a library, without any tool.

A full adder is two XORs and a multiplexer. Then the netlist is built anew: every node by the gate that it
is or, from up to six others, by the fewest gates that its function is found to take, whichever costs less
beside what is there anyway. Every gate gets a polarity: where a NAND or a NOR gives what is wanted it takes
1 GE, an AND or an OR takes 1.33, and an inverter 0.67. So what is counted is a circuit that exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

from exporters.netlist.circuit import Circuit
from exporters.netlist.covering import Cover, Cut, Subject
from exporters.netlist.functions import PRICES, build_function, function_ge
from exporters.netlist.graph import AND, CARRY, INPUT, MUX, SUM, XOR, Netlist, built
from exporters.netlist.mapping import table_of, wide_cuts
from toolchain.cost.cells import CELLS
from toolchain.synthesis.library import NAND
from toolchain.synthesis.polarity import Gate, with_polarities

CELL_GE = {AND: NAND, XOR: CELLS["xor"].ge, MUX: CELLS["mux"].ge}
"""Of every kind of node from its own operands."""

WIDEST = 6
"""Most inputs of a node that is built from its function: truth tables of 64 bits."""

ROUNDS = 2
"""Times that a netlist is built anew."""

ONCE_NODES = 4000
"""Most nodes of a netlist that is built anew more than once."""


def gate_equivalents(circuit: Circuit) -> float:
    """Gate equivalents of the logic of ``circuit``, which is combinational."""
    return min(_sizes(circuit.net, circuit.results))


def _sizes(net: Netlist, outputs: Sequence[int]) -> Iterator[float]:
    """Of the netlist as it is, and every time that it was built anew."""
    for _ in range(ROUNDS):
        subject = without_adders(Subject.of(net, outputs))
        yield _counted(subject, outputs)
        net, outputs = rebuilt(net, subject, outputs)
        if len(subject.nodes) > ONCE_NODES:
            break
    yield _counted(without_adders(Subject.of(net, outputs)), outputs)


def _counted(subject: Subject, outputs: Sequence[int]) -> float:
    gates = [Gate(node, kind, operands, CELL_GE[kind]) for node, (kind, operands) in subject.nodes.items()]
    return with_polarities(gates, outputs)


def without_adders(subject: Subject) -> Subject:
    """Sums of three as two XORs, the first of which selects their carries: where two bits differ the third
    decides."""
    fresh = count(max(subject.nodes, default=0) + 1)
    pairs: dict[tuple[int, int], int] = {
        (ops[0] >> 1, ops[1] >> 1): node for node, (kind, ops) in subject.nodes.items() if kind == XOR
    }
    nodes: dict[int, tuple[int, tuple[int, ...]]] = {}
    for node, (kind, operands) in subject.nodes.items():
        if kind not in (SUM, CARRY):
            nodes[node] = (kind, operands)
            continue
        a, b, c = sorted(operands)
        key = (a >> 1, b >> 1)
        if key not in pairs or pairs[key] not in nodes:
            pairs[key] = next(fresh)
            nodes[pairs[key]] = (XOR, (a & ~1, b & ~1))
        if kind == SUM:
            nodes[node] = (XOR, (2 * pairs[key], c))
        else:
            nodes[node] = (MUX, (2 * pairs[key] ^ (a ^ b) & 1, a, c))
    return Subject(nodes, subject.roots)


def rebuilt(net: Netlist, subject: Subject, outputs: Sequence[int]) -> tuple[Netlist, list[int]]:
    """What ``outputs`` depend on, in fewer gates, and where the outputs are then."""

    def price(node: int, cut: Cut) -> float:
        if cut == subject.operands(node):
            return PRICES[subject.nodes[node][0]]
        table, kept = table_of(subject, node, cut)
        return function_ge(table, len(kept))

    cover = Cover(subject, WIDEST, price, wide_cuts(subject, WIDEST))
    cover.choose(by_depth=False, rounds=3)
    new = Netlist()
    place = {0: 0} | {node: new.inputs(1)[0] for node in range(1, len(net)) if net.kinds[node] == INPUT}
    for node, cut in cover.chosen().items():
        kind, operands = subject.nodes[node]
        if cut == subject.operands(node):
            place[node] = built(new, kind, operands, place)
        else:
            table, kept = table_of(subject, node, cut)
            place[node] = build_function(new, table, [place[leaf] for leaf in kept])
    return new, [place[literal >> 1] ^ literal & 1 for literal in outputs]
