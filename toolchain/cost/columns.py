"""Cell counts of the four circuits everything is made of, as closed formulas over arrays.

All functions count per element of their array arguments and return ``{cell: int64 array}``. Values may pass
64 bits, so arrays of values have dtype object and hold Python integers; counts are int64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from exporters.netlist.digits import Integers
from runtime.types import Interval
from toolchain.cost.cells import Cells

Ints = NDArray[np.int64]
CellArrays = dict[str, Ints]

interval_bits = np.frompyfunc(lambda lo, hi: Interval(lo, hi).bits, 2, 1)
"""Bit width of ``[lo, hi]``, element by element."""


def sum_over(cells: CellArrays, times: object) -> Cells:
    """Cells of a whole array of circuits, each built ``times`` times."""
    return Cells({cell: int((count * times).sum()) for cell, count in cells.items()})


def compress(heights: Ints, constant: Integers, bits: object) -> CellArrays:
    """A compressor tree: the sum, modulo ``2**bits``, of single bits in weighted columns and a constant.

    ``heights``: (..., columns), how many bits weigh ``2**column``. ``constant``: (...). ``bits``: (...),
    at least 1. Column by column from the right, three bits become one and a carry in a full adder, the
    last two of an even column in a half adder. A one of the constant inverts what is left of its column
    (and turns the half adder into XOR, NOT and OR). The leftmost column keeps no carry: XORs only.
    """
    bits = np.broadcast_to(np.asarray(bits), heights.shape[:-1]).astype(np.int64)
    carry = np.zeros(heights.shape[:-1], np.int64)
    names = ("full_adder", "half_adder", "xor", "or", "not")
    cells = {name: np.zeros(heights.shape[:-1], np.int64) for name in names}
    for column in range(int(bits.max())):
        placed = heights[..., column] if column < heights.shape[-1] else 0
        height = np.where(column < bits, placed + carry, 0)
        one = ((constant >> column) & 1).astype(np.int64) * (height > 0)
        top = column == bits - 1
        pair = (height > 0) & (height % 2 == 0) & ~top
        cells["full_adder"] += np.where(top, 0, np.maximum(height - 1, 0) // 2)
        cells["half_adder"] += pair & (one == 0)
        cells["or"] += pair & (one == 1)
        cells["xor"] += np.where(top, np.maximum(height - 1, 0), pair & (one == 1))
        cells["not"] += one
        carry = (height + one) // 2
    return cells


def compare(least: Integers, bits: object, wanted: NDArray[np.bool_]) -> CellArrays:
    """Constant comparators ``u >= least`` for unsigned ``u`` of ``bits`` bits, ``1 <= least < 2**bits``.

    From the right: ones of ``least`` are ANDs and zeros ORs; up to its lowest one everything is a wire.
    Counted where ``wanted``.
    """
    bits = np.broadcast_to(np.asarray(bits), least.shape).astype(np.int64)
    cells = {name: np.zeros(least.shape, np.int64) for name in ("and", "or")}
    for column in range(1, int(bits.max())):
        started = (least & ((1 << column) - 1)).astype(bool) & (column < bits) & wanted
        one = ((least >> column) & 1).astype(bool)
        cells["and"] += started & one
        cells["or"] += started & ~one
    return cells


def thermometer(ones: Ints, unknown: Ints) -> CellArrays:
    """Binary count of ``ones`` constant ones followed by ``unknown`` bits of a thermometer code.

    Bit ``j`` of the count is the parity of every ``2**j``-th bit of the code.
    """
    cells = {name: np.zeros(ones.shape, np.int64) for name in ("xor", "not")}
    for bit in range(int((ones + unknown).max()).bit_length()):
        before = ones >> bit
        inputs = ((ones + unknown) >> bit) - before
        cells["xor"] += np.maximum(inputs - 1, 0)
        cells["not"] += (inputs > 0) & (before % 2 == 1)
    return cells


def mux_tree(planes: Ints) -> Cells:
    """Cells of truth tables as shared multiplexers: one reduced decision diagram with several roots.

    ``planes``: (outputs, 2**inputs) of 0 and 1; input 0, the lowest bit of the index, selects first.
    A node whose branches are a constant and a function is an AND or an OR, one between two constants
    a wire; an input is inverted at most once.
    """
    nodes = planes.astype(np.int64)
    fresh = 2
    cells = {"and": 0, "or": 0, "mux": 0, "not": 0}
    while nodes.shape[1] > 1:
        low, high = nodes[:, 0::2], nodes[:, 1::2]
        keys, place = np.unique(low * fresh + high, return_inverse=True)
        lows, highs = np.divmod(keys, fresh)
        real, low_known, high_known = lows != highs, lows < 2, highs < 2
        one_known = real & (low_known ^ high_known)
        known = np.where(low_known, lows, highs)
        cells["mux"] += int((real & ~low_known & ~high_known).sum())
        cells["and"] += int((one_known & (known == 0)).sum())
        cells["or"] += int((one_known & (known == 1)).sum())
        falling = (low_known & (lows == 1)) | (high_known & (highs == 0))
        cells["not"] += bool((real & falling).any())
        names = np.where(real, fresh + np.arange(keys.size), lows)
        nodes = names[place].reshape(low.shape)
        fresh += keys.size
    return Cells(cells)


def inputs_read(planes: Ints) -> Ints:
    """How many inputs each output of truth tables, (outputs, 2**inputs) as in ``mux_tree``, depends on."""
    outputs, codes = planes.shape
    read = np.zeros(outputs, np.int64)
    for bit in range(codes.bit_length() - 1):
        halves = planes.reshape(outputs, -1, 2, 1 << bit)
        read += (halves[:, :, 0] != halves[:, :, 1]).any(axis=(1, 2))
    return read


def luts_of(inputs: int, wide: int) -> float:
    """Look-up tables of ``wide`` inputs, 4 or 6, that hold any function of ``inputs`` inputs.

    Up to ``wide`` it is one, and a wire for one input. Beyond, each of the last inputs halves the table,
    and multiplexers choose: of two tables in one more look-up table, of four in one of six inputs or in two
    of four.
    """
    if inputs <= wide:
        return float(inputs > 1)
    fours, twos = divmod(inputs - wide, 2)
    choosing = {4: 2, 6: 1}[wide]
    halves = 4.0**fours + choosing * (4**fours - 1) / 3
    return 2 * halves + 1 if twos else halves
