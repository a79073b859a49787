"""Circuits of the ops that work element by element on words of bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from exporters.netlist.graph import Word
from exporters.netlist.tables import tabulated, truth_table
from exporters.netlist.words import Columns, Gates, at_least, compress, extend
from runtime.ops import (
    Add,
    And,
    Clip,
    Lookup,
    Not,
    Op,
    Or,
    Requantize,
    Select,
    ShiftRight,
    Sub,
    Xor,
)
from runtime.types import Interval, TensorType

Nets = NDArray[np.int64]
"""Nets of one operand or result: ``(*type.shape, type.bits)``, lowest bit first."""

Builder = Callable[..., Nets]
"""``builder(net, op, operands, operand types, result type)``."""


def elementwise(function: Callable[..., Word]) -> Builder:
    """A rule that builds one element at a time: ``function(net, op, words, types, result, channel)``."""

    def rule(net: Gates, op: Op, operands: list[Nets], types: list[TensorType], result: TensorType) -> Nets:
        nets = np.zeros((*result.shape, result.bits), np.int64)
        spread = [np.broadcast_to(x, (*result.shape, x.shape[-1])) for x in operands]
        for place in np.ndindex(*result.shape):
            words = [[int(n) for n in x[place]] for x in spread]
            nets[place] = function(net, op, words, types, result, place[0] if place else 0)
        return nets

    return rule


def _bitwise(cell: str) -> Builder:
    def build(
        net: Gates, op: Op, words: list[Word], types: list[TensorType], result: TensorType, c: int
    ) -> Word:
        common = min(map(len, words))
        low = [net.gate(cell, *bits) for bits in zip(*(w[:common] for w in words), strict=True)]
        rest = [] if cell == "and" else max(words, key=len)[common:]
        return extend([*low, *rest], False, result.bits)

    return elementwise(build)


def _not(
    net: Gates, op: Not, words: list[Word], types: list[TensorType], result: TensorType, c: int
) -> Word:
    inverted = [net.gate("not", bit) for bit in words[0]]
    return [*inverted, *[1] * (op.bits - len(inverted))][: result.bits]


def _select(
    net: Gates, op: Select, words: list[Word], types: list[TensorType], result: TensorType, c: int
) -> Word:
    condition = types[0].interval
    a, b = (extend(w, t.interval.signed, result.bits) for w, t in zip(words[1:], types[1:], strict=True))
    if condition.lo == condition.hi:
        return a if condition.lo else b
    return [net.gate("mux", words[0][0], low, high) for low, high in zip(b, a, strict=True)]


def _sum(*signs: int) -> Builder:
    def rule(net: Gates, op: Op, operands: list[Nets], types: list[TensorType], result: TensorType) -> Nets:
        invert = net.inverter()  # once for every bit of an operand, however often it is broadcast

        def build(net: Gates, op: Op, words: list[Word], *_: object) -> Word:
            sums = Columns()
            for sign, word, type_ in zip(signs, words, types, strict=True):
                sums.add(word, type_.interval.signed, sign, invert)
            return compress(net, sums.nets, sums.constant, result.bits)

        return elementwise(build)(net, op, operands, types, result)

    return rule


def _requantize(
    net: Gates, op: Requantize, words: list[Word], types: list[TensorType], result: TensorType, c: int
) -> Word:
    (x,) = types
    multiplier, offset, shift = (int(a[c]) for a in (op.multiplier, op.offset, op.shift))
    product = Interval.of(end * multiplier + offset for end in (x.interval.lo, x.interval.hi))
    scaled = Interval(product.lo >> shift, product.hi >> shift)
    low, high = (min(max(end, op.lo), op.hi) for end in (scaled.lo, scaled.hi))
    if low == high:
        return [low >> b & 1 for b in range(result.bits)]
    sums = Columns()
    sums.add(words[0], x.interval.signed, multiplier, net.inverter())
    word = compress(net, sums.nets, sums.constant + offset, product.bits)
    word = extend(word[shift:] or word[-1:], product.signed, scaled.bits)
    return _clipped(net, word, scaled, op, result.bits)


def _clipped(net: Gates, word: Word, interval: Interval, op: Requantize | Clip, bits: int) -> Word:
    """``word`` in ``interval`` clipped to the limits of ``op``, of which one or none is out of reach."""
    tested, bias = word, 0
    if interval.signed and (interval.hi > op.hi or interval.lo < op.lo):
        tested, bias = [*word[:-1], net.gate("not", word[-1])], 1 << (interval.bits - 1)
    clipped = extend(word, interval.signed, bits)
    if interval.hi > op.hi:
        clipped = _force(net, clipped, op.hi, at_least(net, tested, op.hi + 1 + bias), True)
    if interval.lo < op.lo:
        # bits above the highest one of a limit are 0 anyway in an unsigned word that is below it
        reach = bits if interval.signed else op.lo.bit_length()
        forced = _force(net, clipped[:reach], op.lo, at_least(net, tested, op.lo + bias), False)
        clipped = [*forced, *clipped[reach:]]
    return clipped


def _force(net: Gates, word: Word, value: int, test: int, when: bool) -> Word:
    """``value`` where ``test`` equals ``when``, else ``word``."""
    invert = net.inverter()
    gates = []
    for column, bit in enumerate(word):
        one = value >> column & 1
        control = test if bool(one) == when else invert(test)
        gates.append(net.gate("or" if one else "and", bit, control))
    return gates


def _clip(
    net: Gates, op: Clip, words: list[Word], types: list[TensorType], result: TensorType, c: int
) -> Word:
    lo, hi = result.interval.lo, result.interval.hi
    if lo == hi:
        return [lo >> b & 1 for b in range(result.bits)]
    return _clipped(net, words[0], types[0].interval, op, result.bits)


def _shift_right(
    net: Gates, op: ShiftRight, words: list[Word], types: list[TensorType], result: TensorType, c: int
) -> Word:
    lo, hi = result.interval.lo, result.interval.hi
    if lo == hi:
        return [lo >> b & 1 for b in range(result.bits)]
    (word,), (x,) = words, types
    kept = extend(word[op.shift :] or [word[-1] * x.interval.signed], x.interval.signed, result.bits)
    if not op.offset:
        return kept
    columns = [[net_] if net_ else [] for net_ in kept]
    columns[0].append(word[op.shift - 1])
    return compress(net, columns, 0, result.bits)


def _lookup(
    net: Gates, op: Lookup, words: list[Word], types: list[TensorType], result: TensorType, c: int
) -> Word:
    row = c if op.table.shape[0] > 1 else 0
    planes = truth_table(op, row, types[0], result)
    return tabulated(net, words[0][: planes.shape[1].bit_length() - 1], planes)


BUILDERS: dict[type[Op], Builder] = {
    Or: _bitwise("or"),
    And: _bitwise("and"),
    Xor: _bitwise("xor"),
    Not: elementwise(_not),
    Select: elementwise(_select),
    Add: _sum(1, 1),
    Sub: _sum(1, -1),
    ShiftRight: elementwise(_shift_right),
    Clip: elementwise(_clip),
    Requantize: elementwise(_requantize),
    Lookup: elementwise(_lookup),
}
