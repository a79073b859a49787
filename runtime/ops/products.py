"""Products, quotients and roots of activations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.errors import ProgramError
from runtime.ops.base import Op, broadcast_shape
from runtime.types import IntArray, Interval, TensorType


def _corners(a: Interval, b: Interval) -> Interval:
    """The products of two intervals."""
    return Interval.of(x * y for x in (a.lo, a.hi) for y in (b.lo, b.hi))


@dataclass(frozen=True, slots=True, eq=False)
class Mul(Op):
    """``y = a * b``. Operands: axes equal, or 1 in one of them."""

    arity = 2

    def infer(self, *operands: TensorType) -> TensorType:
        a, b = operands
        return TensorType(broadcast_shape(a, b, "Mul"), _corners(a.interval, b.interval))

    def evaluate(self, *operands: IntArray) -> IntArray:
        return operands[0] * operands[1]


@dataclass(frozen=True, slots=True, eq=False)
class Square(Op):
    """``y = x * x``, which is never negative and takes half the gates of a product. Operand: any shape."""

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        ends = Interval.of((x.interval.lo**2, x.interval.hi**2))
        return TensorType(x.shape, Interval(0, ends.hi) if 0 in x.interval else ends)

    def evaluate(self, *operands: IntArray) -> IntArray:
        return operands[0] * operands[0]


@dataclass(frozen=True, slots=True, eq=False)
class MatMul(Op):
    """Matrix products ``y[..., i, j] = sum_k a[..., i, k] * b[..., k, j]`` of activations.

    Operands: ``(..., m, k)`` and ``(..., k, n)``, of equal rank 2 or more and equal leading axes.
    """

    arity = 2

    def infer(self, *operands: TensorType) -> TensorType:
        a, b = operands
        fits = len(a.shape) == len(b.shape) >= 2 and a.shape[:-2] == b.shape[:-2]
        if not fits or a.shape[-1] != b.shape[-2]:
            raise ProgramError(
                f"MatMul needs (..., m, k) and (..., k, n), not {list(a.shape)} and {list(b.shape)}"
            )
        product = _corners(a.interval, b.interval)
        terms = a.shape[-1]
        interval = Interval(terms * product.lo, terms * product.hi)
        return TensorType((*a.shape[:-1], b.shape[-1]), interval)

    def evaluate(self, *operands: IntArray) -> IntArray:
        result: IntArray = np.matmul(operands[0], operands[1])
        return result


@dataclass(frozen=True, slots=True, eq=False)
class RoundDiv(Op):
    """``y = a / b`` rounded to the nearest integer, halves away from zero.

    ``y = sign(a) * ((abs(a) + b // 2) // b)``. Operands: axes equal, or 1 in one of them; ``b`` is at
    least 1.
    """

    arity = 2

    def infer(self, *operands: TensorType) -> TensorType:
        a, b = operands
        if b.interval.lo < 1:
            raise ProgramError(f"RoundDiv needs a divisor above 0, not in {b.interval}; clip it first")
        ends = np.array([a.interval.lo, a.interval.hi])[:, None], np.array([b.interval.lo, b.interval.hi])
        interval = Interval.of(self.evaluate(*ends).reshape(-1).tolist())
        return TensorType(broadcast_shape(a, b, "RoundDiv"), interval)

    def evaluate(self, *operands: IntArray) -> IntArray:
        a, b = operands
        result: IntArray = np.sign(a) * ((np.abs(a) + b // 2) // b)
        return result


@dataclass(frozen=True, slots=True, eq=False)
class FloorSqrt(Op):
    """The largest integer ``y`` with ``y * y <= x``. Operand: any shape, not negative."""

    def infer(self, *operands: TensorType) -> TensorType:
        (x,) = operands
        if x.interval.lo < 0:
            raise ProgramError(f"FloorSqrt needs an operand of at least 0, not in {x.interval}")
        lo, hi = self.evaluate(np.array([x.interval.lo, x.interval.hi])).tolist()
        return TensorType(x.shape, Interval(lo, hi))

    def evaluate(self, *operands: IntArray) -> IntArray:
        (x,) = operands
        root = np.sqrt(x.astype(np.float64)).astype(np.int64)  # at most one too large above 2**52
        root -= root * root > x
        root += (root + 1) * (root + 1) <= x
        return root


OPS: tuple[type[Op], ...] = (Mul, Square, MatMul, RoundDiv, FloorSqrt)
