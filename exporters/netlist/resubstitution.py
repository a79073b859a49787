"""Fewer gates for functions of a few bits: every gate as a function of others that are there anyway.

Boolean resubstitution (Mishchenko and Brayton, "Scalable logic synthesis using a simple circuit
structure", 2006): around a gate a window of few inputs is cut out. Its truth table is looked for among
those of the other gates in the window and what one or two more gates make of them. Where that takes less
than the gates that only this one needs, it takes their place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from exporters.netlist.covering import Subject
from exporters.netlist.divisors import Divisors, Expression
from exporters.netlist.functions import PRICES
from exporters.netlist.graph import CARRY, INPUT, MUX, SUM, Netlist, built
from exporters.netlist.truth import column, gate_table, ones

WINDOW = 10
"""Most inputs of a window."""

DIVISORS = 400
"""Most gates of a window that are looked at."""

MOST_NODES = 1000
"""Most gates of a netlist that is worked on: some seconds."""

ROUNDS = 8
"""Most times that all gates are looked at."""


def resubstituted(net: Netlist, outputs: Sequence[int]) -> tuple[Netlist, list[int]]:
    """What the literals ``outputs`` depend on in no more gates, on the same inputs, and where the outputs
    are then. Netlists with adders, which proofs go by, and large ones are left as they are."""
    subject = Subject.of(net, outputs)
    kinds = {kind for kind, _ in subject.nodes.values()}
    if not 0 < len(subject.nodes) <= MOST_NODES or kinds & {SUM, CARRY}:
        return net, list(outputs)
    gates = _Gates(subject, outputs)
    for _ in range(ROUNDS):
        if not sum(gates.improve(node) for node in reversed(gates.order())):
            break
    return gates.built(net)


class _Gates:
    """Gates that change: ``nodes`` as of a ``Subject``, who reads them, and which literals are results."""

    def __init__(self, subject: Subject, outputs: Sequence[int]) -> None:
        self.nodes: dict[int, tuple[int, tuple[int, ...]]] = {}
        self.outputs = list(outputs)
        self._readers: dict[int, list[int]] = {}
        self._known: dict[tuple[int, tuple[int, ...]], int] = {}
        self._fresh = 1 + max(
            literal >> 1
            for literals in (self.outputs, *(operands for _, operands in subject.nodes.values()))
            for literal in literals
        )
        for node, (kind, operands) in subject.nodes.items():
            self._put(node, kind, operands)

    def _put(self, node: int, kind: int, operands: tuple[int, ...]) -> None:
        self.nodes[node] = kind, operands
        self._known.setdefault((kind, operands), node)
        for literal in operands:
            self._readers.setdefault(literal >> 1, []).append(node)

    def _forget(self, node: int) -> tuple[int, tuple[int, ...]]:
        key = self.nodes.pop(node)
        if self._known.get(key) == node:
            del self._known[key]
        for literal in key[1]:
            self._readers[literal >> 1].remove(node)
        return key

    def _add(self, form: Expression) -> int:
        """The literal of ``form``, which is built where it is not there."""
        if isinstance(form, int):
            return form
        operands = tuple(self._add(one) for one in form.operands)
        if form.kind != MUX:
            operands = tuple(sorted(operands))
        if (form.kind, operands) not in self._known:
            self._put(self._fresh, form.kind, operands)
            self._fresh += 1
        return 2 * self._known[form.kind, operands] ^ form.inverted

    def _uses(self, node: int) -> int:
        return len(self._readers.get(node, ())) + sum(literal >> 1 == node for literal in self.outputs)

    def order(self) -> list[int]:
        """The gates, each behind those that it reads."""
        return self._below([literal >> 1 for literal in self.outputs], ())

    def _operands(self, node: int) -> list[int]:
        return [literal >> 1 for literal in self.nodes[node][1]] if node in self.nodes else []

    def improve(self, node: int) -> bool:
        """Compute ``node`` by fewer gates; whether that was found."""
        if node not in self.nodes:
            return False
        leaves = self._leaves(node)
        own = self._only_for(node, leaves)
        tables, full = self._window(node, leaves)
        table = tables[node]
        others = {one: found for one, found in tables.items() if one and one not in own}
        below = sum(PRICES[self.nodes[one][0]] for one in own) - 0.01
        form = Divisors(others, full).find(table, below)
        if form is None:
            return False
        self._replace(node, self._add(form))
        return True

    def _leaves(self, node: int) -> set[int]:
        """Inputs of the window below ``node``: gates are taken in while there are few enough."""
        leaves = {*self._operands(node)} - {0}
        while True:
            wider = [
                (len(fresh), leaf, fresh)
                for leaf in leaves
                if leaf in self.nodes
                for fresh in [{*self._operands(leaf)} - leaves - {0}]
                if len(leaves) - 1 + len(fresh) <= WINDOW
            ]
            if not wider:
                return leaves
            _, leaf, fresh = min(wider, key=lambda one: one[:2])
            leaves = leaves - {leaf} | fresh

    def _only_for(self, node: int, leaves: Collection[int] = ()) -> list[int]:
        """``node`` and the gates above ``leaves`` that nothing else needs."""
        found, left, stack = [node], Counter[int](), [node]
        while stack:
            for one in self._operands(stack.pop()):
                left[one] += 1
                if one in self.nodes and one not in leaves and left[one] == self._uses(one):
                    found.append(one)
                    stack.append(one)
        return found

    def _window(self, node: int, leaves: set[int]) -> tuple[dict[int, int], int]:
        """Tables over ``leaves`` of ``node``, what is below it and gates beside it; the table that is 1."""
        inputs = max(6, len(leaves))
        tables = {0: 0} | {leaf: column(i, inputs) for i, leaf in enumerate(sorted(leaves))}
        full = ones(inputs)

        def tabulate(one: int) -> None:
            tables[one] = gate_table(*self.nodes[one], tables, full)

        for one in self._below([node], tables):
            tabulate(one)
        waiting = [one for one in tables if one != node]
        for place in waiting:
            for reader in self._readers.get(place, ()):
                if reader not in tables and all(o in tables and o != node for o in self._operands(reader)):
                    tabulate(reader)
                    waiting.append(reader)
            if len(tables) >= DIVISORS:
                break
        return tables, full

    def _below(self, tops: Iterable[int], known: Collection[int]) -> list[int]:
        """``tops`` and the gates down to those ``known``, each behind those that it reads."""
        found: dict[int, None] = {}
        stack = [top for top in tops if top in self.nodes]
        while stack:
            node = stack[-1]
            below = () if node in found else self._operands(node)
            missing = [one for one in below if one in self.nodes and one not in known and one not in found]
            if missing:
                stack += missing
            else:
                found[stack.pop()] = None
        return list(found)

    def _replace(self, node: int, literal: int) -> None:
        """Let everything that reads ``node`` read ``literal``."""
        for reader in dict.fromkeys(self._readers.get(node, ())):
            kind, operands = self._forget(reader)
            changed = [literal ^ one & 1 if one >> 1 == node else one for one in operands]
            self._put(reader, kind, tuple(changed))
        self.outputs = [literal ^ one & 1 if one >> 1 == node else one for one in self.outputs]
        for one in self._only_for(node):
            self._forget(one)

    def built(self, net: Netlist) -> tuple[Netlist, list[int]]:
        """The gates on the inputs of ``net``, and the outputs."""
        new = Netlist(net.style)
        place = {0: 0} | {one: new.inputs(1)[0] for one in range(1, len(net)) if net.kinds[one] == INPUT}
        for node in self.order():
            place[node] = built(new, *self.nodes[node], place)
        return new, [place[literal >> 1] ^ literal & 1 for literal in self.outputs]
