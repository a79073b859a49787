"""Circuits of products, quotients and roots: what the formulas of ``products`` count."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from exporters.netlist.graph import Word
from exporters.netlist.rules.words import Builder, Nets, elementwise
from exporters.netlist.words import Columns, Gates, compress
from runtime.ops import FloorSqrt, MatMul, Mul, Op, RoundDiv, Square
from runtime.types import TensorType

Inverter = Callable[[int], int]


def _place(net: Gates, sums: Columns, term: int, column: int, negative: bool, bits: int) -> None:
    """Add ``term * 2**column`` or, as its inverse less a constant, subtract it, modulo ``2**bits``."""
    if column >= bits:
        return
    if negative and column < bits - 1:  # in the leftmost column a sign changes nothing
        term = net.gate("not", term)
        sums.constant -= 1 << column
    sums.put(term, column)


def _add_product(net: Gates, sums: Columns, words: list[Word], signed: list[bool], bits: int) -> None:
    (a, b), (a_signed, b_signed) = words, signed
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            if i + j < bits:
                negative = (a_signed and i == len(a) - 1) != (b_signed and j == len(b) - 1)
                _place(net, sums, net.gate("and", left, right), i + j, negative, bits)


def _mul(
    net: Gates, op: Mul, words: list[Word], types: list[TensorType], result: TensorType, c: int
) -> Word:
    sums = Columns()
    _add_product(net, sums, words, [t.interval.signed for t in types], result.bits)
    return compress(net, sums.nets, sums.constant, result.bits)


def _square(
    net: Gates, op: Square, words: list[Word], types: list[TensorType], result: TensorType, c: int
) -> Word:
    (word,), (x,) = words, types
    sums = Columns()
    for j, bit in enumerate(word):
        _place(net, sums, bit, 2 * j, False, result.bits)
        for i in range(j):
            if i + j + 1 < result.bits:  # x_i x_j and x_j x_i together
                negative = x.interval.signed and j == len(word) - 1
                _place(net, sums, net.gate("and", word[i], bit), i + j + 1, negative, result.bits)
    return compress(net, sums.nets, sums.constant, result.bits)


def _mat_mul(
    net: Gates, op: MatMul, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    a, b = operands
    signed = [t.interval.signed for t in types]
    nets = np.zeros((*result.shape, result.bits), np.int64)
    for place in np.ndindex(*result.shape):
        *leading, row, column = place
        sums = Columns()
        for k in range(types[0].shape[-1]):
            words = [a[(*leading, row, k)].tolist(), b[(*leading, k, column)].tolist()]
            _add_product(net, sums, words, signed, result.bits)
        nets[place] = compress(net, sums.nets, sums.constant, result.bits)
    return nets


def _all_zero(net: Gates, invert: Inverter) -> Callable[[tuple[int, ...]], int]:
    """A function that gives the net that says all bits of a word are 0, building shared parts once."""

    @cache
    def zero(bits: tuple[int, ...]) -> int:
        inverted = invert(bits[0])
        return net.gate("and", inverted, zero(bits[1:])) if len(bits) > 1 else inverted

    return zero


def _at_least_trial(
    net: Gates, rest: Word, trial: Word, start: int, carry: int, zero: Callable[..., int]
) -> int:
    """Net of ``rest >= trial`` given the carry into column ``start``."""
    for column in range(start, min(len(rest), len(trial))):
        differ = net.gate("xor", rest[column], trial[column])
        carry = net.gate("mux", differ, carry, rest[column])
    return _above(net, carry, rest, trial, zero)


def _subtract_trial(
    net: Gates,
    rest: Word,
    trial: Word,
    start: int,
    carry: int,
    invert: Inverter,
    zero: Callable[..., int],
) -> tuple[int, Word]:
    """Net of ``rest >= trial``, and from column ``start`` on what is left: the difference if it is, else
    ``rest``. A bit of ``rest`` above ``trial`` is never left."""
    differences = []
    for column in range(start, min(len(rest), len(trial))):
        difference, carry = net.pair("full_adder", rest[column], invert(trial[column]), carry)
        differences.append(difference)
    fits = _above(net, carry, rest, trial, zero)
    old = rest[start : start + len(differences)]
    return fits, [net.gate("mux", fits, *pair) for pair in zip(old, differences, strict=True)]


def _above(net: Gates, carry: int, rest: Word, trial: Word, zero: Callable[..., int]) -> int:
    """The verdict of the columns that both have, joined with those that only one has."""
    if len(rest) > len(trial):
        return net.gate("or", carry, rest[-1])
    if len(rest) < len(trial):
        return net.gate("and", carry, zero(tuple(trial[len(rest) :])))
    return carry


def _quotient(
    net: Gates, dividend: Word, divisor: Word, rows: int, invert: Inverter, zero: Callable[..., int]
) -> Word:
    """The lowest ``rows`` bits of ``dividend // divisor``; there are no higher ones."""
    rest, quotient = dividend[rows:], list[int]()
    for bit in reversed(dividend[:rows]):
        rest = [bit, *rest]
        carry = net.gate("or", bit, invert(divisor[0]))
        if len(quotient) == rows - 1:
            fits = _at_least_trial(net, rest, divisor, 1, carry, zero)
        else:
            fits, kept = _subtract_trial(net, rest, divisor, 1, carry, invert, zero)
            rest = [net.gate("xor", bit, net.gate("and", fits, divisor[0])), *kept]
        quotient.insert(0, fits)
    return quotient


def _round_div(
    net: Gates, op: RoundDiv, operands: list[Nets], types: list[TensorType], result: TensorType
) -> Nets:
    a, b = types
    width = (a.interval.magnitude + b.interval.hi // 2).bit_length()
    rows = result.interval.magnitude.bit_length()
    invert = net.inverter()
    zero = _all_zero(net, invert)

    @cache
    def flipped(word: tuple[int, ...]) -> Word:
        return [net.gate("xor", bit, word[-1]) for bit in word[:-1]]

    def build(net: Gates, op: Op, words: list[Word], *_: object) -> Word:
        dividend, divisor = words
        if not rows:
            return [0]
        sums = Columns()
        magnitude = flipped(tuple(dividend)) if a.interval.signed else dividend
        for column, bit in enumerate(magnitude):
            sums.put(bit, column)
        for column, bit in enumerate(divisor[1:]):
            sums.put(bit, column)
        if a.interval.signed:
            sums.put(dividend[-1], 0)
        quotient = _quotient(net, compress(net, sums.nets, 0, width), divisor, rows, invert, zero)
        if not result.interval.signed:
            return quotient
        sign = dividend[-1]
        signs = [[net.gate("xor", bit, sign)] for bit in quotient]
        signs += [[sign] for _ in range(result.bits - rows)]
        signs[0].append(sign)
        return compress(net, signs, 0, result.bits)

    return elementwise(build)(net, op, operands, types, result)


def _floor_sqrt(
    net: Gates, op: FloorSqrt, words: list[Word], types: list[TensorType], result: TensorType, c: int
) -> Word:
    (word,) = words
    invert = net.inverter()
    zero = _all_zero(net, invert)
    odd = len(word) % 2
    root, rest = list(word[-1:] if odd else []), list[int]()  # lowest bit first
    for low in reversed(range(0, len(word) - odd, 2)):
        rest = [word[low], word[low + 1], *rest]
        trial = [1, 0, *root]
        carry = net.gate("or", rest[0], rest[1])
        if low == 0:
            fits = _at_least_trial(net, rest, trial, 2, carry, zero)
        else:
            fits, kept = _subtract_trial(net, rest, trial, 2, carry, invert, zero)
            first = net.gate("xor", rest[0], fits)
            second = net.gate("xor", rest[1], net.gate("and", fits, first))
            rest = [first, second, *kept]
        root = [fits, *root]
    return root


BUILDERS: dict[type[Op], Builder] = {
    Mul: elementwise(_mul),
    Square: elementwise(_square),
    MatMul: _mat_mul,
    RoundDiv: _round_div,
    FloorSqrt: elementwise(_floor_sqrt),
}
