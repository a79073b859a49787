"""Circuits run on many samples at once: one bit of 64 samples in a word, gate by gate in NumPy.

Nodes are sorted by how many nodes lie before them and by kind, so that each group is a handful of
operations on whole arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from exporters.netlist.cells import live_nodes
from exporters.netlist.graph import AND, ARITY, CARRY, INPUT, MUX, REGISTER, SUM, XOR, Netlist

Lanes = NDArray[np.uint64]
"""(bits, words): one bit per sample, 64 samples a word."""

WORKING_BYTES = 8 << 20
"""Values of all nodes at once: about the size of a second-level cache."""

ONES = np.uint64(2**64 - 1)


class Simulator:
    """Runs ``outputs``, literals of ``net``, given lanes of the literals ``inputs``. A register is a
    wire."""

    def __init__(self, net: Netlist, inputs: Iterable[int], outputs: Iterable[int]) -> None:
        results = list(outputs)
        nodes = live_nodes(net, results)
        before = _ranks(net, nodes)
        order = sorted((n for n in nodes if net.kinds[n] > INPUT), key=lambda n: (before[n], net.kinds[n]))
        row = {0: 0} | {literal >> 1: 1 + i for i, literal in enumerate(inputs)}
        self._first = len(row)
        row |= {node: self._first + i for i, node in enumerate(order)}
        self.rows = self._first + len(order)
        self._groups: list[_Group] = []
        start = self._first
        for (_, kind), group in groupby(order, key=lambda n: (before[n], net.kinds[n])):
            operands = np.array([net.operands[node] for node in group], np.int64)
            self._groups.append(_Group(kind, start, operands, row))
            start += len(operands)
        self._results = np.array([row[literal >> 1] for literal in results], np.int64)
        self._inverted = _masks(np.array(results, np.int64))

    def run(self, lanes: Lanes) -> Lanes:
        """Lanes of the outputs, (outputs, words), for ``lanes`` of the inputs, (inputs, words)."""
        words = lanes.shape[1]
        step = max(1, min(words, WORKING_BYTES // (8 * self.rows)))
        values = np.zeros((self.rows, step), np.uint64)
        found = np.empty((self._results.size, words), np.uint64)
        for start in range(0, words, step):
            part = lanes[:, start : start + step]
            here = values[:, : part.shape[1]]
            here[1 : self._first] = part
            for group in self._groups:
                group.run(here)
            found[:, start : start + step] = here[self._results] ^ self._inverted
        return found


def _ranks(net: Netlist, nodes: list[int]) -> list[int]:
    """Nodes on the longest path to each of ``nodes``."""
    ranks = [0] * len(net)
    for node in nodes:
        if net.kinds[node] > INPUT:
            a, b, c = net.operands[node]
            ranks[node] = 1 + max(ranks[a >> 1], ranks[b >> 1], ranks[c >> 1])
    return ranks


def _masks(literals: NDArray[np.int64]) -> Lanes:
    return np.where(literals & 1, ONES, np.uint64(0))[:, None]


class _Group:
    """Nodes of one kind, none of which needs another: rows ``start`` on."""

    def __init__(self, kind: int, start: int, operands: NDArray[np.int64], row: dict[int, int]) -> None:
        self._function = _FUNCTIONS[kind]
        self._rows = slice(start, start + len(operands))
        place = np.vectorize(row.__getitem__, otypes=[np.int64])
        used = operands[:, : ARITY[kind]]
        self._operands = [place(column >> 1) for column in used.T]
        self._masks = [_masks(column) if (column & 1).any() else None for column in used.T]

    def run(self, values: Lanes) -> None:
        operands = [
            values[rows] if mask is None else values[rows] ^ mask
            for rows, mask in zip(self._operands, self._masks, strict=True)
        ]
        values[self._rows] = self._function(*operands)


def _mux(select: Lanes, low: Lanes, high: Lanes) -> Lanes:
    return low ^ (select & (low ^ high))


def _carry(a: Lanes, b: Lanes, c: Lanes) -> Lanes:
    return c ^ ((a ^ c) & (b ^ c))


_FUNCTIONS: dict[int, Callable[..., Lanes]] = {
    AND: np.bitwise_and,
    XOR: np.bitwise_xor,
    MUX: _mux,
    SUM: lambda a, b, c: a ^ b ^ c,
    CARRY: _carry,
    REGISTER: lambda a: a,
}


def to_lanes(array: NDArray[np.integer], bits: int) -> Lanes:
    """Values (samples, elements) as lanes (elements * bits, words), element by element, lowest bit
    first."""
    samples, elements = array.shape
    words = -(-samples // 64)
    packed = np.zeros((elements, bits, words * 8), np.uint8)
    for bit in range(bits):
        plane = ((array >> bit) & 1).astype(np.uint8)
        packed[:, bit, : -(-samples // 8)] = np.packbits(plane.T, axis=1, bitorder="little")
    return packed.reshape(elements * bits, -1).view("<u8").astype(np.uint64, copy=False)


def from_lanes(lanes: Lanes, bits: int, signed: bool, samples: int) -> NDArray[np.int64]:
    """Inverse of ``to_lanes``: (samples, elements)."""
    raw = np.ascontiguousarray(lanes.astype("<u8", copy=False)).view(np.uint8)
    planes = np.unpackbits(raw, axis=1, count=samples, bitorder="little")
    planes = planes.reshape(-1, bits, samples)
    values = np.zeros((planes.shape[0], samples), np.int64)
    for bit in range(bits):
        term = planes[:, bit].astype(np.int64) << bit
        values += -term if signed and bit == bits - 1 else term
    return values.T
