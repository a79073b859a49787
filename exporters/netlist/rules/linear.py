"""Circuits of linear ops and thresholds.

Every weight is written in signed digits and every activation in bits, so a neuron is a sum of literals plus
a constant. Under a threshold the constant moves to its other side: no adder takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporters.netlist.convolutions import LINEAR
from exporters.netlist.digits import integers, signed_digits
from exporters.netlist.functions import of_few_inputs
from exporters.netlist.graph import Netlist, Word
from exporters.netlist.rules.words import Builder, Nets
from exporters.netlist.sharing import Plan, share
from exporters.netlist.tables import for_gates, tabulated
from exporters.netlist.words import (
    Columns,
    Gates,
    at_least,
    compress,
    count_thermometer,
    extend,
)
from runtime.ops import Conv2d, Dense, Op, SumPool, Threshold
from runtime.types import Interval, TensorType

MANY, TABLE_BITS = 7, 10
"""So many thresholds of one word of at most so many bits are a table: multiplexers take fewer gates than
comparators and their count."""

SHARE_LIMIT = 50_000
"""Most nonzero weights of an op for which shared adders are looked for: ten seconds or so."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """What one output position of a convolution reads: ``words`` by (group, input, row, column), lowest bit
    first, constants 0 where the window hangs over the border, and ``inside`` (rows, columns) where not."""

    words: Nets
    inside: NDArray[np.bool_]


def _windows(conv: Conv2d, x: Nets, seen: TensorType, plane: tuple[int, int]) -> Iterator[Window]:
    inputs, rows, columns = conv.weights.shape[1:]
    padded = np.pad(x, [(0, 0), *((p, p) for p in conv.padding), (0, 0)])
    inside = np.pad(np.ones(seen.shape[1:], bool), [(p, p) for p in conv.padding])
    for i, j in np.ndindex(*plane):
        corners = i * conv.stride[0], j * conv.stride[1]
        place = tuple(
            slice(corner, corner + (size - 1) * step + 1, step)
            for corner, size, step in zip(corners, (rows, columns), conv.dilation, strict=True)
        )
        words = padded[:, *place].reshape(conv.groups, inputs, rows, columns, seen.bits)
        yield Window(words, inside[place])


@dataclass(frozen=True, slots=True, eq=False)
class _Sum:
    """One neuron at one position: ``literals`` of every column, all positive in sum, and ``constant`` to
    add. ``lo``, ``hi``: of the sum and the constant together."""

    literals: list[Word]
    constant: int
    lo: int
    hi: int


Sums = Callable[[Window], list[_Sum]]
"""The sums of all neurons at one position."""


def _plain_sums(net: Gates, conv: Conv2d, seen: TensorType) -> Sums:
    """Every neuron by itself."""
    codes, per_group = conv.weights.codes, conv.weights.shape[0] // conv.groups
    weights = [[(tuple(map(int, tap)), int(row[tuple(tap)])) for tap in np.argwhere(row)] for row in codes]
    invert = net.inverter()

    def sums(window: Window) -> list[_Sum]:
        found = []
        for o, row in enumerate(weights):
            columns, lo, hi = Columns(), 0, 0
            for (c, u, v), weight in row:
                if window.inside[u, v]:
                    word = window.words[o // per_group, c, u, v].tolist()
                    columns.add(word, seen.interval.signed, weight, invert)
                    lo += min(weight * seen.interval.lo, weight * seen.interval.hi)
                    hi += max(weight * seen.interval.lo, weight * seen.interval.hi)
            found.append(_Sum(columns.nets, columns.constant, lo, hi))
        return found

    return sums


@dataclass(frozen=True, slots=True, eq=False)
class _Shared:
    """The shared adders of one group, and what its neurons add up: constants and ends per tap.

    ``constants``, ``lo``, ``hi``: (outputs, taps), to be summed over the taps inside the image.
    """

    plan: Plan
    constants: NDArray[np.object_]
    lo: NDArray[np.int64]
    hi: NDArray[np.int64]


def _shared_group(codes: NDArray[np.int8], seen: TensorType, least: int) -> _Shared:
    """``codes``: (outputs, inputs, rows, columns) of one group."""
    outputs, taps = len(codes), codes[0].size
    flat = codes.reshape(outputs, taps).astype(np.int64)
    levels, place = np.unique(flat, return_inverse=True)
    positive, negative = signed_digits(integers(levels))
    signs = np.where(np.arange(seen.bits) == seen.bits - 1, -1 if seen.interval.signed else 1, 1)
    width = max(int(d).bit_length() for d in positive | negative)
    columns = [np.zeros((outputs, taps, seen.bits), np.int8) for _ in range(max(width, 1) + seen.bits - 1)]
    constants = np.zeros(levels.size, object)
    for digit in range(width):
        sign = ((positive >> digit) & 1).astype(int) - ((negative >> digit) & 1).astype(int)
        for plane in range(seen.bits):
            own = sign * signs[plane]
            columns[digit + plane][:, :, plane] += own[place].reshape(outputs, taps).astype(np.int8)
            constants -= (1 << (digit + plane)) * (own < 0).astype(object)
    ends = np.sort(np.stack([flat * seen.interval.lo, flat * seen.interval.hi]), axis=0)
    plan = share([column.reshape(outputs, taps * seen.bits) for column in columns], least)
    return _Shared(plan, constants[place].reshape(outputs, taps), ends[0], ends[1])


def _shared_sums(net: Gates, conv: Conv2d, seen: TensorType) -> Sums:
    """Neurons with the adders that several share, group by group."""
    per_group = conv.weights.shape[0] // conv.groups
    groups = [
        _shared_group(conv.weights.codes[g * per_group : (g + 1) * per_group], seen, net.style.shared)
        for g in range(conv.groups)
    ]
    inputs = conv.weights.shape[1]

    def sums(window: Window) -> list[_Sum]:
        found = []
        inside = np.tile(window.inside.reshape(-1), inputs)
        for group, words in zip(groups, window.words, strict=True):
            literals = _replay(net, group.plan, words.reshape(-1).tolist(), np.repeat(inside, seen.bits))
            constants = (group.constants * inside).sum(axis=1)
            lo, hi = (group.lo * inside).sum(axis=1), (group.hi * inside).sum(axis=1)
            found += [
                _Sum(row, int(constants[o]), int(lo[o]), int(hi[o])) for o, row in enumerate(literals)
            ]
        return found

    return sums


def _replay(net: Gates, plan: Plan, bits: Word, inside: NDArray[np.bool_]) -> list[list[Word]]:
    """Build the adders of ``plan`` on ``bits``; what is left to add for every neuron, by column.

    A bit outside the image adds nothing, whatever its sign: both it and its inverse are left out.
    """
    # values[2 * id] is the literal, values[2 * id + 1] its inverse; both are 0 for what is not there
    values: list[int] = []
    for bit, there in zip(bits, inside.tolist(), strict=True):
        values += [bit, bit ^ 1] if there else [0, 0]
    for adder in plan.adders:
        nets = [values[literal] for literal in adder.literals]
        opposite = [values[literal ^ 1] for literal in adder.literals]
        for x, y in zip(net.pair("full_adder", *nets), net.pair("full_adder", *opposite), strict=True):
            values += [x, y]
    return [[[values[literal] for literal in column] for column in row] for row in plan.rest]


def linear(
    net: Gates, op: Op, x: Nets, type_: TensorType, result: TensorType, threshold: Threshold | None
) -> Nets:
    """A linear op, with the Threshold that follows it folded in if there is one."""
    conv, seen = LINEAR[type(op)](op, type_)
    plane = (result.shape[1], result.shape[2]) if result.shape[1:] else (1, 1)
    sums = _sums_of(net, conv, seen)
    bias = [0] * len(conv.weights.codes) if conv.bias is None else conv.bias.tolist()
    nets = np.zeros((len(bias), *plane, result.bits), np.int64)
    windows = _windows(conv, x.reshape(*seen.shape, seen.bits), seen, plane)
    for place, window in zip(np.ndindex(*plane), windows, strict=True):
        for o, part in enumerate(sums(window)):
            interval = Interval(part.lo + bias[o], part.hi + bias[o])
            if threshold is None:
                word = compress(net, part.literals, part.constant + bias[o], interval.bits)
                nets[o, *place] = extend(word, interval.signed, result.bits)
            else:
                compared, offset = _compared(net, part, threshold, o, bias[o])
                code = _reached(net, compared, threshold, o, interval, offset, result.bits)
                if for_gates(net):
                    code = [of_few_inputs(net, literal) for literal in code]
                nets[o, *place] = code
    return nets.reshape(*result.shape, result.bits)


def sum_words(net: Gates, op: Op, x: Nets, type_: TensorType, threshold: Threshold) -> list[Word]:
    """The word that the thresholds of every neuron of a linear op with one position are compared with.

    On the netlist that ``linear`` was called on these are words that are there already.
    """
    conv, seen = LINEAR[type(op)](op, type_)
    (window,) = _windows(conv, x.reshape(*seen.shape, seen.bits), seen, (1, 1))
    bias = [0] * len(conv.weights.codes) if conv.bias is None else conv.bias.tolist()
    parts = enumerate(_sums_of(net, conv, seen)(window))
    return [_compared(net, part, threshold, o, bias[o])[0] for o, part in parts]


def _sums_of(net: Gates, conv: Conv2d, seen: TensorType) -> Sums:
    codes = conv.weights.codes
    if isinstance(net, Netlist) and len(codes) > conv.groups and np.count_nonzero(codes) <= SHARE_LIMIT:
        return _shared_sums(net, conv, seen)
    return _plain_sums(net, conv, seen)


def _compared(net: Gates, part: _Sum, op: Threshold, channel: int, bias: int) -> tuple[Word, int]:
    """The word that the thresholds of a neuron are compared with, none where they are out of reach, and
    what it is more than the operand.

    For a threshold alone a constant is added that makes it the carry out of the sum: that takes no
    comparator, and of the adders before it only their carries.
    """
    bits, offset = max(1, (part.hi - part.constant).bit_length()), -part.constant - bias
    reachable = _reachable(op, channel, Interval(part.lo + bias, part.hi + bias))
    if isinstance(net, Netlist) and len(reachable) == 1:
        added = (1 << bits) - reachable[0] - offset
        return compress(net, part.literals, added, bits + 1), offset + added
    return compress(net, part.literals, 0, bits) if reachable else [], offset


def _least(op: Threshold, channel: int) -> list[int]:
    """The least operands that reach each threshold, or that no longer do where it falls."""
    falling = int(op.direction[channel]) < 0
    return [int(t) + falling for t in op.thresholds[channel]]


def _reachable(op: Threshold, channel: int, interval: Interval) -> list[int]:
    return [t for t in _least(op, channel) if interval.lo < t <= interval.hi]


def _reached(
    net: Gates,
    word: Word,
    op: Threshold,
    channel: int,
    interval: Interval,
    offset: int,
    bits: int,
) -> Word:
    """Thresholds that an operand in ``interval`` reaches; ``word``: the operand + ``offset``."""
    falling = int(op.direction[channel]) < 0
    least, reachable = _least(op, channel), _reachable(op, channel, interval)
    if isinstance(net, Netlist) and len(reachable) >= MANY and len(word) <= TABLE_BITS:
        return tabulated(net, word, _steps(least, falling, interval, offset, len(word), bits))
    code = []
    for t in least:
        if interval.lo < t <= interval.hi:
            verdict = at_least(net, word, t + offset)
            code.append(net.gate("not", verdict) if falling else verdict)
        else:
            code.append(int((t <= interval.lo) != falling))
    return count_thermometer(net, code, bits)


def _steps(
    least: list[int], falling: bool, interval: Interval, offset: int, inputs: int, bits: int
) -> NDArray[np.int64]:
    """Bit planes (bits, 2**inputs) of how many thresholds are reached, over every word, ``operand +
    offset``; words of no operand in ``interval`` repeat the nearest."""
    words = np.arange(1 << inputs) - offset
    reached = np.clip(words, interval.lo, interval.hi)[:, None] >= np.array(least)
    count = (reached != falling).sum(axis=1)
    planes: NDArray[np.int64] = (count[None, :] >> np.arange(bits)[:, None]) & 1
    return planes


def _threshold(
    net: Gates, op: Threshold, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    (x,), (type_,) = operands, types
    offset = 1 << (type_.bits - 1) if type_.interval.signed else 0
    nets = np.zeros((*result.shape, result.bits), np.int64)
    for place in np.ndindex(*result.shape):
        word = list(map(int, x[place]))
        if offset and _reachable(op, place[0], type_.interval):
            word[-1] = net.gate("not", word[-1])
        nets[place] = _reached(net, word, op, place[0], type_.interval, offset, result.bits)
    return nets


def _linear(net: Gates, op: Op, operands: list[Nets], types: list[TensorType], result: TensorType) -> Nets:
    return linear(net, op, operands[0], types[0], result, None)


BUILDERS: dict[type[Op], Builder] = {
    Conv2d: _linear,
    Dense: _linear,
    SumPool: _linear,
    Threshold: _threshold,
}
