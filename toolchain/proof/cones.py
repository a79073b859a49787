"""Parts of a circuit: what nodes depend on, and their values where some nodes are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from exporters.netlist.graph import AND, CARRY, INPUT, MUX, SUM, XOR, Netlist

Bools = NDArray[np.bool_]

OPERANDS = {AND: 2, XOR: 2, MUX: 3, SUM: 3, CARRY: 3}


class OpenConeError(Exception):
    """A node depends on an input that is not given."""


def supports(net: Netlist, literals: Iterable[int]) -> list[frozenset[int]]:
    """The input nodes that each literal depends on by its gates."""
    masks: dict[int, int] = {0: 0}
    found = []
    for literal in literals:
        mask = _mask(net, literal >> 1, masks)
        found.append(frozenset(i for i in _ones(mask)))
    return found


def _ones(mask: int) -> Iterable[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _mask(net: Netlist, node: int, masks: dict[int, int]) -> int:
    """Bit ``i`` for input node ``i``."""
    stack = [node]
    while stack:
        top = stack[-1]
        if top in masks:
            stack.pop()
            continue
        if net.kinds[top] <= INPUT:
            masks[top] = 1 << top
            continue
        operands = [literal >> 1 for literal in net.operands[top][: OPERANDS[net.kinds[top]]]]
        missing = [operand for operand in operands if operand not in masks]
        if missing:
            stack += missing
        else:
            mask = 0
            for operand in operands:
                mask |= masks[operand]
            masks[top] = mask
    return masks[node]


def evaluate(net: Netlist, given: Mapping[int, Bools], literals: Iterable[int]) -> list[Bools]:
    """Values of ``literals`` where the nodes ``given`` have theirs, whatever drives those.

    Raises OpenConeError where another input is needed.
    """
    values = dict(given)
    size = len(next(iter(given.values()))) if given else 1
    values[0] = np.zeros(size, bool)
    return [_value(net, literal >> 1, values) ^ bool(literal & 1) for literal in literals]


def _value(net: Netlist, node: int, values: dict[int, Bools]) -> Bools:
    stack = [node]
    while stack:
        top = stack[-1]
        if top in values:
            stack.pop()
            continue
        kind = net.kinds[top]
        if kind not in OPERANDS:
            raise OpenConeError
        operands = net.operands[top][: OPERANDS[kind]]
        missing = [literal >> 1 for literal in operands if literal >> 1 not in values]
        if missing:
            stack += missing
            continue
        bits = [values[literal >> 1] ^ bool(literal & 1) for literal in operands]
        values[top] = _gate(kind, bits)
    return values[node]


def _gate(kind: int, bits: list[Bools]) -> Bools:
    if kind == AND:
        return bits[0] & bits[1]
    if kind == XOR:
        return bits[0] ^ bits[1]
    a, b, c = bits
    if kind == SUM:
        return a ^ b ^ c
    return np.where(a, c, b) if kind == MUX else (a & b) | (c & (a | b))


def combinations(nodes: Iterable[int]) -> dict[int, Bools]:
    """Every combination of values of ``nodes``."""
    order = list(nodes)
    rows = np.arange(1 << len(order), dtype=np.int64)
    return {node: (rows >> i & 1).astype(bool) for i, node in enumerate(order)}


def number(bits: Iterable[Bools], signed: bool) -> NDArray[np.int64]:
    """The integers that words of bits are, the lowest bit first."""
    planes = [plane.astype(np.int64) for plane in bits]
    total = sum((plane << i for i, plane in enumerate(planes)), np.zeros(1, np.int64))
    return total - (planes[-1] << len(planes)) if signed and planes else total
