"""Pools, and the index of the largest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from runtime.ops import ArgMax, MaxPool, Op, SumPool
from runtime.ops.base import window_taps
from runtime.packed.integer import Compile, Integer, loop_of
from runtime.packed.layout import (
    CHANNELS_LAST,
    FROM_PLANES,
    NEVER,
    Block,
    Call,
    Dtype,
    Layout,
    Work,
    fits_planes,
    narrow,
    run_all,
)
from runtime.packed.planes import Integers, unpack_last, words_for
from runtime.types import TensorType


def _taps(op: MaxPool | SumPool, x: TensorType, image: Integers) -> list[Integers]:
    """One view a kernel tap of an image with its padding."""
    taps = window_taps((x.shape[1], x.shape[2]), op.kernel, op.stride, op.padding)
    return [image[..., *tap] for tap in taps]


def _fold(ufunc: np.ufunc, taps: Sequence[Integers], out: Integers, dtype: Dtype) -> list[Call]:
    """Calls that join ``taps`` in ``out``."""
    if len(taps) == 1:
        return [partial(np.copyto, out, taps[0], "unsafe")]
    options = {"out": out, "dtype": dtype, "casting": "unsafe"}
    calls = [partial(ufunc, taps[0], taps[1], **options)]
    return calls + [partial(ufunc, out, tap, **options) for tap in taps[2:]]


def _pooled(
    op: MaxPool | SumPool,
    ufunc: np.ufunc,
    x: TensorType,
    result: TensorType,
    layouts: Sequence[Layout],
    batch: int,
) -> Work:
    """A pool by one pass a tap, over a padded copy where there is padding."""
    (layout,), (p0, p1), (_, h, w) = layouts, op.padding, x.shape
    words = layout.is_planes
    summed = isinstance(op, SumPool)
    loop = loop_of(narrow(result.interval), layout) if summed else layout.dtype
    fill = 0 if summed or words else int(np.iinfo(layout.dtype).min)
    padded = TensorType((x.channels, h + 2 * p0, w + 2 * p1), x.interval)
    copied = (
        layout.block(padded, batch if p0 or p1 else 0)
        if not words
        else Block(
            (x.bits, words_for(x.channels), batch if p0 or p1 else 0, *padded.shape[1:]), layout.dtype
        )
    )

    def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
        image = arrays[0]
        calls: list[Call] = []
        if p0 or p1:
            image = scratch[0] if words else layout.view(scratch[0])
            inner = image[..., p0 : p0 + h, p1 : p1 + w]
            calls = [partial(image.fill, fill), partial(np.copyto, inner, arrays[0])]
        elif summed and op.kernel == (h, w):
            return partial(np.add.reduce, image, (2, 3), dtype=loop, out=out, keepdims=True)
        return partial(run_all, [*calls, *_fold(ufunc, _taps(op, x, image), out, loop)])

    return Work(layout if words else layout.with_dtype(loop), bind, scratch=(copied,))


def compile_max_pool(op: MaxPool, operands: Sequence[TensorType], result: TensorType) -> Integer:
    """Kernel on planes for single bits, where the maximum is an OR, else on integers."""
    (x,) = operands
    on_planes = fits_planes(x) and x.bits == 1

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        ufunc = np.bitwise_or if layouts[0].is_planes else np.maximum
        return _pooled(op, ufunc, x, result, layouts, batch)

    return Integer(result, plan, on_planes, FROM_PLANES if on_planes else NEVER)


def compile_sum_pool(op: SumPool, operands: Sequence[TensorType], result: TensorType) -> Integer:
    """Kernel on integers, to which it unpacks planes: a sum over positions decides many a multiplexer."""
    (x,) = operands
    last = Layout(CHANNELS_LAST, np.dtype(np.uint8))

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        if not layouts[0].is_planes:
            return _pooled(op, np.add, x, result, layouts, batch)
        work = _pooled(op, np.add, x, result, [last], batch)
        assert work.bind is not None
        inner = work.bind

        def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
            codes, *rest = scratch
            pool = inner([last.view(codes)], out, rest)
            return partial(run_all, (partial(unpack_last, arrays[0], codes), pool))

        blocks = (last.block(x, batch), *work.scratch)
        return replace(work, bind=bind, scratch=blocks, transient=2 * batch * x.size)

    return Integer(result, plan, fits_planes(x))


def compile_argmax(op: ArgMax, operands: Sequence[TensorType], result: TensorType) -> Integer:
    """Kernel of one pass."""

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
            return partial(np.argmax, arrays[0], axis=1, out=out)

        return Work(layouts[0].with_dtype(np.dtype(np.intp)), bind)

    return Integer(result, plan)


COMPILERS: dict[type[Op], Compile] = {
    MaxPool: compile_max_pool,
    SumPool: compile_sum_pool,
    ArgMax: compile_argmax,
}
