"""Thresholds, bitwise ops and multiplexers, on bit planes or on integers, whichever their operands are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from runtime.ops import And, Not, Op, Or, Select, Threshold, Xor
from runtime.ops.base import per_channel
from runtime.packed.integer import Compile, Integer, elementwise, loop_of
from runtime.packed.layer import BIT, BYTE, MAX_COUNT
from runtime.packed.layout import (
    ALWAYS,
    BATCH_FIRST,
    CHANNELS_LAST,
    FROM_PLANES,
    NEVER,
    Call,
    Layout,
    Work,
    fits_planes,
    narrow,
    run_all,
)
from runtime.packed.planes import Integers, Words, pack_bits, pack_last
from runtime.types import Interval, TensorType


def compile_threshold(op: Threshold, operands: Sequence[TensorType], result: TensorType) -> Integer | None:
    """Kernel that compares integers and writes codes or, from codes of a whole batch, planes.

    A decreasing channel counts ``K - #{x >= t + 1}``, so every channel compares the same way.
    """
    (x,), count = operands, op.thresholds.shape[1]
    if count > MAX_COUNT:
        return None
    falling = op.direction < 0
    bounds = np.clip(op.thresholds + falling[:, None], x.interval.lo, x.interval.hi + 1)
    limits = bounds.astype(narrow(Interval.of((int(bounds.min()), int(bounds.max())))))

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        codes = layouts[0].with_dtype(BYTE)
        block = codes.with_dtype(BIT).block(result, batch if count > 1 else 0)

        def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
            reached = codes.view(scratch[0]) if count > 1 else out.view(BIT)
            held = limits.astype(np.promote_types(limits.dtype, arrays[0].dtype))
            return partial(run_all, _count(arrays[0], held, falling, out, reached))

        return Work(codes, bind, scratch=(block,))

    if not fits_planes(result):
        return Integer(result, plan)
    return _Thresholds(result, plan, gives_planes=ALWAYS)


class _Thresholds(Integer):
    """A Threshold that can end in planes."""

    def work(self, operands: Sequence[Layout], planes: bool, batch: int) -> Work:
        """The work at one batch size."""
        work = Integer.work(self, operands, planes, batch)
        return _packed(work, self.result, batch) if planes else work


def _packed(work: Work, result: TensorType, batch: int) -> Work:
    """``work`` with its codes as working memory, packed to planes at the end."""
    last = Layout(CHANNELS_LAST if len(result.shape) > 1 else BATCH_FIRST, BYTE)
    assert work.bind is not None
    inner = work.bind

    def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
        *rest, codes = scratch
        compare = inner(arrays, last.view(codes), rest)
        return partial(run_all, (compare, partial(pack_last, codes, out)))

    return Work(
        Layout.planes(), bind, work.nanoseconds, (*work.scratch, last.block(result, batch)), work.transient
    )


def _count(
    x: Integers, limits: Integers, falling: Integers, out: Integers, reached: Integers
) -> list[Call]:
    """Calls that count in ``out`` the thresholds ``x`` reaches; ``reached`` holds one comparison."""
    rows = [per_channel(limits[:, k], x) for k in range(limits.shape[1])]
    calls: list[Call] = [partial(np.greater_equal, x, rows[0], out=out.view(BIT))]
    for row in rows[1:]:
        calls.append(partial(np.greater_equal, x, row, out=reached))
        calls.append(partial(np.add, out, reached.view(BYTE), out=out))
    if falling.any() and len(rows) == 1:
        calls.append(partial(np.not_equal, reached, per_channel(falling, x), out=reached))
    elif falling.any():  # K - n = (n ^ 255) + K + 1 modulo 256
        flips: Integers = np.where(falling, 255, 0).astype(np.uint8)
        added: Integers = np.where(falling, (len(rows) + 1) % 256, 0).astype(np.uint8)
        calls.append(partial(np.bitwise_xor, out, per_channel(flips, x), out=out))
        calls.append(partial(np.add, out, per_channel(added, x), out=out))
    return calls


def _bitwise(ufunc: np.ufunc, alone: Callable[[Words, Words], None]) -> Compile:
    """Kernel of one pass; ``alone(out, plane)`` writes a plane that one operand alone has."""

    def compile_(op: Op, operands: Sequence[TensorType], result: TensorType) -> Integer:
        needed, on_planes = narrow(result.interval), all(map(fits_planes, (*operands, result)))

        def plan(layouts: Sequence[Layout], batch: int) -> Work:
            if layouts[0].is_planes:
                return Work(Layout.planes(), _on_each_plane(ufunc, alone))
            loop = loop_of(needed, *layouts)

            def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
                return elementwise(ufunc, arrays, out, loop)

            return Work(layouts[0].with_dtype(loop), bind)

        return Integer(result, plan, on_planes, FROM_PLANES if on_planes else NEVER)

    return compile_


def _on_each_plane(
    ufunc: np.ufunc, alone: Callable[[Words, Words], None]
) -> Callable[[Sequence[Integers], Integers, Sequence[Integers]], Call]:
    def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
        a, b = sorted(arrays, key=len)
        both = min(len(a), len(out))
        calls: list[Call] = [partial(ufunc, a[:both], b[:both], out=out[:both])]
        calls += [partial(alone, out[p], b[p]) for p in range(both, len(out))]
        return partial(run_all, calls)

    return bind


def _zero(out: Words, plane: Words) -> None:
    out.fill(0)


def compile_not(op: Not, operands: Sequence[TensorType], result: TensorType) -> Integer:
    """Kernel that inverts the used bits; unused bits of words stay 0."""
    (x,) = operands
    needed, on_planes = (
        narrow(result.interval, Interval(0, (1 << op.bits) - 1)),
        fits_planes(x) and fits_planes(result),
    )
    used = pack_bits(np.ones((x.channels, 1), np.uint8)).reshape(-1, 1)

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        if layouts[0].is_planes:
            return Work(Layout.planes(), invert)
        loop = loop_of(needed, *layouts)
        top = np.array((1 << op.bits) - 1, loop)

        def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
            return partial(np.subtract, top, arrays[0], out=out, dtype=loop, casting="unsafe")

        return Work(layouts[0].with_dtype(loop), bind)

    def invert(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
        (words,) = arrays
        ones, both = used.reshape(-1, *(1,) * (words.ndim - 2)), min(len(words), len(out))
        calls: list[Call] = [partial(np.bitwise_xor, words[:both], ones, out=out[:both])]
        return partial(run_all, [*calls, partial(np.copyto, out[both:], ones)])

    return Integer(result, plan, on_planes, FROM_PLANES if on_planes else NEVER)


def compile_select(op: Select, operands: Sequence[TensorType], result: TensorType) -> Integer:
    """Kernel of the multiplexer, ``b ^ (c & (a ^ b))`` on words or on integers with ``c`` as a mask."""
    condition, a, b = operands
    needed, on_planes = narrow(a.interval, b.interval), all(map(fits_planes, (*operands, result)))

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        if layouts[0].is_planes:
            return Work(Layout.planes(), _select_planes)
        loop = loop_of(needed, *layouts[1:])
        layout, mask = layouts[1].with_dtype(loop), layouts[0].with_dtype(loop)

        def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
            chosen, (c, x, y) = mask.view(scratch[0]), arrays
            options = {"dtype": loop, "casting": "unsafe"}
            return partial(
                run_all,
                (
                    partial(np.copyto, chosen, c, "unsafe"),
                    partial(np.subtract, loop.type(0), chosen, out=chosen),
                    partial(np.bitwise_xor, x, y, out=out, **options),
                    partial(np.bitwise_and, out, chosen, out=out),
                    partial(np.bitwise_xor, out, y, out=out, **options),
                ),
            )

        return Work(layout, bind, scratch=(mask.block(condition, batch),))

    return Integer(result, plan, on_planes, FROM_PLANES if on_planes else NEVER)


def _select_planes(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
    (condition,), a, b = arrays

    def call() -> None:
        for p, target in enumerate(out):
            if p >= len(b):
                np.bitwise_and(a[p], condition, out=target)
                continue
            if p < len(a):
                np.bitwise_xor(a[p], b[p], out=target)
            else:
                np.copyto(target, b[p])
            np.bitwise_and(target, condition, out=target)
            np.bitwise_xor(target, b[p], out=target)

    return call


COMPILERS: dict[type[Op], Compile] = {
    Threshold: compile_threshold,
    Or: _bitwise(np.bitwise_or, np.copyto),
    And: _bitwise(np.bitwise_and, _zero),
    Xor: _bitwise(np.bitwise_xor, np.copyto),
    Not: compile_not,
    Select: compile_select,
}
