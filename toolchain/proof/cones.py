"""Parts of a circuit: what nodes depend on, and their values where some nodes are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from operator import or_
from typing import NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from exporters.netlist.graph import AND, ARITY, MUX, SUM, XOR, Netlist

Bools = NDArray[np.bool_]

Value = TypeVar("Value")


class OpenConeError(Exception):
    """A node depends on an input that is not given."""


def resolve(
    net: Netlist,
    node: int,
    values: dict[int, Value],
    gate: Callable[[int, tuple[int, ...]], Value],
    leaf: Callable[[int], Value],
) -> Value:
    """The value of ``node``, put into ``values`` with those of all it depends on.

    ``gate(kind, operands)`` makes that of a gate once its operands have theirs, ``leaf(node)`` that of an
    input or a register.
    """
    stack = [node]
    while stack:
        top = stack[-1]
        if top in values:
            stack.pop()
            continue
        kind = net.kinds[top]
        if ARITY[kind] < 2:
            values[top] = leaf(top)
            continue
        operands = net.operands[top][: ARITY[kind]]
        missing = [literal >> 1 for literal in operands if literal >> 1 not in values]
        if missing:
            stack += missing
        else:
            values[top] = gate(kind, operands)
    return values[node]


def closed(node: int) -> NoReturn:
    """A leaf that must not be reached. Raises OpenConeError."""
    raise OpenConeError


def supports(net: Netlist, literals: Iterable[int]) -> list[frozenset[int]]:
    """The input nodes that each literal depends on by its gates."""
    masks: dict[int, int] = {0: 0}  # bit i for input node i

    def union(kind: int, operands: tuple[int, ...]) -> int:
        return reduce(or_, (masks[literal >> 1] for literal in operands))

    found = (resolve(net, literal >> 1, masks, union, lambda node: 1 << node) for literal in literals)
    return [frozenset(_ones(mask)) for mask in found]


def _ones(mask: int) -> Iterable[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def evaluate(net: Netlist, given: Mapping[int, Bools], literals: Iterable[int]) -> list[Bools]:
    """Values of ``literals`` where the nodes ``given`` have theirs, whatever drives those.

    Raises OpenConeError where another input is needed.
    """
    size = len(next(iter(given.values()))) if given else 1
    return evaluated(net, dict(given) | {0: np.zeros(size, bool)}, literals)


def evaluated(net: Netlist, values: dict[int, Bools], literals: Iterable[int]) -> list[Bools]:
    """The same where ``values`` has those of the constant too; those of all nodes on the way are added."""

    def gate(kind: int, operands: tuple[int, ...]) -> Bools:
        return _gate(kind, [values[literal >> 1] ^ bool(literal & 1) for literal in operands])

    return [resolve(net, literal >> 1, values, gate, closed) ^ bool(literal & 1) for literal in literals]


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
