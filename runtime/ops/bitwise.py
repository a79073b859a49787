"""Bitwise ops on non-negative integers, and the multiplexer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.errors import ProgramError
from runtime.ops.base import Op, require_same_shape
from runtime.types import IntArray, Interval, TensorType


def _require_words(op: str, *operands: TensorType) -> None:
    for x in operands:
        if x.interval.signed:
            raise ProgramError(f"{op} needs non-negative operands, not {x.interval}")


def min_or(a: Interval, b: Interval) -> int:
    """Smallest ``x | y`` for x in ``a``, y in ``b`` (Warren, Hacker's Delight, section 4-3)."""
    lo_a, lo_b = a.lo, b.lo
    bit = 1 << max(lo_a.bit_length(), lo_b.bit_length())
    while bit:
        if ~lo_a & lo_b & bit and (lo_a | bit) & -bit <= a.hi:
            lo_a = (lo_a | bit) & -bit
            break
        if lo_a & ~lo_b & bit and (lo_b | bit) & -bit <= b.hi:
            lo_b = (lo_b | bit) & -bit
            break
        bit >>= 1
    return lo_a | lo_b


def max_or(a: Interval, b: Interval) -> int:
    """Largest ``x | y`` for x in ``a``, y in ``b`` (Warren, Hacker's Delight, section 4-3)."""
    hi_a, hi_b = a.hi, b.hi
    bit = 1 << max(hi_a.bit_length(), hi_b.bit_length())
    while bit:
        if hi_a & hi_b & bit:
            if (hi_a - bit) | (bit - 1) >= a.lo:
                hi_a = (hi_a - bit) | (bit - 1)
                break
            if (hi_b - bit) | (bit - 1) >= b.lo:
                hi_b = (hi_b - bit) | (bit - 1)
                break
        bit >>= 1
    return hi_a | hi_b


def complement(a: Interval, bits: int) -> Interval:
    """Interval of ``(2**bits - 1) - x``."""
    top = (1 << bits) - 1
    return Interval(top - a.hi, top - a.lo)


def and_interval(a: Interval, b: Interval) -> Interval:
    """Exact interval of ``x & y``, by De Morgan from the bounds of ``|``."""
    bits = max(a.bits, b.bits)
    inverse_a, inverse_b = complement(a, bits), complement(b, bits)
    inverse_or = Interval(min_or(inverse_a, inverse_b), max_or(inverse_a, inverse_b))
    return complement(inverse_or, bits)


def xor_interval(a: Interval, b: Interval) -> Interval:
    """Interval of ``x ^ y``: exact where one operand is constant or both are single bits, else sound."""
    if a.lo == a.hi and b.lo == b.hi:
        return Interval(a.lo ^ b.lo, a.lo ^ b.lo)
    return Interval(0, (1 << max(a.bits, b.bits)) - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Or(Op):
    """``y = a | b``, bit by bit. Operands: non-negative, one shape."""

    arity = 2

    def infer(self, *operands: TensorType) -> TensorType:
        a, b = operands
        require_same_shape(a, b, "Or")
        _require_words("Or", a, b)
        bounds = Interval(min_or(a.interval, b.interval), max_or(a.interval, b.interval))
        return TensorType(a.shape, bounds)

    def evaluate(self, *operands: IntArray) -> IntArray:
        return operands[0] | operands[1]


@dataclass(frozen=True, slots=True, eq=False)
class And(Op):
    """``y = a & b``, bit by bit. Operands: non-negative, one shape."""

    arity = 2

    def infer(self, *operands: TensorType) -> TensorType:
        a, b = operands
        require_same_shape(a, b, "And")
        _require_words("And", a, b)
        return TensorType(a.shape, and_interval(a.interval, b.interval))

    def evaluate(self, *operands: IntArray) -> IntArray:
        return operands[0] & operands[1]


@dataclass(frozen=True, slots=True, eq=False)
class Xor(Op):
    """``y = a ^ b``, bit by bit. Operands: non-negative, one shape."""

    arity = 2

    def infer(self, *operands: TensorType) -> TensorType:
        a, b = operands
        require_same_shape(a, b, "Xor")
        _require_words("Xor", a, b)
        return TensorType(a.shape, xor_interval(a.interval, b.interval))

    def evaluate(self, *operands: IntArray) -> IntArray:
        return operands[0] ^ operands[1]


@dataclass(frozen=True, slots=True, eq=False)
class Not(Op):
    """``y = (2**bits - 1) - x``: every one of ``bits`` bits inverted. Operand: 0 .. 2**bits - 1."""

    bits: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 32:
            raise ProgramError(f"Not needs 1 to 32 bits, not {self.bits}")

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        _require_words("Not", x)
        if x.interval.hi >= 1 << self.bits:
            raise ProgramError(f"Not of {self.bits} bits cannot take {x.interval}")
        return TensorType(x.shape, complement(x.interval, self.bits))

    def evaluate(self, *operands: IntArray) -> IntArray:
        return ((1 << self.bits) - 1) - operands[0]


@dataclass(frozen=True, slots=True, eq=False)
class Select(Op):
    """Multiplexer: ``y = a`` where ``condition`` is 1, ``b`` where it is 0.

    Operands: ``condition`` in {0, 1}, ``a``, ``b``. ``a`` and ``b`` have one shape; the condition has
    that shape, or one value per channel: (channels, 1, ..., 1).
    """

    arity = 3

    def infer(self, *operands: TensorType) -> TensorType:
        condition, a, b = operands
        require_same_shape(a, b, "Select")
        if not condition.interval.is_binary:
            raise ProgramError(f"Select needs a condition in [0, 1], not {condition.interval}")
        if condition.shape not in (a.shape, (a.channels,) + (1,) * (len(a.shape) - 1)):
            raise ProgramError(
                f"Select condition of shape {list(condition.shape)} does not fit {list(a.shape)}"
            )
        if condition.interval.lo == condition.interval.hi:
            return a if condition.interval.lo else b
        return TensorType(a.shape, a.interval.hull(b.interval))

    def evaluate(self, *operands: IntArray) -> IntArray:
        condition, a, b = operands
        return np.where(condition == 1, a, b)


OPS: tuple[type[Op], ...] = (Or, And, Xor, Not, Select)
