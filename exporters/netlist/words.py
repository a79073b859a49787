"""Circuits on words of bits, on any netlist: sums, comparisons, counts and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from exporters.netlist.digits import integers, signed_digits
from exporters.netlist.graph import Style, Word


class Gates(Protocol):
    """What circuits are built on: ``graph.Netlist``, or ``plain.PlainNetlist``. 0 and 1 are constants."""

    @property
    def style(self) -> Style:
        """How sums are built."""
        ...

    def gate(self, cell: str, *nets: int) -> int:
        """A cell of one output."""
        ...

    def pair(self, cell: str, *nets: int) -> tuple[int, int]:
        """Sum and carry of an adder."""
        ...

    def inverter(self) -> Callable[[int], int]:
        """A function that inverts a net."""
        ...

    def level(self, net: int) -> int:
        """Gates on the longest path to a net."""
        ...


def extend(word: Word, signed: bool, bits: int) -> Word:
    """``word`` cut or extended to ``bits``; the copies of the sign are wires."""
    fill = int(word[-1]) if signed else 0
    return [*map(int, word[:bits]), *[fill] * (bits - len(word))]


@dataclass(slots=True)
class Columns:
    """Literals collected by weight, and the constant that inverted ones leave behind."""

    nets: list[list[int]] = field(default_factory=list)
    constant: int = 0

    def put(self, net: int, column: int) -> None:
        """Add ``net * 2**column``."""
        self.nets.extend([] for _ in range(column + 1 - len(self.nets)))
        self.nets[column].append(net)

    def add(self, word: Word, signed: bool, coefficient: int, invert: Callable[[int], int]) -> None:
        """Add ``coefficient * word`` in signed digits."""
        (positive,), (negative,) = signed_digits(integers([coefficient]))
        for plane, bit in enumerate(word):
            minus = signed and plane == len(word) - 1
            for digit in range(max(positive, negative).bit_length()):
                if not (positive | negative) >> digit & 1:
                    continue
                weight = plane + digit
                inverted = bool(negative >> digit & 1) != minus
                self.put(invert(int(bit)) if inverted else int(bit), weight)
                self.constant -= (1 << weight) * inverted


class _Queue:
    """Nets of one column, those that arrive first in front; of equals the one that was put in first."""

    def __init__(self, net: Gates, nets: Iterable[int]) -> None:
        self._net = net
        self._heap = [(net.level(n), order, n) for order, n in enumerate(nets)]
        self._order = len(self._heap)
        heapify(self._heap)

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, net: int) -> None:
        heappush(self._heap, (self._net.level(net), self._order, net))
        self._order += 1

    def take(self, count: int) -> list[int]:
        return [heappop(self._heap)[2] for _ in range(count)]


def compress(net: Gates, columns: Sequence[Iterable[int]], constant: int, bits: int) -> Word:
    """``constant`` plus the nets of every column weighted ``2**column``, modulo ``2**bits``, as a word.

    The leftmost column keeps no carry, so it is a parity.
    """
    result, carries = [], [list[int]() for _ in range(bits + 2)]
    for column in range(bits):
        queue = _Queue(net, [*(columns[column] if column < len(columns) else ()), *carries[column]])
        one = constant >> column & 1
        if column == bits - 1:
            while len(queue) > 1:
                queue.put(net.gate("xor", *queue.take(2)))
        while len(queue) >= net.style.group == 6:
            total, two, four = _six(net, queue.take(6))
            queue.put(total)
            carries[column + 1].append(two)
            carries[column + 2].append(four)
        while len(queue) > 2:
            total, carry = net.pair("full_adder", *queue.take(3))
            queue.put(total)
            carries[column + 1].append(carry)
        bit, carry = _last_of_column(net, queue.take(len(queue)), one)
        result.append(bit)
        carries[column + 1] += [carry] if carry else []
    return result


def _six(net: Gates, nets: Word) -> tuple[int, int, int]:
    """The sum of six nets in three bits, each a function of these six alone."""
    (left, one), (right, two) = (net.pair("full_adder", *nets[i : i + 3]) for i in (0, 3))
    total, three = net.pair("half_adder", left, right)
    return total, *net.pair("full_adder", one, two, three)


def _last_of_column(net: Gates, nets: Word, one: int) -> tuple[int, int]:
    """Sum and carry of up to two nets and a constant."""
    if not nets:
        return one, 0
    if len(nets) == 1:  # a + 1: the sum is NOT, the carry the bit itself
        return (net.gate("not", nets[0]), nets[0]) if one else (nets[0], 0)
    if one:  # a + b + 1: the sum is XNOR, the carry OR
        return net.gate("not", net.gate("xor", *nets)), net.gate("or", *nets)
    return net.pair("half_adder", *nets)


def at_least(net: Gates, word: Word, least: int) -> int:
    """Net of ``word >= least`` for an unsigned word and ``1 <= least < 2**len(word)``."""
    lowest = (least & -least).bit_length() - 1
    verdict = word[lowest]
    for column in range(lowest + 1, len(word)):
        verdict = net.gate("and" if least >> column & 1 else "or", verdict, word[column])
    return verdict


def count_thermometer(net: Gates, code: Sequence[int], bits: int) -> Word:
    """Binary count of a thermometer code, constants first: each bit a parity of every ``2**j``-th net."""
    word = []
    for bit in range(bits):
        taps = list(code[(1 << bit) - 1 :: 1 << bit])
        parity = sum(tap == 1 for tap in taps) % 2
        unknown = [tap for tap in taps if tap > 1]
        if not unknown:
            word.append(parity)
            continue
        while len(unknown) > 1:
            unknown.append(net.gate("xor", unknown.pop(0), unknown.pop(0)))
        word.append(net.gate("not", unknown[0]) if parity else unknown[0])
    return word


def larger(net: Gates, a: Word, b: Word, signed: bool) -> int:
    """Net of ``a >= b`` for two words of one width."""
    first = (b, a) if signed and len(a) == 1 else (a, b)
    verdict = net.gate("or", first[0][0], net.gate("not", first[1][0]))
    for column in range(1, len(a)):
        differ = net.gate("xor", a[column], b[column])
        wins = b if signed and column == len(a) - 1 else a
        verdict = net.gate("mux", differ, verdict, wins[column])
    return verdict


def decision_diagram(net: Gates, select: Word, planes: NDArray[np.int64]) -> Word:
    """Shared multiplexers for truth tables ``planes`` (outputs, 2**inputs); ``select``: low bit first."""
    invert = net.inverter()
    nodes = [[int(value) for value in plane] for plane in planes]
    for bit in select:
        built: dict[tuple[int, int], int] = {}
        for plane in nodes:
            pairs = list(zip(plane[0::2], plane[1::2], strict=True))
            for low, high in pairs:
                if (low, high) not in built:
                    built[low, high] = _branch(net, invert, bit, low, high)
            plane[:] = [built[pair] for pair in pairs]
    return [plane[0] for plane in nodes]


def _branch(net: Gates, invert: Callable[[int], int], bit: int, low: int, high: int) -> int:
    if low == high:
        return low
    if (low, high) == (0, 1):
        return bit
    if (low, high) == (1, 0):
        return invert(bit)
    if low < 2:
        return net.gate("or", invert(bit), high) if low else net.gate("and", bit, high)
    if high < 2:
        return net.gate("or", bit, low) if high else net.gate("and", invert(bit), low)
    return net.gate("mux", bit, low, high)
