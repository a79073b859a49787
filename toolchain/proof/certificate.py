"""The linear certificate: adders taken as the integer identities they are.

``a + b + c = 2 carry + sum`` for every full adder and ``a + b = 2 and + xor`` for every half adder,
with an inverted literal as ``1 - x``. Put into a word of a circuit, its last adders first, these leave
a polynomial over the inputs; carries must cancel. That is checked modulo the word's ``2**bits``, within
which the range of the value lies. No search is needed, so it works for sums of thousands of bits, where
SAT and BDDs do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush

from exporters.netlist.graph import AND, CARRY, SUM, XOR, Netlist
from toolchain.proof.forms import Bits, Form

Word = Iterable[int]

Triple = tuple[int, int, int]


class _UnknownAdderError(Exception):
    """A sum whose operands are not as the netlist keeps them."""


class _Sum:
    """A polynomial over nodes: ``linear``, products of two nodes, and carries by their three nodes and
    which of those is inverted, 3 for none."""

    def __init__(self, net: Netlist) -> None:
        self._net = net
        self.constant = 0
        self.linear: dict[int, int] = {}
        self.products: dict[tuple[int, ...], int] = {}
        self.carries: dict[Triple, dict[int, int]] = {}
        self._heap: list[int] = []

    def add(self, literal: int, times: int) -> None:
        """Add ``times`` the value of ``literal``."""
        node = literal >> 1
        if literal & 1:
            self.constant += times
            times = -times
        if node == 0 or times == 0:
            return
        kind = self._net.kinds[node]
        if kind == AND:
            a, b, _ = self._net.operands[node]
            self.add_product(a, b, times)
        elif kind == CARRY:
            self._add_carry(self._net.operands[node], times)
        else:
            if node not in self.linear and kind in (XOR, SUM):
                heappush(self._heap, -node)
            self.linear[node] = self.linear.get(node, 0) + times

    def add_product(self, a: int, b: int, times: int) -> None:
        """Add ``times`` the product of two literals, as products of nodes."""
        for x, y in ((a, b), (b, a)):
            if y < 2 or x >> 1 == y >> 1 or self._implies(y, x):
                self.add(y if x != y ^ 1 and x != 0 else 0, times)
                return
        if a & 1:
            self.add(b, times)
            a, times = a ^ 1, -times
        if b & 1:
            self.add(a, times)
            b, times = b ^ 1, -times
        key = (min(a, b) >> 1, max(a, b) >> 1)
        self.products[key] = self.products.get(key, 0) + times

    def _implies(self, literal: int, factor: int) -> bool:
        """Whether ``literal`` is an AND with ``factor`` among its operands."""
        return (
            not literal & 1
            and self._net.kinds[literal >> 1] == AND
            and factor in self._net.operands[literal >> 1][:2]
        )

    def _add_carry(self, operands: Triple, times: int) -> None:
        if sum(literal & 1 for literal in operands) > 1:
            operands = (operands[0] ^ 1, operands[1] ^ 1, operands[2] ^ 1)
            self.constant += times
            times = -times
        a, b, c = sorted(operands)
        inverted = next((i for i, literal in enumerate((a, b, c)) if literal & 1), 3)
        own = self.carries.setdefault((a >> 1, b >> 1, c >> 1), {})
        own[inverted] = own.get(inverted, 0) + times

    def expand(self, modulus: int) -> None:
        """Replace every sum by the inputs of its adder and its carry, the last one first."""
        while self._heap:
            node = -heappop(self._heap)
            times = self.linear.pop(node, 0) % modulus
            if times == 0:
                continue
            a, b, c = self._net.operands[node]
            if self._net.kinds[node] == XOR:
                for literal in (a, b):
                    self.add(literal, times)
                self.add_product(a, b, -2 * times)
            else:
                self._expand_sum((a, b, c), times, modulus)

    def _expand_sum(self, operands: Triple, times: int, modulus: int) -> None:
        if any(literal & 1 for literal in operands):  # the netlist keeps these without inverters
            raise _UnknownAdderError
        key = (operands[0] >> 1, operands[1] >> 1, operands[2] >> 1)
        waiting = self.carries.setdefault(key, {})
        open_ = [which for which, value in waiting.items() if value % modulus] or [3]
        for which in open_[:-1]:
            share = (waiting[which] >> 1) * (1 if which == 3 else -1)
            self._split(operands, which, share, waiting)
            times -= share
        self._split(operands, open_[-1], times, waiting)

    def _split(self, operands: Triple, which: int, times: int, waiting: dict[int, int]) -> None:
        """``times`` the sum, through the carry whose operand ``which`` is inverted (3: none)."""
        sign = 1 if which == 3 else -1
        for place, literal in enumerate(operands):
            self.add(literal, times if place == which else sign * times)
        waiting[which] = waiting.get(which, 0) - 2 * sign * times

    def terms(self, modulus: int) -> dict[Bits, int] | None:
        """What is left, modulo ``modulus``; None where a carry is."""
        if any(value % modulus for waiting in self.carries.values() for value in waiting.values()):
            return None
        left: dict[Bits, int] = {(): self.constant % modulus}
        left |= {(node,): value % modulus for node, value in self.linear.items()}
        left |= {key: value % modulus for key, value in self.products.items()}
        return {bits: value for bits, value in left.items() if value or not bits}


def word_offset(net: Netlist, word: list[int], form: Form) -> int | None:
    """The constant ``k`` with ``word == form + k`` for an unsigned word; None where that is not shown."""
    modulus = 1 << len(word)
    left = _expanded(net, [(literal, 1 << bit) for bit, literal in enumerate(word)], modulus)
    if left is None:
        return None
    wanted = _reduced(form, modulus)
    offset = (left.pop(()) - wanted.pop(())) % modulus
    if left != wanted:
        return None
    offset += (-form.lo - offset) // modulus * modulus  # what puts the lower end at or above 0
    while form.lo + offset < 0:
        offset += modulus
    return offset if form.hi + offset < modulus else None


def equals(net: Netlist, word: list[int], signed: bool, form: Form) -> bool:
    """Whether it is shown that ``word`` is ``form``."""
    own = list(word)
    while len(own) > 1 and own[-1] == (own[-2] if signed else 0):  # copies of the sign
        own.pop()
    if signed and own[-1] == 0:  # never negative
        own, signed = own[:-1], False
    modulus = 1 << len(own)
    least = -(modulus >> 1) if signed else 0
    if not least <= form.lo <= form.hi < least + modulus:
        return False
    left = _expanded(net, [(literal, 1 << bit) for bit, literal in enumerate(own)], modulus)
    return left is not None and left == _reduced(form, modulus)


def _expanded(net: Netlist, bits: list[tuple[int, int]], modulus: int) -> dict[Bits, int] | None:
    total = _Sum(net)
    for literal, weight in bits:
        total.add(literal, weight)
    try:
        total.expand(modulus)
    except _UnknownAdderError:
        return None
    return total.terms(modulus)


def _reduced(form: Form, modulus: int) -> dict[Bits, int]:
    left = {bits: value % modulus for bits, value in form.terms.items()}
    left.setdefault((), 0)
    return {bits: value for bits, value in left.items() if value or not bits}
