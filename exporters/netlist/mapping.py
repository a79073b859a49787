"""Look-up tables of ``k`` inputs that cover a netlist: how many, and how many in a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from exporters.netlist.covering import Cover, Cut, Subject
from exporters.netlist.graph import Netlist
from exporters.netlist.truth import cofactors, column, ones, reduced, truth

WIDEST = {4: 6, 5: 7, 6: 8}
"""Most inputs of a function that is looked at as one, by the inputs of a table."""

WIDE_NODES = 1500
"""Most nodes of a netlist in which functions of more than six inputs are looked at."""

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Tables:
    """``inputs``: of every look-up table, or of the two levels of them that compute a node, by that
    node. ``further``: tables of the first of such levels, and those that only invert. ``depth``: tables
    on the longest path."""

    inputs: dict[int, tuple[int, ...]]
    further: int
    depth: int

    @property
    def count(self) -> int:
        """Look-up tables in all."""
        return len(self.inputs) + self.further


def wide_cuts(subject: Subject, size: int) -> dict[int, list[Cut]]:
    """Cuts of up to ``size`` nodes that few tables of that size would use."""
    cover = Cover(subject, size, lambda node, cut: 1.0)
    cover.choose(by_depth=True, rounds=1)
    return cover.cuts()


@cache
def decomposed(table: int, inputs: int, size: int) -> float:
    """Tables of ``size`` inputs, at most two in a row, that a function takes; ``NEVER`` where such a split
    is not found: some of its inputs go to tables of their own, whose results tell apart all that
    matters."""
    if inputs <= size:
        return 1
    best = NEVER
    for taken in range(inputs - size + 1, size + 1):
        for bound in combinations(range(inputs), taken):
            rows = {table}
            for place in bound:
                rows = {half for row in rows for half in cofactors(row, place, inputs)}
            results = (len(rows) - 1).bit_length()
            if inputs - taken + results <= size and 1 + results < best:
                best = 1 + results
                if best == 2:
                    return best
    return best


def table_of(subject: Subject, node: int, cut: Cut) -> tuple[int, tuple[int, ...]]:
    """Truth table of ``node`` over those nodes of ``cut`` that matter, and those nodes."""
    names = sorted(cut)
    leaves = {name: column(i, len(names)) for i, name in enumerate(names)}
    table, kept = reduced(truth(subject, node, leaves, len(names)), len(names))
    return table, tuple(names[i] for i in kept)


def map_tables(net: Netlist, outputs: Iterable[int], size: int) -> Tables:
    """Cover what the literals ``outputs`` depend on with tables of ``size`` inputs, 4 to 6.

    Of the cover that looks for short paths first and the one that looks for few tables, the one that takes
    fewer. Tables that turn out to be the same function of the same nodes are one, and inputs that change
    nothing are left out.
    """
    wanted = list(outputs)
    subject = Subject.of(net, wanted)
    widest = WIDEST[size]
    more = wide_cuts(subject, widest) if widest <= 6 or len(subject.nodes) <= WIDE_NODES else None

    def price(node: int, cut: Cut) -> float:
        if len(cut) <= size:
            return 1
        table, kept = table_of(subject, node, cut)
        return decomposed(table, len(kept), size)

    def covered(by_depth: bool) -> Tables:
        cover = Cover(subject, size, price, more)
        cover.choose(by_depth=by_depth, rounds=3)
        return _tables(subject, cover, wanted, size, price)

    return min(map(covered, (True, False)), key=lambda tables: (tables.count, tables.depth))


def _tables(
    subject: Subject, cover: Cover, wanted: Iterable[int], size: int, price: Callable[[int, Cut], float]
) -> Tables:
    """The tables of a cover, equal ones once."""
    known: dict[tuple[tuple[int, ...], int], int] = {}
    same: dict[int, int] = {}  # the literal that each node turns out to be
    tables: dict[int, tuple[int, ...]] = {}
    level: dict[int, int] = {}
    extra = 0
    for node, cut in cover.chosen().items():
        support, table = _function(subject, node, cut, same)
        flip = table & 1
        table ^= ones(len(support)) * flip
        if table in (0, 2) and len(support) < 2:
            same[node] = (2 * support[0] if support else 0) ^ flip
            continue
        owner = known.setdefault((support, table), node)
        same[node] = 2 * owner ^ flip
        if owner == node:
            tables[node] = support
            inner = int(min(decomposed(table, len(support), size), price(node, cut))) - 1
            extra += inner
            level[node] = 1 + (inner > 0) + max(level.get(leaf, 0) for leaf in support)
    results = {same.get(literal >> 1, literal & ~1) ^ (literal & 1) for literal in wanted}
    # a table gives either polarity; only both of one, and inverted inputs, take another table
    inverters = sum(
        1
        for literal in results
        if literal > 1 and literal & 1 and (literal ^ 1 in results or literal >> 1 not in tables)
    )
    return Tables(
        tables, inverters + extra, max((level.get(literal >> 1, 0) for literal in results), default=0)
    )


def _function(
    subject: Subject, node: int, cut: frozenset[int], same: dict[int, int]
) -> tuple[tuple[int, ...], int]:
    """The nodes that ``node`` depends on, in order, and its truth table over them."""
    found = {leaf: same.get(leaf, 2 * leaf) for leaf in cut}
    names = sorted({literal >> 1 for literal in found.values()} - {0})
    inputs = len(names)
    columns = {name: column(i, inputs) for i, name in enumerate(names)} | {0: 0}
    leaves = {leaf: columns[literal >> 1] ^ ones(inputs) * (literal & 1) for leaf, literal in found.items()}
    table, kept = reduced(truth(subject, node, leaves, inputs), inputs)
    return tuple(names[i] for i in kept), table
