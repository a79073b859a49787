"""Ops that move elements: views of the operand where its layout allows one, else one copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from runtime.ops import Concat, Op, Reshape, Roll, Slice, Transpose
from runtime.packed.integer import Compile, Integer
from runtime.packed.layout import BATCH_FIRST, CHANNELS_FIRST, Call, Layout, Work, narrow, run_all
from runtime.packed.planes import Integers
from runtime.types import TensorType


def _view(layout: Layout, function: Callable[[Integers], Integers]) -> Work:
    return Work(layout, None, view=function)


def compile_reshape(op: Reshape, operands: Sequence[TensorType], result: TensorType) -> Integer:
    """Kernel of a Reshape: a view of elements that lie in order, else a copy of them."""
    (x,) = operands

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        (layout,) = layouts
        one = batch == 1 if layout.order == CHANNELS_FIRST else len(x.shape) < 2
        if layout.dense and (layout.order == BATCH_FIRST or one):
            return _view(Layout(BATCH_FIRST, layout.dtype), lambda a: a.reshape(len(a), *result.shape))

        def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
            return partial(np.copyto, out.reshape(arrays[0].shape), arrays[0])

        return Work(Layout(BATCH_FIRST, layout.dtype), bind)

    return Integer(result, plan)


def compile_slice(op: Slice, operands: Sequence[TensorType], result: TensorType) -> Integer:
    """Kernel of a Slice: a view."""

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        layout = layouts[0].with_dtype(layouts[0].dtype)
        return _view(replace(layout, dense=False), lambda a: a[:, op.start : op.stop])

    return Integer(result, plan)


def compile_transpose(op: Transpose, operands: Sequence[TensorType], result: TensorType) -> Integer:
    """Kernel of a Transpose: a view."""
    axes = (0, *(1 + axis for axis in op.axes))

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        return _view(Layout(BATCH_FIRST, layouts[0].dtype, dense=False), lambda a: a.transpose(axes))

    return Integer(result, plan)


def compile_concat(op: Concat, operands: Sequence[TensorType], result: TensorType) -> Integer:
    """Kernel of a Concat: one copy an operand."""
    ends = np.cumsum([0, *(x.channels for x in operands)]).tolist()

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
            parts = zip(arrays, ends, ends[1:], strict=False)
            return partial(run_all, [partial(np.copyto, out[:, a:b], x, "unsafe") for x, a, b in parts])

        return Work(layouts[0].with_dtype(narrow(result.interval)), bind)

    return Integer(result, plan)


def compile_roll(op: Roll, operands: Sequence[TensorType], result: TensorType) -> Integer:
    """Kernel of a Roll: the copies of two parts."""

    def plan(layouts: Sequence[Layout], batch: int) -> Work:
        def bind(arrays: Sequence[Integers], out: Integers, scratch: Sequence[Integers]) -> Call:
            (x,), shift = arrays, op.shift % result.channels
            back = result.channels - shift
            moves = (out[:, shift:], x[:, :back]), (out[:, :shift], x[:, back:])
            return partial(run_all, [partial(np.copyto, to, part) for to, part in moves])

        return Work(layouts[0].with_dtype(layouts[0].dtype), bind)

    return Integer(result, plan)


COMPILERS: dict[type[Op], Compile] = {
    Reshape: compile_reshape,
    Slice: compile_slice,
    Transpose: compile_transpose,
    Concat: compile_concat,
    Roll: compile_roll,
}
