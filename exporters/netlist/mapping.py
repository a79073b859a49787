"""Look-up tables of ``k`` inputs that cover a netlist: how many, and how many in a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from exporters.netlist.cells import live_nodes
from exporters.netlist.circuit import Circuit
from exporters.netlist.covering import KEPT, Cover, Cut, Subject
from exporters.netlist.graph import REGISTER, Netlist
from exporters.netlist.lut import Builder, Luts
from exporters.netlist.splits import Step, Steps, halved, split
from exporters.netlist.truth import column, reduced, truth

WIDEST = {4: 6, 5: 7, 6: 8}
"""Most inputs of a function that is looked at as one, by the inputs of a table; more than six only where
there are few nodes."""

FEW_NODES = 1500
"""Most nodes of a netlist that is covered with more patience: wider functions, and twice the cuts too."""

NEVER = float("inf")


def wide_cuts(subject: Subject, size: int, kept: int = KEPT) -> dict[int, list[Cut]]:
    """Cuts of up to ``size`` nodes that few tables of that size would use, ``kept`` of every node."""
    cover = Cover(subject, size, lambda node, cut: 1.0, kept=kept)
    cover.choose(by_depth=True, rounds=1)
    return cover.cuts()


def table_of(subject: Subject, node: int, cut: Cut) -> tuple[int, tuple[int, ...]]:
    """Truth table of ``node`` over those nodes of ``cut`` that matter, and those nodes."""
    names = sorted(cut)
    leaves = {name: column(i, len(names)) for i, name in enumerate(names)}
    table, kept = reduced(truth(subject, node, leaves, len(names)), len(names))
    return table, tuple(names[i] for i in kept)


def steps_of(subject: Subject, table: int, nets: tuple[int, ...], size: int) -> Steps | None:
    """Tables of ``size`` inputs for a function of more ``nets``. Of the inputs of the circuit any function
    has some; of others only those in two levels are looked for, since the gates between may do as well."""
    if len(nets) <= size:
        return (Step(tuple(range(len(nets))), table),)
    if size > 4 or any(net in subject.nodes for net in nets):
        return split(table, len(nets), size)
    return halved(table, len(nets), size)


def map_tables(net: Netlist, outputs: Iterable[int], size: int) -> Luts:
    """Cover what the literals ``outputs`` depend on with tables of ``size`` inputs, 4 to 6.

    Of covers that look for short paths first or for few tables, the one that takes fewest. Tables that turn
    out to be the same function of the same nets are one, and inputs that change nothing are left out.
    """
    wanted = list(outputs)
    subject = Subject.of(net, wanted)
    few = len(subject.nodes) <= FEW_NODES

    def price(node: int, cut: Cut) -> float:
        if len(cut) <= size:
            return 1
        steps = steps_of(subject, *table_of(subject, node, cut), size)
        return len(steps) if steps else NEVER

    def covered(kept: int) -> Iterator[Luts]:
        more = wide_cuts(subject, WIDEST[size], kept) if WIDEST[size] <= 6 or few else None
        for by_depth in (True, False):
            cover = Cover(subject, size, price, more, kept)
            cover.choose(by_depth=by_depth, rounds=3)
            yield _luts(subject, cover, wanted, size, len(net))

    found = (luts for kept in (KEPT, 2 * KEPT)[: 1 + few] for luts in covered(kept))
    return min(found, key=lambda luts: (luts.count, luts.depth))


def cover_circuit(circuit: Circuit, size: int) -> Luts:
    """The logic of ``circuit`` in tables of ``size`` inputs. Outputs are its results, and then what its
    ``register_nodes`` take: the inverse where that is what the results need, which saves a table behind
    the register."""
    wanted = set(circuit.results)
    flipped: set[int] = set()
    sources: dict[int, int] = {}
    for node in reversed(register_nodes(circuit)):
        source = circuit.net.operands[node][0]
        if 2 * node + 1 in wanted and 2 * node not in wanted:
            flipped.add(node)
            source ^= 1
        sources[node] = source
        wanted.add(source)
    ends = [*circuit.results, *reversed(sources.values())]
    upright = [literal ^ 1 if literal >> 1 in flipped else literal for literal in ends]
    return map_tables(circuit.net, upright, size).reading_inverted(flipped)


def register_nodes(circuit: Circuit) -> list[int]:
    """The registers of ``circuit``, in order."""
    net = circuit.net
    return [node for node in live_nodes(net, circuit.results) if net.kinds[node] == REGISTER]


def _luts(subject: Subject, cover: Cover, wanted: Iterable[int], size: int, first: int) -> Luts:
    """The tables of a cover; those that are made get net numbers from ``first`` on."""
    builder = Builder(size, first)
    place: dict[int, int] = {}
    for node, cut in cover.chosen().items():
        table, nets = table_of(subject, node, cut)
        literals = [place.get(leaf, 2 * leaf) for leaf in nets]
        place[node] = builder.function(table, literals, steps_of(subject, table, nets, size) or ())
    return builder.finish(place.get(literal >> 1, literal & ~1) ^ (literal & 1) for literal in wanted)
