"""Circuits of the ops, built gate by gate: what the formulas of ``gates`` and ``linear`` count.

Small and slow on purpose. An operand is an array of nets of shape ``(*type.shape, type.bits)``, lowest
bit first, in two's complement where its interval is signed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.ops import (
    Add,
    And,
    ArgMax,
    Concat,
    Conv2d,
    Dense,
    Lookup,
    MaxPool,
    Not,
    Op,
    Or,
    Requantize,
    Reshape,
    Select,
    Slice,
    Sub,
    SumPool,
    Threshold,
    Xor,
)
from runtime.types import IntArray, Interval, TensorType
from toolchain.cost.columns import integers, signed_digits
from toolchain.cost.gatelist import (
    Netlist,
    Word,
    at_least,
    compress,
    count_thermometer,
    decision_diagram,
    larger,
)
from toolchain.cost.gates import truth_table
from toolchain.cost.linear import LINEAR

Nets = NDArray[np.int64]


def extend(word: Word, signed: bool, bits: int) -> Word:
    """``word`` cut or extended to ``bits``; the copies of the sign are wires."""
    fill = int(word[-1]) if signed else 0
    return [*map(int, word[:bits]), *[fill] * (bits - len(word))]


@dataclass(slots=True)
class Columns:
    """Literals collected by weight, and the constant that inverted ones leave behind."""

    nets: list[list[int]]
    constant: int = 0

    def add(self, word: Word, signed: bool, coefficient: int, invert: Callable[[int], int]) -> None:
        """Add ``coefficient * word`` in signed digits."""
        (positive,), (negative,) = signed_digits(integers([coefficient]))
        for plane, bit in enumerate(word):
            minus = signed and plane == len(word) - 1
            for digit in range(max(positive, negative).bit_length()):
                if not (positive | negative) >> digit & 1:
                    continue
                weight = plane + digit
                self.nets.extend([] for _ in range(weight + 1 - len(self.nets)))
                inverted = bool(negative >> digit & 1) != minus
                self.nets[weight].append(invert(int(bit)) if inverted else int(bit))
                self.constant -= (1 << weight) * inverted


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
        sums, lo, hi = Columns([]), 0, 0
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


def _elementwise(function: Callable[..., Word]) -> Callable[..., Nets]:
    """A rule that builds one element at a time: ``function(net, op, words, types, result, channel)``."""

    def rule(
        net: Netlist, op: Op, operands: list[Nets], types: list[TensorType], result: TensorType
    ) -> Nets:
        nets = np.zeros((*result.shape, result.bits), np.int64)
        spread = [np.broadcast_to(x, (*result.shape, x.shape[-1])) for x in operands]
        for place in np.ndindex(*result.shape):
            words = [[int(n) for n in x[place]] for x in spread]
            nets[place] = function(net, op, words, types, result, place[0] if place else 0)
        return nets

    return rule


def _bitwise(cell: str) -> Callable[..., Nets]:
    def build(
        net: Netlist, op: Op, words: list[Word], types: list[TensorType], result: TensorType, c: int
    ) -> Word:
        common = min(map(len, words))
        low = [net.gate(cell, *bits) for bits in zip(*(w[:common] for w in words), strict=True)]
        rest = [] if cell == "and" else max(words, key=len)[common:]
        return extend([*low, *rest], False, result.bits)

    return _elementwise(build)


def _not(
    net: Netlist, op: Not, words: list[Word], types: list[TensorType], result: TensorType, c: int
) -> Word:
    inverted = [net.gate("not", bit) for bit in words[0]]
    return [*inverted, *[1] * (op.bits - len(inverted))][: result.bits]


def _select(
    net: Netlist, op: Select, words: list[Word], types: list[TensorType], result: TensorType, c: int
) -> Word:
    condition = types[0].interval
    a, b = (extend(w, t.interval.signed, result.bits) for w, t in zip(words[1:], types[1:], strict=True))
    if condition.lo == condition.hi:
        return a if condition.lo else b
    return [net.gate("mux", words[0][0], low, high) for low, high in zip(b, a, strict=True)]


def _sum(*signs: int) -> Callable[..., Nets]:
    def build(
        net: Netlist, op: Op, words: list[Word], types: list[TensorType], result: TensorType, c: int
    ) -> Word:
        sums = Columns([])
        for sign, word, type_ in zip(signs, words, types, strict=True):
            sums.add(word, type_.interval.signed, sign, net.inverter())
        return compress(net, sums.nets, sums.constant, result.bits)

    return _elementwise(build)


def _requantize(
    net: Netlist, op: Requantize, words: list[Word], types: list[TensorType], result: TensorType, c: int
) -> Word:
    (x,) = types
    multiplier, offset, shift = (int(a[c]) for a in (op.multiplier, op.offset, op.shift))
    product = Interval.of(end * multiplier + offset for end in (x.interval.lo, x.interval.hi))
    scaled = Interval(product.lo >> shift, product.hi >> shift)
    low, high = (min(max(end, op.lo), op.hi) for end in (scaled.lo, scaled.hi))
    if low == high:
        return [low >> b & 1 for b in range(result.bits)]
    sums = Columns([])
    sums.add(words[0], x.interval.signed, multiplier, net.inverter())
    word = compress(net, sums.nets, sums.constant + offset, product.bits)
    word = extend(word[shift:] or word[-1:], product.signed, scaled.bits)
    tested, bias = word, 0
    if scaled.signed and (scaled.hi > op.hi or scaled.lo < op.lo):
        tested, bias = [*word[:-1], net.gate("not", word[-1])], 1 << (scaled.bits - 1)
    result_word = extend(word, scaled.signed, result.bits)
    if scaled.hi > op.hi:
        result_word = _force(net, result_word, op.hi, at_least(net, tested, op.hi + 1 + bias), True)
    if scaled.lo < op.lo:
        result_word = _force(net, result_word, op.lo, at_least(net, tested, op.lo + bias), False)
    return result_word


def _force(net: Netlist, word: Word, value: int, test: int, when: bool) -> Word:
    """``value`` where ``test`` equals ``when``, else ``word``."""
    invert = net.inverter()
    gates = []
    for column, bit in enumerate(word):
        one = value >> column & 1
        control = test if bool(one) == when else invert(test)
        gates.append(net.gate("or" if one else "and", bit, control))
    return gates


def _lookup(
    net: Netlist, op: Lookup, words: list[Word], types: list[TensorType], result: TensorType, c: int
) -> Word:
    row = c if op.table.shape[0] > 1 else 0
    planes = truth_table(op, row, types[0], result)
    return decision_diagram(net, words[0][: planes.shape[1].bit_length() - 1], planes)


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


BUILDERS: dict[type[Op], Callable[..., Nets]] = {
    Conv2d: _linear,
    Dense: _linear,
    SumPool: _linear,
    Threshold: _threshold,
    Or: _bitwise("or"),
    And: _bitwise("and"),
    Xor: _bitwise("xor"),
    Not: _elementwise(_not),
    Select: _elementwise(_select),
    Add: _sum(1, 1),
    Sub: _sum(1, -1),
    Requantize: _elementwise(_requantize),
    Lookup: _elementwise(_lookup),
    MaxPool: _max_pool,
    ArgMax: _argmax,
    Reshape: _reshape,
    Concat: _concat,
    Slice: _slice,
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
