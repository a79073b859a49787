"""Gates that compute a function of up to six inputs: how many, and themselves.

A function is split over and over into ``high if select else low``, where ``select`` reads some of its
inputs and ``low`` and ``high`` read the others: one input as in a decision diagram, or several that matter
only by one bit. ANDs, ORs and XORs are such splits whose branches are constants or inverses of each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations
from typing import NamedTuple

from exporters.netlist.graph import AND, ARITY, INPUT, MUX, XOR, Netlist
from exporters.netlist.truth import cofactors, column, gate_table, ones

INVERTER_GE, NAND_GE, AND_GE, XOR_GE, MUX_GE = 0.67, 1.0, 1.33, 2.0, 2.33
"""Gate equivalents of the cells that gates are chosen for; a NOR is as a NAND, an OR as an AND."""

EITHER_GE = (NAND_GE + AND_GE) / 2
"""Of an AND while its polarity is not known."""

PRICES = {AND: EITHER_GE, XOR: XOR_GE, MUX: MUX_GE}
"""Gate equivalents of a gate of each kind while polarities are not known."""

FEW_INPUTS, FEW_GATES = 4, 30
"""Most inputs and gates of a function that is built anew."""


class Both(NamedTuple):
    """Gate equivalents of a function and of its inverse, inverters counted, nothing shared."""

    upright: float
    inverse: float

    def flipped(self, flip: int = 1) -> Both:
        """Of the inverse, where ``flip`` is 1."""
        return Both(self.inverse, self.upright) if flip else self


class Split(NamedTuple):
    """``high if select else low``, each a table over all inputs of the function."""

    select: int
    low: int
    high: int


class Form(NamedTuple):
    """``parts``: the tables that gates compute, the function's own among them, with the gate equivalents of
    each. ``split``: of the function, None where it is constant or a literal. ``both``: as a tree."""

    parts: frozenset[tuple[int, float]]
    split: Split | None
    both: Both

    @property
    def ge(self) -> float:
        """Gate equivalents, those of inverters not counted."""
        return round(sum(cost for _, cost in self.parts), 6)


@cache
def function_ge(table: int, inputs: int) -> float:
    """Gate equivalents of a function, those of inverters not counted."""
    return form(_upright(table, inputs), inputs).ge


def _upright(table: int, inputs: int) -> int:
    """The function or its inverse, whichever is 0 where all inputs are."""
    return table ^ ones(inputs) * (table & 1)


@cache
def form(table: int, inputs: int) -> Form:
    """The split with the fewest gates of a function that is 0 where all inputs are; of equals the one
    with fewest inverters in between."""
    if table == 0:
        return Form(frozenset(), None, Both(0.0, 0.0))
    if table in (column(i, inputs) for i in range(inputs)):
        return Form(frozenset(), None, Both(0.0, INVERTER_GE))
    found = (_parts(table, split, inputs) for split in _splits(table, inputs))
    return min(found, key=lambda one: (one.ge, round(sum(one.both), 6)))


def _parts(table: int, split: Split, inputs: int) -> Form:
    parts = {(table, _branch_ge(split, ones(inputs)))}
    for part in split:
        parts |= form(_upright(part, inputs), inputs).parts
    select, low, high = (form(_upright(part, inputs), inputs).both.flipped(part & 1) for part in split)
    return Form(frozenset(parts), split, _both(split, ones(inputs), select, low, high))


def _branch_ge(split: Split, full: int) -> float:
    _, low, high = split
    if low in (0, full) or high in (0, full):
        return EITHER_GE
    if low == high ^ full:
        return XOR_GE
    return 2 * EITHER_GE if low & high in (low, high) else MUX_GE


def _both(split: Split, full: int, select: Both, low: Both, high: Both) -> Both:
    """Of ``high if select else low``, whose parts take so much."""
    if split.low in (0, full):
        return _or(select.flipped(), high) if split.low else _and(select, high)
    if split.high in (0, full):
        return _or(select, low) if split.high else _and(select.flipped(), low)
    if split.low == split.high ^ full:
        return Both(*[min(select) + min(low) + XOR_GE] * 2)
    if split.low & split.high == split.low:
        return _or(low, _and(select, high))
    if split.low & split.high == split.high:
        return _or(high, _and(select.flipped(), low))
    more = min(select) + MUX_GE
    return _inverted_where_cheaper(low.upright + high.upright + more, low.inverse + high.inverse + more)


def _or(a: Both, b: Both) -> Both:
    return _and(a.flipped(), b.flipped()).flipped()


def _and(a: Both, b: Both) -> Both:
    upright, inverse = a.upright + b.upright, a.inverse + b.inverse
    return _inverted_where_cheaper(
        min(upright + AND_GE, inverse + NAND_GE), min(upright + NAND_GE, inverse + AND_GE)
    )


def _inverted_where_cheaper(upright: float, inverse: float) -> Both:
    return Both(min(upright, inverse + INVERTER_GE), min(inverse, upright + INVERTER_GE))


def _splits(table: int, inputs: int) -> Iterator[Split]:
    """All ways to split a function of at least two inputs by those of its inputs that matter only by one
    bit."""
    support = [i for i in range(inputs) if len(set(cofactors(table, i, inputs))) > 1]
    rows: dict[tuple[int, ...], list[int]] = {(): [table]}
    for size in range(1, len(support)):
        for bound in combinations(support, size):
            kept = [half for row in rows[bound[:-1]] for half in cofactors(row, bound[-1], inputs)]
            rows[bound] = kept
            if len(set(kept)) == 2:
                high = next(row for row in kept if row != kept[0])
                select = sum(_cube(bound, place, inputs) for place, row in enumerate(kept) if row == high)
                yield Split(select, kept[0], high)


def _cube(bound: Sequence[int], place: int, inputs: int) -> int:
    """Where the inputs ``bound``, the first one the highest bit, are the number ``place``."""
    cube = ones(inputs)
    for bit, name in enumerate(reversed(bound)):
        one = column(name, inputs)
        cube &= one if place >> bit & 1 else one ^ ones(inputs)
    return cube


def build_function(net: Netlist, table: int, literals: Sequence[int]) -> int:
    """The literal of a function of ``literals``, built as ``function_ge`` counts it."""
    inputs = len(literals)
    known = {column(i, inputs): literal for i, literal in enumerate(literals)} | {0: 0}

    def built(part: int) -> int:
        upright = _upright(part, inputs)
        if upright not in known:
            split = form(upright, inputs).split
            assert split is not None
            known[upright] = _branch(net, split, *map(built, split))
        return known[upright] ^ (part & 1)

    return built(table)


def _branch(net: Netlist, split: Split, select: int, low: int, high: int) -> int:
    if low > 1 and high > 1 and low != high ^ 1:
        if split.low & split.high == split.low:
            return net.or_(low, net.and_(select, high))
        if split.low & split.high == split.high:
            return net.or_(high, net.and_(select ^ 1, low))
    return net.mux(select, low, high)


def of_few_inputs(net: Netlist, literal: int) -> int:
    """The function of ``literal`` as ``build_function`` builds it, where it reads at most four inputs of
    ``net`` through at most thirty gates; else itself."""
    cone, leaves = _cone(net, literal >> 1)
    if not cone or len(leaves) > FEW_INPUTS or len(cone) > FEW_GATES:
        return literal
    tables = {0: 0} | {leaf: column(i, len(leaves)) for i, leaf in enumerate(leaves)}
    full = ones(len(leaves))
    for node in cone:
        operands = net.operands[node][: ARITY[net.kinds[node]]]
        tables[node] = gate_table(net.kinds[node], operands, tables, full)
    table = tables[literal >> 1] ^ full * (literal & 1)
    return build_function(net, table, [2 * leaf for leaf in leaves])


def _cone(net: Netlist, top: int) -> tuple[list[int], list[int]]:
    """Gates that ``top`` depends on and inputs that they read, in order; broken off where these are too
    many."""
    cone, leaves = set[int](), set[int]()
    stack = [top]
    while stack and len(leaves) <= FEW_INPUTS and len(cone) <= FEW_GATES:
        node = stack.pop()
        if net.kinds[node] == INPUT:
            leaves.add(node)
        elif node and node not in cone:
            cone.add(node)
            stack += [operand >> 1 for operand in net.operands[node][: ARITY[net.kinds[node]]]]
    return sorted(cone), sorted(leaves)
