"""An explicit netlist of the cells of ``CELLS``: built gate by gate, evaluated on many samples at once.

It exists to prove the formulas: ``circuits`` builds ops with it, tests run them against the interpreter
and count their gates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from toolchain.cost.cells import Cells
from toolchain.cost.columns import integers, signed_digits

Lanes = NDArray[np.uint8]
"""One bit per sample, eight samples a byte."""

Word = list[int]
"""Nets of one value, lowest bit first."""


def _full_adder(a: Lanes, b: Lanes, c: Lanes) -> tuple[Lanes, ...]:
    return a ^ b ^ c, (a & b) | (c & (a ^ b))


FUNCTIONS: dict[str, Callable[..., tuple[Lanes, ...]]] = {
    "and": lambda a, b: (a & b,),
    "or": lambda a, b: (a | b,),
    "xor": lambda a, b: (a ^ b,),
    "not": lambda a: (~a,),
    "mux": lambda select, low, high: ((low & ~select) | (high & select),),
    "half_adder": lambda a, b: (a ^ b, a & b),
    "full_adder": _full_adder,
}
"""Outputs of every combinational cell; adders give sum and carry."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One cell with its input nets; its outputs are numbered from ``first`` on."""

    cell: str
    inputs: tuple[int, ...]
    first: int


@dataclass(slots=True)
class Netlist:
    """Gates in topological order over nets numbered from 0; nets 0 and 1 are the constants."""

    nets: int = 2
    gates: list[Gate] = field(default_factory=list)

    def inputs(self, count: int) -> Word:
        """``count`` new nets that nothing drives."""
        self.nets += count
        return list(range(self.nets - count, self.nets))

    def pair(self, cell: str, *inputs: int) -> tuple[int, int]:
        """Append an adder; its sum and carry nets."""
        self.gates.append(Gate(cell, inputs, self.nets))
        self.nets += 2
        return self.nets - 2, self.nets - 1

    def gate(self, cell: str, *inputs: int) -> int:
        """Append a cell of one output; its net."""
        self.gates.append(Gate(cell, inputs, self.nets))
        self.nets += 1
        return self.nets - 1

    def inverter(self) -> Callable[[int], int]:
        """An inverting function that builds one NOT per net however often it is asked."""
        known: dict[int, int] = {}

        def invert(net: int) -> int:
            if net not in known:
                known[net] = self.gate("not", net)
            return known[net]

        return invert

    def cells(self) -> Cells:
        """How many of each cell the netlist has."""
        return Cells(Counter(gate.cell for gate in self.gates))

    def evaluate(self, inputs: dict[int, Lanes], samples: int) -> list[Lanes]:
        """Lanes of every net for the lanes of the undriven ones."""
        width = -(-samples // 8)
        values = [np.zeros(width, np.uint8), np.full(width, 255, np.uint8)] + [None] * (self.nets - 2)
        for net, lanes in inputs.items():
            values[net] = lanes
        for gate in self.gates:
            results = FUNCTIONS[gate.cell](*(values[net] for net in gate.inputs))
            values[gate.first : gate.first + len(results)] = results
        return values


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


def compress(net: Netlist, columns: Sequence[Iterable[int]], constant: int, bits: int) -> Word:
    """``constant`` plus the nets of every column weighted ``2**column``, modulo ``2**bits``, as a word."""
    result, carries = [], []
    for column in range(bits):
        queue = [*(columns[column] if column < len(columns) else ()), *carries]
        carries = []
        one = constant >> column & 1
        top = column == bits - 1
        while len(queue) > 1:
            if top:
                queue.append(net.gate("xor", queue.pop(0), queue.pop(0)))
            elif len(queue) > 2:
                total, carry = net.pair("full_adder", *(queue.pop(0) for _ in range(3)))
                queue.append(total)
                carries.append(carry)
            elif one:  # a + b + 1: the sum is XNOR, the carry OR
                a, b = queue
                queue, one = [net.gate("not", net.gate("xor", a, b))], 0
                carries.append(net.gate("or", a, b))
            else:
                total, carry = net.pair("half_adder", *queue)
                queue = [total]
                carries.append(carry)
        if queue and one:  # a + 1: the sum is NOT, the carry the bit itself
            if not top:
                carries.append(queue[0])
            queue = [net.gate("not", queue[0])]
        result.append(queue[0] if queue else one)
    return result


def at_least(net: Netlist, word: Word, least: int) -> int:
    """Net of ``word >= least`` for an unsigned word and ``1 <= least < 2**len(word)``."""
    lowest = (least & -least).bit_length() - 1
    verdict = word[lowest]
    for column in range(lowest + 1, len(word)):
        verdict = net.gate("and" if least >> column & 1 else "or", verdict, word[column])
    return verdict


def count_thermometer(net: Netlist, code: Sequence[int], bits: int) -> Word:
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


def larger(net: Netlist, a: Word, b: Word, signed: bool) -> int:
    """Net of ``a >= b`` for two words of one width."""
    first = (b, a) if signed and len(a) == 1 else (a, b)
    verdict = net.gate("or", first[0][0], net.gate("not", first[1][0]))
    for column in range(1, len(a)):
        differ = net.gate("xor", a[column], b[column])
        wins = b if signed and column == len(a) - 1 else a
        verdict = net.gate("mux", differ, verdict, wins[column])
    return verdict


def decision_diagram(net: Netlist, select: Word, planes: NDArray[np.int64]) -> Word:
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


def _branch(net: Netlist, invert: Callable[[int], int], bit: int, low: int, high: int) -> int:
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
