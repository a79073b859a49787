"""Arithmetic and products of integers in the smallest dtypes that are exact.

A NumPy loop over bytes takes a fortieth of the time of one that converts to int64 first, float64 divides
three times as fast as int64, and BLAS multiplies matrices up to twenty times as fast. Sums and products may
wrap on the way: a result that fits its dtype is right modulo the dtype's range, so it is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from runtime.ops import (
    Add,
    Clip,
    FloorSqrt,
    Hadamard,
    Lookup,
    MatMul,
    Mul,
    Op,
    ReduceSum,
    Requantize,
    RoundDiv,
    ShiftRight,
    Square,
    Sub,
)
from runtime.ops.base import per_channel
from runtime.packed.integer import Compile, Integer, elementwise, loop_of
from runtime.packed.layout import BATCH_FIRST, Block, Call, Dtype, Layout, Work, narrow, run_all
from runtime.packed.planes import Integers
from runtime.types import FLOAT32_EXACT, FLOAT64_EXACT, SQRT_EXACT, Interval, TensorType

FLOAT64 = np.dtype(np.float64)
INTP = np.dtype(np.intp)


def _elementwise(ufunc: np.ufunc, repeat: int = 1) -> Compile:
    """One pass of ``ufunc``, over ``repeat`` times the operands."""

    def compile_(op: Op, operands: Sequence[TensorType], result: TensorType) -> Integer:
        needed, sizes = narrow(result.interval), [x.size for x in operands]

        def plan(layouts: Sequence[Layout], batch: int) -> Work:
            loop = loop_of(needed, *layouts)

            def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
                return elementwise(ufunc, tuple(arrays) * repeat, out, loop)

            return Work(layouts[sizes.index(max(sizes))].with_dtype(loop), bind)

        return Integer(result, plan)

    return compile_


def compile_reduce_sum(op: ReduceSum, operands: Sequence[TensorType], result: TensorType) -> Integer:
    """Kernel of one pass."""
    axes, needed = tuple(1 + axis for axis in op.axes), narrow(result.interval)

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        loop = loop_of(needed, *layouts)

        def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
            return partial(np.add.reduce, arrays[0], axes, dtype=loop, out=out, keepdims=True)

        return Work(layouts[0].with_dtype(loop), bind)

    return Integer(result, plan)


def compile_clip(op: Clip, operands: Sequence[TensorType], result: TensorType) -> Integer:
    """Kernel of one pass, in a dtype of the operand and the limits."""
    limits, loop = result.interval, narrow(operands[0].interval, result.interval)

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
            return _clipped(arrays[0], limits, loop, out)

        return Work(layouts[0].with_dtype(narrow(limits)), bind)

    return Integer(result, plan)


def _clipped(x: Integers, limits: Interval, loop: Dtype, out: Integers) -> Call:
    """A call that writes ``x`` within ``limits`` to ``out``; ``np.clip`` takes longer to call the same."""
    low, high = np.array(limits.lo, loop), np.array(limits.hi, loop)
    return partial(x.clip, low, high, out=out, dtype=loop, casting="unsafe")


def _in_place(
    result: TensorType,
    loop: Dtype,
    passes: Callable[[Integers, Integers, Integers], Sequence[Call]],
) -> Integer:
    """Kernel of several passes in ``loop``: ``passes(x, sums, out)`` end in ``out``."""
    narrowest = narrow(result.interval)

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        layout = layouts[0].with_dtype(narrowest)
        same = loop == narrowest
        block = layout.with_dtype(loop).block(result, 0 if same else batch)

        def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
            sums = out if same else layout.view(scratch[0])
            return partial(run_all, tuple(passes(arrays[0], sums, out)))

        return Work(layout, bind, scratch=(block,))

    return Integer(result, plan)


def compile_shift_right(op: ShiftRight, operands: Sequence[TensorType], result: TensorType) -> Integer:
    """Kernel that adds and shifts, in a dtype of the sums."""
    (x,) = operands
    loop = narrow(Interval(x.interval.lo + op.offset, x.interval.hi + op.offset))
    offset = np.array(op.offset).astype(loop)

    def passes(x: Integers, sums: Integers, out: Integers) -> Sequence[Call]:
        return (
            partial(np.add, x, offset, out=sums, dtype=loop, casting="unsafe"),
            partial(np.right_shift, sums, op.shift, out=out, dtype=loop, casting="unsafe"),
        )

    return _in_place(result, loop, passes)


def compile_requantize(op: Requantize, operands: Sequence[TensorType], result: TensorType) -> Integer:
    """Kernel that multiplies, adds, shifts and clips, in a dtype of the sums and the limits.

    Passes that change nothing are left out: many a Requantize only multiplies, or only shifts.
    """
    rows = list(zip(op.multiplier.tolist(), op.offset.tolist(), op.shift.tolist(), strict=True))
    ends = (operands[0].interval.lo, operands[0].interval.hi)
    sums_of_ends = Interval.of(end * m + o for m, o, _ in rows for end in ends)
    shifted = Interval.of((end * m + o) >> s for m, o, s in rows for end in ends)
    limits, loop = result.interval, narrow(sums_of_ends, result.interval)
    parts = ((np.multiply, op.multiplier, 1), (np.add, op.offset, 0), (np.right_shift, op.shift, 0))
    chosen = [(ufunc, values.astype(loop)) for ufunc, values, idle in parts if (values != idle).any()]

    def passes(x: Integers, sums: Integers, out: Integers) -> Sequence[Call]:
        calls, source, clips = [], x, shifted != limits or not chosen
        for index, (ufunc, values) in enumerate(chosen):
            target = out if index == len(chosen) - 1 and not clips else sums
            factor = values[0] if (values == values[0]).all() else per_channel(values, x)
            calls.append(partial(ufunc, source, factor, out=target, dtype=loop, casting="unsafe"))
            source = sums
        return (*calls, _clipped(source, limits, loop, out)) if clips else calls

    return _in_place(result, loop, passes)


def compile_lookup(op: Lookup, operands: Sequence[TensorType], result: TensorType) -> Integer:
    """Kernel that takes from the rows of the table one after the other, in the dtype of the result."""
    rows, entries = op.table.shape
    table = op.table.astype(narrow(result.interval), casting="unsafe").reshape(-1)  # what x reaches fits
    starts = np.arange(rows) * entries - op.first

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        layout = layouts[0].with_dtype(table.dtype)

        def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
            index, target = layout.view(scratch[0]), layout.memory(out)
            add = partial(
                np.add, arrays[0], per_channel(starts, index), out=index, dtype=INTP, casting="unsafe"
            )
            return partial(run_all, (add, partial(np.take, table, scratch[0], out=target, mode="clip")))

        return Work(layout, bind, scratch=(layout.with_dtype(INTP).block(result, batch),))

    return Integer(result, plan)


def compile_mat_mul(op: MatMul, operands: Sequence[TensorType], result: TensorType) -> Integer | None:
    """Kernel by BLAS, which has floats alone, while they hold every partial sum."""
    a, b = operands
    bound = a.shape[-1] * a.interval.magnitude * b.interval.magnitude
    if bound > FLOAT64_EXACT:
        return None
    dtype = np.dtype(np.float32 if bound <= FLOAT32_EXACT else np.float64)

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        blocks = tuple(Block((batch, *x.shape), dtype) for x in (a, b, result))

        def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
            left, right, product = scratch
            return partial(
                run_all,
                (
                    partial(np.copyto, left, arrays[0], "unsafe"),
                    partial(np.copyto, right, arrays[1], "unsafe"),
                    partial(np.matmul, left, right, out=product),
                    partial(np.copyto, out, product, "unsafe"),
                ),
            )

        return Work(Layout(BATCH_FIRST, narrow(result.interval)), bind, scratch=blocks)

    return Integer(result, plan)


def compile_round_div(op: RoundDiv, operands: Sequence[TensorType], result: TensorType) -> Integer | None:
    """Kernel that divides in float64 while that holds the dividend and half the divisor.

    A quotient of such integers never rounds up to the next integer, and the conversion truncates it.
    """
    a, b = operands
    if a.interval.magnitude + b.interval.hi >= FLOAT64_EXACT:
        return None

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        layout = layouts[0 if a.size >= b.size else 1].with_dtype(narrow(result.interval))
        halves, wide = layouts[1].with_dtype(layouts[1].dtype), layout.with_dtype(FLOAT64)
        blocks = halves.block(b, batch), wide.block(result, batch)

        def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
            (x, y), half, quotient = arrays, halves.view(scratch[0]), wide.view(scratch[1])
            return partial(
                run_all,
                (
                    partial(np.right_shift, y, 1, out=half),
                    partial(np.copysign, half, x, out=quotient, dtype=FLOAT64, casting="unsafe"),
                    partial(np.add, quotient, x, out=quotient),
                    partial(np.divide, quotient, y, out=quotient),
                    partial(np.copyto, out, quotient, "unsafe"),
                ),
            )

        return Work(layout, bind, scratch=blocks)

    return Integer(result, plan)


def compile_floor_sqrt(op: FloorSqrt, operands: Sequence[TensorType], result: TensorType) -> Integer | None:
    """Kernel by the root of float64 while that needs no correction."""
    if operands[0].interval.hi > SQRT_EXACT:
        return None

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        layout = layouts[0].with_dtype(narrow(result.interval))
        wide = layout.with_dtype(FLOAT64)

        def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
            root = wide.view(scratch[0])
            sqrt = partial(np.sqrt, arrays[0], out=root, dtype=FLOAT64, casting="unsafe")
            return partial(run_all, (sqrt, partial(np.copyto, out, root, "unsafe")))

        return Work(layout, bind, scratch=(wide.block(result, batch),))

    return Integer(result, plan)


def compile_hadamard(op: Hadamard, operands: Sequence[TensorType], result: TensorType) -> Integer:
    """Kernel of the butterfly: two rounds of two sums and two differences."""
    needed, quarter = narrow(result.interval, operands[0].interval), result.channels // 4

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        loop = loop_of(needed, *layouts)
        layout = layouts[0].with_dtype(loop)

        def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
            half = layout.view(scratch[0])
            (x0, x1, x2, x3), (a, b, c, d), (y0, y1, y2, y3) = (
                [array[:, i * quarter : (i + 1) * quarter] for i in range(4)]
                for array in (arrays[0], half, out)
            )
            rounds = (
                (np.add, x0, x1, a),
                (np.subtract, x0, x1, b),
                (np.add, x2, x3, c),
                (np.subtract, x2, x3, d),
                (np.add, a, c, y0),
                (np.add, b, d, y1),
                (np.subtract, a, c, y2),
                (np.subtract, b, d, y3),
            )
            calls = [
                partial(f, left, right, out=to, dtype=loop, casting="unsafe")
                for f, left, right, to in rounds
            ]
            return partial(run_all, calls)

        return Work(layout, bind, scratch=(layout.block(result, batch),))

    return Integer(result, plan)


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
    Hadamard: compile_hadamard,
}
