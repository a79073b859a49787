"""Circuits of the ops, built gate by gate: what the formulas of ``gates`` and ``linear`` count.

Small and slow on purpose. An operand is an array of nets of shape ``(*type.shape, type.bits)``, lowest
bit first, in two's complement where its interval is signed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from runtime.ops import (
    ArgMax,
    Concat,
    Conv2d,
    Dense,
    MaxPool,
    Op,
    ReduceSum,
    Reshape,
    Roll,
    Slice,
    SumPool,
    Threshold,
    Transpose,
)
from runtime.types import IntArray, Interval, TensorType
from toolchain.cost import product_circuits, word_circuits
from toolchain.cost.gatelist import (
    Columns,
    Netlist,
    Word,
    at_least,
    compress,
    count_thermometer,
    extend,
    larger,
)
from toolchain.cost.linear import LINEAR
from toolchain.cost.word_circuits import Builder, Nets


def _linear(
    net: Netlist, op: Op, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    return linear(net, op, operands[0], types[0], result, None)


def linear(
    net: Netlist, op: Op, x: Nets, type_: TensorType, result: TensorType, threshold: Threshold | None
) -> Nets:
    """A linear op, with the Threshold that follows it folded in if there is one."""
    conv, seen = LINEAR[type(op)](op, type_)
    x = x.reshape(*seen.shape, seen.bits)
    outputs, inputs, rows, columns = conv.weights.shape
    per_group = outputs // conv.groups
    plane = result.shape[1:] or (1, 1)
    nets = np.zeros((outputs, *plane, result.bits), np.int64)
    invert = net.inverter()
    for o, i, j in np.ndindex(outputs, *plane):
        sums, lo, hi = Columns(), 0, 0
        for c, u, v in np.ndindex(inputs, rows, columns):
            y = i * conv.stride[0] + u * conv.dilation[0] - conv.padding[0]
            z = j * conv.stride[1] + v * conv.dilation[1] - conv.padding[1]
            weight = int(conv.weights.codes[o, c, u, v])
            if 0 <= y < seen.shape[1] and 0 <= z < seen.shape[2] and weight:
                word = x[o // per_group * inputs + c, y, z]
                sums.add(list(word), seen.interval.signed, weight, invert)
                lo += min(weight * seen.interval.lo, weight * seen.interval.hi)
                hi += max(weight * seen.interval.lo, weight * seen.interval.hi)
        bias = 0 if conv.bias is None else int(conv.bias[o])
        if threshold is None:
            interval = Interval(lo + bias, hi + bias)
            word = compress(net, sums.nets, sums.constant + bias, interval.bits)
            nets[o, i, j] = extend(word, interval.signed, result.bits)
        else:
            offset = -sums.constant - bias
            build = _sum_builder(net, sums, max(1, (hi - sums.constant).bit_length()))
            nets[o, i, j] = _reached(
                net, build, threshold, o, Interval(lo + bias, hi + bias), offset, result.bits
            )
    return nets.reshape(*result.shape, result.bits)


def _sum_builder(net: Netlist, sums: Columns, bits: int) -> Callable[[], Word]:
    return lambda: compress(net, sums.nets, 0, bits)


def _reached(
    net: Netlist,
    build: Callable[[], Word],
    op: Threshold,
    channel: int,
    interval: Interval,
    offset: int,
    bits: int,
) -> Word:
    """Thresholds that an operand in ``interval`` reaches; ``build`` makes ``operand + offset`` if asked."""
    falling = int(op.direction[channel]) < 0
    least = [int(t) + falling for t in op.thresholds[channel]]
    word = build() if any(interval.lo < t <= interval.hi for t in least) else []
    code = []
    for t in least:
        if interval.lo < t <= interval.hi:
            verdict = at_least(net, word, t + offset)
            code.append(net.gate("not", verdict) if falling else verdict)
        else:
            code.append(int((t <= interval.lo) != falling))
    return count_thermometer(net, code, bits)


def _threshold(
    net: Netlist, op: Threshold, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    (x,), (type_,) = operands, types
    offset = 1 << (type_.bits - 1) if type_.interval.signed else 0
    nets = np.zeros((*result.shape, result.bits), np.int64)
    for place in np.ndindex(*result.shape):
        word = list(map(int, x[place]))

        def build(word: Word = word) -> Word:
            return [*word[:-1], net.gate("not", word[-1])] if offset else word

        nets[place] = _reached(net, build, op, place[0], type_.interval, offset, result.bits)
    return nets


def _maximum(net: Netlist, a: Word, b: Word, signed: bool) -> Word:
    if len(a) == 1:
        return [net.gate("and" if signed else "or", a[0], b[0])]
    wins = larger(net, a, b, signed)
    return [net.gate("mux", wins, low, high) for low, high in zip(b, a, strict=True)]


def _max_pool(
    net: Netlist, op: MaxPool, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    (x,), (type_,) = operands, types
    nets = np.zeros((*result.shape, result.bits), np.int64)
    for c, i, j in np.ndindex(*result.shape):
        best: Word = []
        for u, v in np.ndindex(*op.kernel):
            y, z = i * op.stride[0] + u - op.padding[0], j * op.stride[1] + v - op.padding[1]
            if 0 <= y < type_.shape[1] and 0 <= z < type_.shape[2]:
                word = [int(n) for n in x[c, y, z]]
                best = _maximum(net, best, word, type_.interval.signed) if best else word
        nets[c, i, j] = best
    return nets


def _reduce_sum(
    net: Netlist, op: ReduceSum, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    (x,), (type_,) = operands, types
    invert = net.inverter()
    nets = np.zeros((*result.shape, result.bits), np.int64)
    for place in np.ndindex(*result.shape):
        summed = tuple(slice(None) if axis in op.axes else at for axis, at in enumerate(place))
        sums = Columns()
        for word in x[summed].reshape(-1, type_.bits):
            sums.add(word.tolist(), type_.interval.signed, 1, invert)
        nets[place] = compress(net, sums.nets, sums.constant, result.bits)
    return nets


def _argmax(
    net: Netlist, op: ArgMax, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    (x,), (type_,) = operands, types
    players: list[tuple[Word, Word]] = [([int(n) for n in word], []) for word in x]
    while len(players) > 1:
        last = len(players) == 2
        following = []
        for left, right in zip(players[0::2], players[1::2], strict=False):
            wins = larger(net, left[0], right[0], type_.interval.signed)
            index = [net.gate("mux", wins, r, w) for w, r in zip(left[1], right[1], strict=True)]
            index.append(net.gate("not", wins))
            value = [
                net.gate("mux", wins, r, w) for w, r in zip(left[0], right[0], strict=True) if not last
            ]
            following.append((value, index))
        if len(players) % 2:
            following.append((players[-1][0], [*players[-1][1], 0]))
        players = following
    return np.array(extend(players[0][1], False, result.bits), np.int64)


def _reshape(
    net: Netlist, op: Reshape, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    return operands[0].reshape(*result.shape, result.bits)


def _concat(
    net: Netlist, op: Concat, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    parts = [
        np.array([extend(list(w), t.interval.signed, result.bits) for w in x.reshape(-1, t.bits)]).reshape(
            *t.shape, result.bits
        )
        for x, t in zip(operands, types, strict=True)
    ]
    return np.concatenate(parts)


def _slice(
    net: Netlist, op: Slice, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    return operands[0][op.start : op.stop]


def _transpose(
    net: Netlist, op: Transpose, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    return operands[0].transpose(*op.axes, len(op.axes))


def _roll(
    net: Netlist, op: Roll, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    return np.roll(operands[0], op.shift, axis=0)


BUILDERS: dict[type[Op], Builder] = {
    **word_circuits.BUILDERS,
    **product_circuits.BUILDERS,
    Conv2d: _linear,
    Dense: _linear,
    SumPool: _linear,
    Threshold: _threshold,
    MaxPool: _max_pool,
    ReduceSum: _reduce_sum,
    ArgMax: _argmax,
    Reshape: _reshape,
    Concat: _concat,
    Slice: _slice,
    Transpose: _transpose,
    Roll: _roll,
}
"""One builder per row of ``gates.COSTS``."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """A netlist with its operand and result nets, and what they mean."""

    net: Netlist
    operands: tuple[Nets, ...]
    result: Nets
    type: TensorType

    def run(self, *arrays: IntArray) -> IntArray:
        """Results (batch, *shape) for operands of shape (batch, *shape)."""
        samples = len(arrays[0])
        lanes = {}
        for nets, array in zip(self.operands, arrays, strict=True):
            flat = array.reshape(samples, -1)
            for column, word in enumerate(nets.reshape(-1, nets.shape[-1])):
                for plane, net in enumerate(word):
                    lanes[int(net)] = np.packbits((flat[:, column] >> plane & 1).astype(np.uint8))
        values = self.net.evaluate(lanes, samples)
        words = self.result.reshape(-1, self.result.shape[-1])
        planes = np.array([[np.unpackbits(values[n], count=samples) for n in word] for word in words])
        weights = [1 << p for p in range(self.type.bits)]
        if self.type.interval.signed:
            weights[-1] = -weights[-1]
        total = sum(planes[:, p].astype(np.int64) * w for p, w in enumerate(weights))
        return total.T.reshape(samples, *self.type.shape)


def build(op: Op, *types: TensorType, threshold: Threshold | None = None) -> Circuit:
    """The parallel circuit of ``op`` on operands of ``types``, its Threshold folded in if one is given."""
    net = Netlist()
    operands = tuple(
        np.array(net.inputs(t.size * t.bits), np.int64).reshape(*t.shape, t.bits) for t in types
    )
    result = op.infer(*types)
    if threshold is None:
        nets = BUILDERS[type(op)](net, op, list(operands), list(types), result)
    else:
        result = threshold.infer(result)
        nets = linear(net, op, operands[0], types[0], result, threshold)
    return Circuit(net, operands, nets, result)
