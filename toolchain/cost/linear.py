"""Cells of the linear ops: compressor trees, with the thresholds that follow folded in.

Every weight is written in signed digits and every activation in bits, so a neuron is a sum of single bits,
inverted where their coefficient is negative, plus a constant ``K = -(sum of the negative coefficients)``:

    accumulator = S + K + bias,   S = sum of literals * 2**column >= 0

Alone, the constant goes into the tree. Under a threshold it does not: ``accumulator >= T`` is
``S >= T - K - bias``, a comparator with a constant. ``Dense`` is a 1x1 convolution and ``SumPool`` a
depthwise one with weights 1, so all three share this file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from exporters.netlist.convolutions import LINEAR
from exporters.netlist.digits import Integers, integers, signed_digits
from runtime.ops import Conv2d, Op, Threshold
from runtime.ops.base import window_size
from runtime.types import ZERO, TensorType
from toolchain.cost.cells import NONE, Cells, Circuits, Spared, rated
from toolchain.cost.columns import (
    CellArrays,
    Ints,
    compare,
    compress,
    interval_bits,
    luts_of,
    sum_over,
    thermometer,
)

Bools = NDArray[np.bool_]

TABLE_INPUTS = 8
"""Bits of the largest neurons that are looked at as tables; for more, adders are always smaller."""


def window_taps(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> Bools:
    """Which taps of a window lie inside an axis of ``size``: (positions, kernel)."""
    positions = np.arange(window_size(size, kernel, stride, padding, dilation))
    source = positions[:, None] * stride + np.arange(kernel) * dilation - padding
    return (source >= 0) & (source < size)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Groups of output positions that see the same taps: ``rows`` (A, kernel rows), ``columns``
    (B, kernel columns), and ``times`` (A, B): the number of positions in each group."""

    rows: Bools
    columns: Bools
    times: Ints

    @staticmethod
    def parallel(rows: Bools, columns: Bools) -> Windows:
        """Every position, border by border."""
        row_kinds, row_times = np.unique(rows, axis=0, return_counts=True)
        column_kinds, column_times = np.unique(columns, axis=0, return_counts=True)
        return Windows(row_kinds, column_kinds, np.outer(row_times, column_times))

    @staticmethod
    def one_position(rows: Bools, columns: Bools) -> Windows:
        """One position with every tap that some position uses."""
        return Windows(rows.any(axis=0)[None], columns.any(axis=0)[None], np.ones((1, 1), np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Neurons:
    """Sums to build, one per window group and channel: arrays of shape (A, B, outputs).

    ``heights`` (A, B, outputs, columns): literals of each weight. ``inputs``: bits that a sum reads.
    ``offset``: ``K``, the accumulator without bias minus ``S``. ``lo``, ``hi``: exact interval of the
    accumulator without bias.
    """

    heights: Ints
    inputs: Ints
    offset: Integers
    lo: Integers
    hi: Integers


def _neurons(conv: Conv2d, x: TensorType, windows: Windows) -> Neurons:
    codes = conv.weights.codes
    outputs, _, rows, columns = codes.shape
    values = np.unique(codes[codes != 0]).astype(np.int64)
    seen = [np.count_nonzero(codes == v, axis=1).reshape(outputs, rows, columns) for v in values]
    per_tap = np.stack([np.zeros((outputs, rows, columns), np.int64), *seen], axis=-1)
    used = np.einsum(
        "au,bv,ouvl->abol", windows.rows.astype(int), windows.columns.astype(int), per_tap, optimize=True
    )
    levels = integers([0, *values.tolist()])
    positive, negative = signed_digits(levels)
    digits = positive | negative
    width = int(digits.max()).bit_length()
    heights = np.zeros((*used.shape[:-1], max(width, 1) + x.bits - 1), np.int64)
    for column in range(width):
        literals = used @ ((digits >> column) & 1).astype(np.int64)
        heights[..., column : column + x.bits] += literals[..., None]
    top, below = 1 << (x.bits - 1), (1 << (x.bits - 1)) - 1
    inverted = positive * top + negative * below if x.interval.signed else negative * (top + below)
    counts = integers(used)
    ends = levels * x.interval.lo, levels * x.interval.hi
    return Neurons(
        heights,
        used.sum(axis=-1) * x.bits,
        -counts.dot(inverted),
        counts.dot(np.minimum(*ends)),
        counts.dot(np.maximum(*ends)),
    )


def _plain(neurons: Neurons, bias: Integers, times: Ints) -> Cells:
    bits = interval_bits(neurons.lo + bias, neurons.hi + bias)
    return sum_over(compress(neurons.heights, neurons.offset + bias, bits), times)


def comparators(
    op: Threshold, lo: Integers, hi: Integers, offset: Integers, bits: Integers
) -> tuple[CellArrays, Bools]:
    """Comparators and count of one Threshold per element of ``lo``: arrays of shape (..., channels).

    The operand lies in ``[lo, hi]`` and arrives as ``u = x + offset``, unsigned, of ``bits`` bits.
    Returns the cells, and where any threshold is reached by some but not all operands.
    """
    falling = op.direction[:, None] < 0
    least = integers(op.thresholds) + falling.astype(int)
    low, high = lo[..., None], hi[..., None]
    open_ = ((least > low) & (least <= high)).astype(bool)
    always = np.where(falling, least > high, least <= low).astype(bool)
    tests = compare(np.where(open_, least + offset[..., None], 1), bits[..., None], open_)
    cells = {name: count.sum(axis=-1) for name, count in tests.items()}
    cells |= thermometer(always.sum(axis=-1), open_.sum(axis=-1))
    cells["not"] = cells["not"] + (open_ & falling).sum(axis=-1)
    return cells, open_.any(axis=-1)


def _thresholded(
    neurons: Neurons, bias: Integers, threshold: Threshold, times: Ints
) -> tuple[Cells, Cells]:
    bits = np.frompyfunc(lambda v: max(1, v.bit_length()), 1, 1)(neurons.hi - neurons.offset)
    cells, alive = comparators(
        threshold, neurons.lo + bias, neurons.hi + bias, -neurons.offset - bias, bits
    )
    tree = compress(neurons.heights, np.zeros_like(neurons.offset), bits)
    tree = {name: count * alive for name, count in tree.items()}
    four, six = (
        _spared(tree, cells, neurons.inputs, len(threshold.thresholds[0]), times, wide) for wide in (4, 6)
    )
    sums, tests = sum_over(tree, times), sum_over(cells, times)
    return replace(sums, spared=Spared(four[0], six[0])), replace(tests, spared=Spared(four[1], six[1]))


def _spared(
    tree: CellArrays, tests: CellArrays, inputs: Ints, thresholds: int, times: Ints, wide: int
) -> tuple[float, float]:
    """Look-up tables of ``wide`` inputs that are spared in sums and in comparators of neurons that read few
    bits: such a neuron is a table, whatever adders it is counted in."""
    sums, compared = rated(tree, wide), rated(tests, wide)
    few = np.array([luts_of(count, wide) for count in range(TABLE_INPUTS + 1)])
    table = few[np.minimum(inputs, TABLE_INPUTS)] * thresholds.bit_length()
    spared = np.where(inputs <= TABLE_INPUTS, np.maximum(sums + compared - table, 0), 0)
    of_sums = np.minimum(spared, sums)
    return float((of_sums * times).sum()), float(((spared - of_sums) * times).sum())


def _inverters(conv: Conv2d, x: TensorType, rows: Bools, columns: Bools) -> tuple[int, int]:
    """Inverters of the operand's bits, each shared by all that need it: (parallel, one position)."""
    outputs, inputs, *_ = conv.weights.shape
    lookup = integers(np.arange(-64, 65))
    positive, negative = signed_digits(lookup)
    grouped = conv.weights.codes.reshape(conv.groups, outputs // conv.groups, *conv.weights.shape[1:])
    counts = np.zeros(2, np.int64)
    for mask, planes in ((negative, x.bits - x.interval.signed), (positive, int(x.interval.signed))):
        needs = (mask != 0).astype(bool)[grouped.astype(np.int16) + 64].any(axis=1)
        needs = needs.reshape(conv.groups * inputs, *conv.weights.shape[2:])
        counts += planes * np.array(_count_inverted(needs, conv, x, rows, columns))
    return int(counts[0]), int(counts[1])


def _count_inverted(
    needs: Bools, conv: Conv2d, x: TensorType, rows: Bools, columns: Bools
) -> tuple[int, int]:
    inverted = np.zeros(x.shape, bool)
    for u, v in np.ndindex(*needs.shape[1:]):
        row = np.flatnonzero(rows[:, u]) * conv.stride[0] + u * conv.dilation[0] - conv.padding[0]
        column = np.flatnonzero(columns[:, v]) * conv.stride[1] + v * conv.dilation[1] - conv.padding[1]
        inverted[np.ix_(needs[:, u, v], row, column)] = True
    taps = rows.any(axis=0)[:, None] & columns.any(axis=0)
    return int(inverted.sum()), int((needs & taps).sum())


def linear(op: Op, x: TensorType, threshold: Threshold | None = None) -> tuple[Circuits, Circuits]:
    """Cells of a linear op on ``x``, and of the Threshold folded into it (wires if there is none)."""
    conv, x = LINEAR[type(op)](op, x)
    rows, columns = (
        window_taps(
            x.shape[1 + axis],
            conv.weights.shape[2 + axis],
            conv.stride[axis],
            conv.padding[axis],
            conv.dilation[axis],
        )
        for axis in (0, 1)
    )
    padded = TensorType(x.shape, x.interval.hull(ZERO) if any(conv.padding) else x.interval)
    bias = integers(np.zeros(conv.weights.shape[0], int) if conv.bias is None else conv.bias)
    trees, tests = [], []
    for windows, seen in (
        (Windows.parallel(rows, columns), x),
        (Windows.one_position(rows, columns), padded),
    ):
        neurons, times = _neurons(conv, seen, windows), windows.times[..., None]
        if threshold is None:
            tree, test = _plain(neurons, bias, times), NONE
        else:
            tree, test = _thresholded(neurons, bias, threshold, times)
        trees.append(tree)
        tests.append(test)
    inverters = _inverters(conv, x, rows, columns)
    trees = [tree + Cells({"not": count}) for tree, count in zip(trees, inverters, strict=True)]
    return Circuits(*trees), Circuits(*tests)
