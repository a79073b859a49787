"""Cells of every op, and of a whole program: the table ``COSTS`` and what it needs.

A rule gives the cells of one op from its attributes and types alone. Every formula is stated in
docs/cost-model.md and is tested against a circuit that ``circuits`` builds gate by gate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from exporters.netlist.digits import Integers, integers, signed_digits
from exporters.netlist.tables import truth_table
from runtime.ops import (
    Add,
    And,
    ArgMax,
    Clip,
    Concat,
    Conv2d,
    Dense,
    Lookup,
    MaxPool,
    Not,
    Op,
    Or,
    ReduceSum,
    Requantize,
    Reshape,
    Roll,
    Select,
    ShiftRight,
    Slice,
    Sub,
    SumPool,
    Threshold,
    Transpose,
    Xor,
)
from runtime.types import IntArray, TensorType
from toolchain.cost import products
from toolchain.cost.cells import WIRES, Cells, Circuits, Spared, per_element, total
from toolchain.cost.columns import (
    CellArrays,
    compare,
    compress,
    inputs_read,
    interval_bits,
    luts_of,
    mux_tree,
    sum_over,
)
from toolchain.cost.linear import comparators, linear, window_taps

Rule = Callable[..., Circuits]
"""``rule(op, operand types, result type)``."""


def _at_each_position(one: Cells, result: TensorType) -> Circuits:
    """Circuits of an elementwise op from the cells of one position of all its channels."""
    return Circuits(one * (result.size // result.channels), one)


def _linear(op: Op, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
    return linear(op, operands[0])[0]


def _bitwise(cell: str) -> Rule:
    def rule(op: Op, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
        common = min(x.bits for x in operands)
        return _at_each_position(Cells({cell: common * result.channels}), result)

    return rule


def _not(op: Not, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
    return _at_each_position(Cells({"not": operands[0].bits * result.channels}), result)


def _select(op: Select, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
    condition = operands[0].interval
    if condition.lo == condition.hi:
        return WIRES
    return _at_each_position(Cells({"mux": result.bits * result.channels}), result)


def _threshold(op: Threshold, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
    (x,) = operands
    ends = (integers(np.full(x.channels, end, object)) for end in (x.interval.lo, x.interval.hi))
    offset = integers(np.full(x.channels, 1 << (x.bits - 1) if x.interval.signed else 0, object))
    cells, alive = comparators(op, *ends, offset, integers(np.full(x.channels, x.bits)))
    signs = int(alive.sum()) if x.interval.signed else 0
    return _at_each_position(sum_over(cells, 1) + Cells({"not": signs}), result)


def larger(bits: int) -> Cells:
    """Comparator ``a >= b`` of two words: an XOR tells whether a bit decides, a MUX passes the verdict."""
    return Cells({"xor": bits - 1, "mux": bits - 1, "not": 1, "or": 1})


def _maximum(x: TensorType) -> Cells:
    if x.bits == 1:
        return Cells({"and" if x.interval.signed else "or": 1})
    return larger(x.bits) + Cells({"mux": x.bits})


def _largest(x: TensorType, words: IntArray) -> Cells:
    """Largest of so many words, for each of the counts; of 2 unsigned bits all at once."""
    if x.bits != 2 or x.interval.signed:
        return _maximum(x) * int((words - 1).sum())
    several = words[words > 1]
    return Cells({"or": (3 * several - 2).sum(), "and": several.sum(), "not": several.size})


def _max_pool(op: MaxPool, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
    (x,) = operands
    rows, columns = (window_taps(x.shape[1 + a], op.kernel[a], op.stride[a], op.padding[a]) for a in (0, 1))
    everywhere = np.outer(rows.sum(axis=1), columns.sum(axis=1))
    once = np.array([int(rows.any(axis=0).sum()) * int(columns.any(axis=0).sum())])
    return Circuits(_largest(x, everywhere) * x.channels, _largest(x, once) * x.channels)


def _sum(*signs: int) -> Rule:
    """The sum of the operands, each times its sign; inverted bits are shared where one is broadcast."""

    def rule(op: Op, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
        heights = np.zeros((1, max(x.bits for x in operands)), np.int64)
        constant, inverters = 0, WIRES
        for sign, x in zip(signs, operands, strict=True):
            heights[0, : x.bits] += 1
            top = (1 << (x.bits - 1)) * x.interval.signed
            inverted = top if sign > 0 else (1 << x.bits) - 1 - top
            constant -= inverted
            inverters += per_element(Cells({"not": inverted.bit_count()}), x)
        tree = compress(heights, integers([constant]), result.bits)
        return per_element(sum_over(tree, 1), result) + inverters

    return rule


def _reduce_sum(op: ReduceSum, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
    """The bits of all terms in one compressor tree, the sign of a signed one inverted."""
    (x,) = operands
    terms = x.size // result.size
    constant = -terms * (1 << (x.bits - 1)) * x.interval.signed
    tree = compress(np.full((1, x.bits), terms), integers([constant]), result.bits)
    return per_element(sum_over(tree, 1) + Cells({"not": terms * x.interval.signed}), result)


def _shift_right(op: ShiftRight, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
    """Wires, and to round half up one row in which the last bit that is shifted out is the carry in."""
    (x,) = operands
    if not op.offset or result.interval.lo == result.interval.hi:
        return WIRES
    heights = np.zeros((1, result.bits), np.int64)
    heights[0, : result.bits if x.interval.signed else x.bits - op.shift] = 1
    heights[0, 0] += 1
    return per_element(sum_over(compress(heights, integers([0]), result.bits), 1), result)


def _clip(op: Clip, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
    if result.interval.lo == result.interval.hi:
        return WIRES
    interval = operands[0].interval
    ends = _limits(op, integers([interval.lo]), integers([interval.hi]), result.bits)
    return per_element(sum_over(ends, 1), result)


def _requantize(op: Requantize, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
    (x,) = operands
    multiplier, offset, shift = (integers(a) for a in (op.multiplier, op.offset, op.shift))
    ends = multiplier * x.interval.lo + offset, multiplier * x.interval.hi + offset
    low, high = np.minimum(*ends), np.maximum(*ends)
    bits = interval_bits(low, high)
    positive, negative = signed_digits(multiplier)
    digits = positive | negative
    top, below = 1 << (x.bits - 1), (1 << (x.bits - 1)) - 1
    inverted = positive * top + negative * below if x.interval.signed else negative * (top + below)
    heights = np.zeros((multiplier.size, int(bits.max()) + x.bits), np.int64)
    for column in range(int(bits.max())):
        heights[:, column : column + x.bits] += ((digits >> column) & 1).astype(np.int64)[:, None]
    product = compress(heights, offset - inverted, bits)
    signs = (x.bits - x.interval.signed) * (negative != 0) + x.interval.signed * (positive != 0)
    product["not"] = product["not"] + signs.astype(np.int64)
    varies = np.clip(low >> shift, op.lo, op.hi) != np.clip(high >> shift, op.lo, op.hi)
    clip = _limits(op, low >> shift, high >> shift, result.bits)
    return _at_each_position(sum_over(product, varies) + sum_over(clip, varies), result)


def _limits(op: Requantize | Clip, low: Integers, high: Integers, bits: int) -> CellArrays:
    """Comparators with both ends, and per bit of the result one gate for each end that is needed."""
    signed = (low < 0).astype(bool)
    width = interval_bits(low, high)
    bias = np.where(signed, 2 ** (width - 1), 0)
    above, below = (high > op.hi).astype(bool), (low < op.lo).astype(bool)
    ones = [(end & ((1 << bits) - 1)).bit_count() for end in (op.hi, op.lo)]
    forced_low = np.where(signed, bits, max(op.lo, 0).bit_length())
    cells: CellArrays = {"not": ((above | below) & signed).astype(np.int64)}
    for least, needed in ((op.hi + 1, above), (op.lo, below)):
        tests = compare(np.where(needed, least + bias, 1), width, needed)
        cells = {name: cells.get(name, 0) + tests.get(name, 0) for name in ("and", "or", "not")}
    cells["or"] = cells["or"] + above * ones[0] + below * ones[1]
    cells["and"] = cells["and"] + above * (bits - ones[0]) + below * (forced_low - ones[1])
    cells["not"] = cells["not"] + above * (ones[0] < bits) + below * (ones[1] > 0)
    return cells


def _lookup(op: Lookup, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
    rows = [_table(truth_table(op, row, operands[0], result)) for row in range(len(op.table))]
    one = rows[0] * result.channels if len(rows) == 1 else total(rows)
    return _at_each_position(one, result)


def _table(planes: IntArray) -> Cells:
    """Multiplexers of one table; where its bits are functions of few inputs, no more look-up tables than
    those take."""
    tree, read = mux_tree(planes), inputs_read(planes)
    spared = (
        max(0.0, tree.luts(wide) - sum(luts_of(int(inputs), wide) for inputs in read)) for wide in (4, 6)
    )
    return replace(tree, spared=Spared(*spared))


def _argmax(op: ArgMax, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
    """A tournament of neighbours: round ``r`` chooses ``r`` index bits and appends one."""
    (x,) = operands
    cells, players, rounds = WIRES.parallel, x.size, 0
    while players > 1:
        matches, last = players // 2, players == 2
        match = larger(x.bits) + Cells({"mux": rounds + (0 if last else x.bits), "not": 1})
        cells += match * matches
        players, rounds = players - matches, rounds + 1
    return Circuits(cells, cells)


def _wires(op: Op, operands: tuple[TensorType, ...], result: TensorType) -> Circuits:
    return WIRES


COSTS: dict[type[Op], Rule] = {
    Conv2d: _linear,
    Dense: _linear,
    SumPool: _linear,
    Threshold: _threshold,
    Or: _bitwise("or"),
    And: _bitwise("and"),
    Xor: _bitwise("xor"),
    Not: _not,
    Select: _select,
    Add: _sum(1, 1),
    Sub: _sum(1, -1),
    Requantize: _requantize,
    Lookup: _lookup,
    ShiftRight: _shift_right,
    Clip: _clip,
    MaxPool: _max_pool,
    ReduceSum: _reduce_sum,
    ArgMax: _argmax,
    Reshape: _wires,
    Concat: _wires,
    Slice: _wires,
    Transpose: _wires,
    Roll: _wires,
    **products.COSTS,
}
"""One rule per op; an op without a row is costed through its ``decompose``."""
