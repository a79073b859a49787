"""Truth tables as integers: bit ``i`` is the value where input ``j`` is bit ``j`` of ``i``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from exporters.netlist.covering import Subject
from exporters.netlist.graph import AND, MUX, SUM, XOR

Nodes = tuple[int, ...]


@cache
def column(place: int, inputs: int) -> int:
    """The table of one input."""
    table = ((1 << (1 << place)) - 1) << (1 << place)
    for i in range(place + 1, inputs):
        table |= table << (1 << i)
    return table


def ones(inputs: int) -> int:
    """The table that is 1 everywhere."""
    return (1 << (1 << inputs)) - 1


def truth(subject: Subject, node: int, leaves: Mapping[int, int], inputs: int) -> int:
    """The table of ``node`` where the nodes ``leaves`` have tables of that many inputs."""
    values, full = {0: 0} | dict(leaves), ones(inputs)
    stack = [node]
    while stack:
        top = stack[-1]
        if top in values:
            stack.pop()
            continue
        kind, operands = subject.nodes[top]
        if missing := [literal >> 1 for literal in operands if literal >> 1 not in values]:
            stack += missing
            continue
        stack.pop()
        values[top] = gate_table(kind, operands, values, full)
    return values[node]


def gate_table(kind: int, operands: Iterable[int], tables: Mapping[int, int], full: int) -> int:
    """The table of a gate on the literals ``operands``, of whose nodes there are ``tables``; ``full``: the
    table that is 1."""
    bits = [tables[literal >> 1] ^ full * (literal & 1) for literal in operands]
    if kind == AND:
        return bits[0] & bits[1]
    if kind == XOR:
        return bits[0] ^ bits[1]
    a, b, c = bits
    if kind == SUM:
        return a ^ b ^ c
    return b ^ (a & (b ^ c)) if kind == MUX else c ^ ((a ^ c) & (b ^ c))


def cofactors(table: int, place: int, inputs: int) -> tuple[int, int]:
    """The table where input ``place`` is 0 and where it is 1, over the same inputs."""
    high, width = table & column(place, inputs), 1 << place
    low = table & ~column(place, inputs)
    return low | low << width, high | high >> width


@cache
def reduced(table: int, inputs: int) -> tuple[int, tuple[int, ...]]:
    """The table over the inputs that matter, and which those are."""
    kept = list(range(inputs))
    place = 0
    while place < len(kept):
        low, high = cofactors(table, place, len(kept))
        if low == high:
            rows = [i for i in range(1 << len(kept)) if not i >> place & 1]
            table = sum((table >> row & 1) << i for i, row in enumerate(rows))
            del kept[place]
        else:
            place += 1
    return table, tuple(kept)
