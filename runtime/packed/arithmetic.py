"""Arithmetic, products and moves of integers in the smallest dtypes that are exact.

A NumPy loop over bytes takes a fortieth of the time of one that converts to int64 first, float64 divides
three times as fast as int64, and BLAS multiplies matrices up to twenty times as fast. Sums and products may
wrap on the way: a result that fits its dtype is right modulo the dtype's range, so it is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from runtime.ops import (
    Add,
    Clip,
    Concat,
    FloorSqrt,
    Lookup,
    MatMul,
    Mul,
    Op,
    ReduceSum,
    Requantize,
    Reshape,
    Roll,
    RoundDiv,
    ShiftRight,
    Slice,
    Square,
    Sub,
    Transpose,
)
from runtime.ops.base import per_channel
from runtime.packed.linear import Kernel
from runtime.packed.planes import Integers
from runtime.packed.value import Value
from runtime.types import FLOAT32_EXACT, FLOAT64_EXACT, SQRT_EXACT, Interval, TensorType

Dtype = np.dtype[Any]
Compile = Callable[[Any, Sequence[TensorType], TensorType], Kernel | None]


def narrow(*intervals: Interval) -> Dtype:
    """The smallest dtype that holds ``intervals``; not uint64, which NumPy joins with int64 to float64."""
    dtype = intervals[0].hull(*intervals).dtype
    return np.dtype(np.int64) if dtype == np.uint64 else dtype


def _loop(needed: Dtype, *arrays: Integers) -> Dtype:
    """``needed``, or as wide as the widest of ``arrays``: to convert it would take longer than one pass."""
    widest = max(array.itemsize for array in arrays)
    return needed if needed.itemsize >= widest else np.dtype(f"i{widest}")


def _on_arrays(result: TensorType, function: Callable[..., Integers]) -> Kernel:
    return lambda values: Value(result, values[0].batch, array=function(*(v.as_array() for v in values)))


def _elementwise(ufunc: np.ufunc, repeat: int = 1) -> Compile:
    """One pass of ``ufunc``, over ``repeat`` times the operands."""

    def compile_(op: Op, operands: Sequence[TensorType], result: TensorType) -> Kernel:
        needed = narrow(result.interval)

        def function(*arrays: Integers) -> Integers:
            found: Integers = ufunc(*arrays * repeat, dtype=_loop(needed, *arrays), casting="unsafe")
            return found

        return _on_arrays(result, function)

    return compile_


def compile_reduce_sum(op: ReduceSum, operands: Sequence[TensorType], result: TensorType) -> Kernel:
    """Kernel of one pass."""
    axes, needed = tuple(1 + axis for axis in op.axes), narrow(result.interval)

    def function(x: Integers) -> Integers:
        total: Integers = x.sum(axes, dtype=_loop(needed, x), keepdims=True)
        return total

    return _on_arrays(result, function)


def compile_clip(op: Clip, operands: Sequence[TensorType], result: TensorType) -> Kernel:
    """Kernel of one pass, in a dtype of the operand and the limits, and a conversion."""
    (x,) = operands
    limits, needed = result.interval, narrow(x.interval, result.interval)

    def function(x: Integers) -> Integers:
        held = x.astype(_loop(needed, x), copy=False)
        clipped: Integers = np.clip(held, limits.lo, limits.hi)
        return clipped.astype(narrow(limits), copy=False)

    return _on_arrays(result, function)


def compile_shift_right(op: ShiftRight, operands: Sequence[TensorType], result: TensorType) -> Kernel:
    """Kernel that adds and shifts in place, in a dtype of the sums."""
    (x,) = operands
    loop = narrow(Interval(x.interval.lo + op.offset, x.interval.hi + op.offset))
    offset = np.array(op.offset).astype(loop)

    def function(x: Integers) -> Integers:
        sums: Integers = np.add(x, offset, dtype=loop, casting="unsafe")
        np.right_shift(sums, op.shift, out=sums)
        return sums.astype(narrow(result.interval), copy=False)

    return _on_arrays(result, function)


def compile_requantize(op: Requantize, operands: Sequence[TensorType], result: TensorType) -> Kernel:
    """Kernel that multiplies, adds, shifts and clips in place, in a dtype of the sums and the limits."""
    (x,) = operands
    rows = zip(op.multiplier.tolist(), op.offset.tolist(), strict=True)
    sums = Interval.of(end * m + o for m, o in rows for end in (x.interval.lo, x.interval.hi))
    limits, loop = result.interval, narrow(sums, result.interval)
    multiplier, offset, shift = (v.astype(loop) for v in (op.multiplier, op.offset, op.shift))

    def function(x: Integers) -> Integers:
        scaled = np.multiply(x, per_channel(multiplier, x), dtype=loop, casting="unsafe")
        scaled += per_channel(offset, x)
        scaled >>= per_channel(shift, x)
        np.clip(scaled, limits.lo, limits.hi, out=scaled)
        return scaled.astype(narrow(limits), copy=False)

    return _on_arrays(result, function)


def compile_lookup(op: Lookup, operands: Sequence[TensorType], result: TensorType) -> Kernel:
    """Kernel that takes from the rows of the table one after the other, in the dtype of the result."""
    rows, entries = op.table.shape
    table = op.table.astype(narrow(Interval.of((int(op.table.min()), int(op.table.max()))))).reshape(-1)
    starts = np.arange(rows) * entries - op.first

    def function(x: Integers) -> Integers:
        index = np.add(x, per_channel(starts, x), dtype=np.intp, casting="unsafe")
        return table.take(index)

    return _on_arrays(result, function)


def compile_mat_mul(op: MatMul, operands: Sequence[TensorType], result: TensorType) -> Kernel | None:
    """Kernel by BLAS, which has floats alone, while they hold every partial sum."""
    a, b = operands
    bound = a.shape[-1] * a.interval.magnitude * b.interval.magnitude
    if bound > FLOAT64_EXACT:
        return None
    dtype = np.float32 if bound <= FLOAT32_EXACT else np.float64

    def function(a: Integers, b: Integers) -> Integers:
        product: Integers = np.matmul(a.astype(dtype), b.astype(dtype))
        return product.astype(narrow(result.interval))

    return _on_arrays(result, function)


def compile_round_div(op: RoundDiv, operands: Sequence[TensorType], result: TensorType) -> Kernel | None:
    """Kernel that divides in float64 while that holds the dividend and half the divisor.

    A quotient of such integers never rounds up to the next integer, and the conversion truncates it.
    """
    a, b = (x.interval for x in operands)
    if a.magnitude + b.hi >= FLOAT64_EXACT:
        return None

    def function(a: Integers, b: Integers) -> Integers:
        quotient = np.copysign(b // 2, a, dtype=np.float64, casting="unsafe")
        quotient += a
        quotient /= b
        found: Integers = quotient.astype(narrow(result.interval))
        return found

    return _on_arrays(result, function)


def compile_floor_sqrt(op: FloorSqrt, operands: Sequence[TensorType], result: TensorType) -> Kernel | None:
    """Kernel by the root of float64 while that needs no correction."""
    if operands[0].interval.hi > SQRT_EXACT:
        return None

    def function(x: Integers) -> Integers:
        root: Integers = np.sqrt(x, dtype=np.float64, casting="unsafe").astype(narrow(result.interval))
        return root

    return _on_arrays(result, function)


def compile_move(op: Op, operands: Sequence[TensorType], result: TensorType) -> Kernel:
    """Kernel of an op that computes nothing: its definition, in whatever dtype the operands have."""
    return _on_arrays(result, op.evaluate)


COMPILERS: dict[type[Op], Compile] = {
    Add: _elementwise(np.add),
    Sub: _elementwise(np.subtract),
    Mul: _elementwise(np.multiply),
    Square: _elementwise(np.multiply, repeat=2),
    ReduceSum: compile_reduce_sum,
    Clip: compile_clip,
    ShiftRight: compile_shift_right,
    Requantize: compile_requantize,
    Lookup: compile_lookup,
    MatMul: compile_mat_mul,
    RoundDiv: compile_round_div,
    FloorSqrt: compile_floor_sqrt,
    **dict.fromkeys((Reshape, Concat, Slice, Transpose, Roll), compile_move),
}
