"""Covers of a netlist by cells or tables that each compute one node from a few others.

Priority cuts (Mishchenko, Cho, Chatterjee, Brayton, "Combinational and sequential mapping with priority
cuts", 2007): every node keeps a few sets of nodes, its cuts, that it is a function of. A first round
may look for the smallest depth; further ones take, where the depth leaves room, what costs least beside
what others use anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from exporters.netlist.cells import live_nodes
from exporters.netlist.graph import ARITY, INPUT, REGISTER, Netlist

KEPT = 8
"""Cuts that a node keeps for its readers, unless asked for more."""

Cut = frozenset[int]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is covered: kind and operand literals of every node, in order, and the nodes that are wanted."""

    nodes: dict[int, tuple[int, tuple[int, ...]]]
    roots: frozenset[int]

    @staticmethod
    def of(net: Netlist, outputs: Iterable[int]) -> Subject:
        """The live gates of ``net``. Registers end paths and begin others."""
        wanted = list(outputs)
        live = [node for node in live_nodes(net, wanted) if net.kinds[node] > INPUT]
        roots = {literal >> 1 for literal in wanted}
        roots |= {net.operands[node][0] >> 1 for node in live if net.kinds[node] == REGISTER}
        nodes = {
            node: (net.kinds[node], net.operands[node][: ARITY[net.kinds[node]]])
            for node in live
            if net.kinds[node] != REGISTER
        }
        return Subject(nodes, frozenset(roots & nodes.keys()))

    def operands(self, node: int) -> frozenset[int]:
        """The nodes that ``node`` reads."""
        return frozenset(literal >> 1 for literal in self.nodes[node][1])


class Cover:
    """The cut chosen for every node. ``size``: most nodes of a cut, but for a gate's own operands.
    ``price``: of the cell that computes a node from a cut. ``more``: cuts to try besides those found
    here. ``kept``: cuts that a node keeps for its readers."""

    def __init__(
        self,
        subject: Subject,
        size: int,
        price: Callable[[int, Cut], float],
        more: Mapping[int, Iterable[Cut]] | None = None,
        kept: int = KEPT,
    ) -> None:
        self.subject, self._size, self._price, self._kept = subject, size, price, kept
        self._more = more or {}
        self._readers = dict.fromkeys(subject.nodes, 0)
        for node in subject.nodes:
            for operand in subject.operands(node):
                if operand in self._readers:
                    self._readers[operand] += 1
        self._cuts: dict[int, list[tuple[Cut, float]]] = {}
        self._best: dict[int, tuple[Cut, float]] = {}
        self._level: dict[int, int] = {}
        self._flow: dict[int, float] = {}
        self._uses: dict[int, int] = {}
        self._required: dict[int, int] = {}

    def choose(self, *, by_depth: bool, rounds: int = 2) -> None:
        """Choose cuts: smallest depth first if ``by_depth``, then ``rounds`` times the least cost."""
        self._enumerate(by_depth)
        self._count()
        if not by_depth:
            self._required = {}
        for _ in range(rounds):
            self._improve()
            self._count()
            if not by_depth:
                self._required = {}

    def chosen(self) -> dict[int, Cut]:
        """The cut of every node that is computed, in order."""
        return {node: self._best[node][0] for node in self.subject.nodes if self._uses.get(node)}

    def cuts(self) -> dict[int, list[Cut]]:
        """The cuts that every node keeps."""
        return {node: [cut for cut, _ in kept] for node, kept in self._cuts.items()}

    def _enumerate(self, by_depth: bool) -> None:
        for node in self.subject.nodes:
            found = [(cut, self._price(node, cut)) for cut in self._merged(node)]
            found = [choice for choice in found if choice[1] < float("inf")]
            cheap = sorted(found, key=lambda c: (self._cost(c), self._depth(c[0]), len(c[0])))
            first = sorted(cheap, key=lambda c: self._depth(c[0]))[: self._kept // 2] if by_depth else []
            kept = list(dict.fromkeys([*first, *cheap]))[: self._kept]
            self._cuts[node] = kept
            self._settle(node, kept[0])

    def _merged(self, node: int) -> set[Cut]:
        """Unions of one cut of each operand that are small enough, and the operands themselves."""
        own = self.subject.operands(node)
        found: set[Cut] = {frozenset()}
        for operand in own:
            cuts = [*(cut for cut, _ in self._cuts.get(operand, ())), frozenset((operand,))]
            found = {u for one in found for other in cuts if len(u := one | other) <= self._size}
        return found | {own} | set(self._more.get(node, ()))

    def _settle(self, node: int, choice: tuple[Cut, float]) -> None:
        self._best[node] = choice
        self._level[node] = self._depth(choice[0])
        self._flow[node] = self._cost(choice) / max(1, self._uses.get(node, 0) or self._readers[node])

    def _depth(self, cut: Cut) -> int:
        own = 1 if len(cut) <= self._size else 2  # a wider one takes two levels of cells
        return own + max((self._level.get(leaf, 0) for leaf in cut), default=0)

    def _cost(self, choice: tuple[Cut, float]) -> float:
        return choice[1] + sum(self._flow.get(leaf, 0.0) for leaf in choice[0])

    def _improve(self) -> None:
        """Node by node the cut that adds least, counting exactly what no one else uses."""
        never = len(self.subject.nodes)
        for node in self.subject.nodes:
            late = self._required.get(node, never)
            used = self._uses.get(node, 0) > 0
            if used:
                self._release(self._best[node])
            best = (float("inf"), 0.0, 0)
            choice = self._best[node]
            for one in self._cuts[node]:
                if self._depth(one[0]) <= late:
                    cost = (self._take(one), self._cost(one), len(one[0]))
                    self._release(one)
                    if cost < best:
                        best, choice = cost, one
            if used:
                self._take(choice)
            self._settle(node, choice)

    def _take(self, choice: tuple[Cut, float]) -> float:
        """Use the leaves of a cut; what that adds, its own price included."""
        added = choice[1]
        for leaf in choice[0]:
            if leaf in self._best:
                self._uses[leaf] = self._uses.get(leaf, 0) + 1
                if self._uses[leaf] == 1:
                    added += self._take(self._best[leaf])
        return added

    def _release(self, choice: tuple[Cut, float]) -> None:
        for leaf in choice[0]:
            if leaf in self._best:
                self._uses[leaf] -= 1
                if self._uses[leaf] == 0:
                    self._release(self._best[leaf])

    def _count(self) -> None:
        """How often every node is used, and by what level it has to be there."""
        depth = max((self._level[node] for node in self.subject.roots), default=0)
        self._uses = dict.fromkeys(self.subject.roots, 1)
        self._required = dict.fromkeys(self.subject.roots, depth)
        for node in reversed(self.subject.nodes):
            if not self._uses.get(node):
                continue
            for leaf in self._best[node][0]:
                if leaf in self._best:
                    self._uses[leaf] = self._uses.get(leaf, 0) + 1
                    late = self._required[node] - (1 if len(self._best[node][0]) <= self._size else 2)
                    self._required[leaf] = min(self._required.get(leaf, depth), late)
