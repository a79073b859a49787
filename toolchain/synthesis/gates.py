"""Gate equivalents of a netlist as synthesis builds it from a library, without any tool.

Every node is computed by a cell or, from up to six others, by the gates of its decision diagram,
whichever costs less beside what is there anyway. A full adder is two XORs and three NANDs. Then
polarities are chosen: where a NAND or a NOR gives what is wanted it takes 1 GE, an AND or an OR takes
1.33, and an inverter 0.67.
"""

from __future__ import annotations

from functools import cache
from itertools import count

from exporters.netlist.circuit import Circuit
from exporters.netlist.covering import Cover, Cut, Subject
from exporters.netlist.graph import AND, CARRY, MUX, SUM, XOR
from exporters.netlist.mapping import table_of, wide_cuts
from exporters.netlist.truth import cofactors, ones
from toolchain.cost.cells import CELLS
from toolchain.synthesis.library import NAND
from toolchain.synthesis.polarity import Gate, with_polarities

CELL_GE = {AND: NAND, XOR: CELLS["xor"].ge, MUX: CELLS["mux"].ge, CARRY: 3 * NAND}
"""Of every kind of node from its own operands; of a carry beside the XOR of two of its inputs."""

CHOICE = CELL_GE | {AND: (NAND + CELLS["and"].ge) / 2}
"""The same while it is chosen what to compute from what: polarities are not known yet."""

WIDEST = 6
"""Most inputs of a node that its diagram computes: truth tables of 64 bits."""


def gate_equivalents(circuit: Circuit) -> float:
    """Gate equivalents of the logic of ``circuit``, which is combinational."""
    subject = _split(Subject.of(circuit.net, circuit.results))

    def price(node: int, cut: Cut) -> float:
        if cut == subject.operands(node):
            return CHOICE[subject.nodes[node][0]]
        return function_ge(*table_of(subject, node, cut))

    cover = Cover(subject, WIDEST, price, wide_cuts(subject, WIDEST))
    cover.choose(by_depth=False, rounds=3)
    gates = [_gate(subject, node, cut) for node, cut in cover.chosen().items()]
    return with_polarities(gates, circuit.results)


def _split(subject: Subject) -> Subject:
    """Sums of three as two XORs, the first of which is the last operand of their carries too."""
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
            nodes[node] = (CARRY, (a, b, c, 2 * pairs[key]))
    return Subject(nodes, subject.roots)


@cache
def function_ge(table: int, inputs: int) -> float:
    """Gate equivalents of the smaller of a few decision diagrams of a function, inverters not counted."""
    weights = [
        bin(low ^ high).count("1") for low, high in (cofactors(table, i, inputs) for i in range(inputs))
    ]
    orders = {tuple(range(inputs)), tuple(sorted(range(inputs), key=lambda i: (weights[i], i)))}
    orders |= {tuple(reversed(order)) for order in orders}
    return min((_diagram_ge(table, order, inputs) for order in orders), default=0.0)


def _diagram_ge(table: int, order: tuple[int, ...], inputs: int) -> float:
    """The last input of ``order`` is the root. A function and its inverse are one node."""
    full, built, cost = ones(inputs), set[int](), 0.0
    stack = [(table, inputs - 1)]
    while stack:
        here, at = stack.pop()
        while at >= 0:
            low, high = cofactors(here, order[at], inputs)
            if low != high:
                break
            at -= 1
        key = min(here, here ^ full)
        if at < 0 or key in built:
            continue
        built.add(key)
        cost += _branch_ge(low, high, full)
        stack += [(low, at - 1), (high, at - 1)]
    return cost


def _branch_ge(low: int, high: int, full: int) -> float:
    constants = (low in (0, full)) + (high in (0, full))
    if constants == 2:
        return 0.0
    if constants == 1:
        return NAND
    if low == high ^ full:
        return CELLS["xor"].ge
    return 2 * NAND if low & high in (low, high) else CELLS["mux"].ge


def _gate(subject: Subject, node: int, cut: Cut) -> Gate:
    kind, operands = subject.nodes[node]
    if cut == subject.operands(node):
        return Gate(node, kind, operands, CELL_GE[kind])
    return Gate(node, None, (), function_ge(*table_of(subject, node, cut)))
