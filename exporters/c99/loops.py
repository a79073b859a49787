"""Ops on integers as nested loops: sums, products, pooling, moves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from exporters.c99.forms import c_sum_type
from exporters.emitter import Emitter
from runtime.ops import (
    Add,
    And,
    ArgMax,
    Concat,
    MatMul,
    MaxPool,
    Mul,
    Op,
    Or,
    ReduceSum,
    Roll,
    RoundDiv,
    Select,
    Slice,
    Sub,
    SumPool,
    Transpose,
    Xor,
)
from runtime.types import TensorType

Strides = tuple[int, ...]


def row_major(shape: Sequence[int]) -> Strides:
    """Elements from one index to the next along every axis."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def broadcast_strides(operand: TensorType, result: TensorType) -> Strides:
    """Strides of an operand whose axes of length 1 stand for all of the result's."""
    strides = row_major(operand.shape)
    return tuple(0 if size == 1 else s for size, s in zip(operand.shape, strides, strict=True))


@dataclass(frozen=True, slots=True)
class Loop:
    """What a loop is emitted from.

    ``operands``: C expressions. ``types``: of the operands, then the result. ``result``: C expression of
    the result's pointer. ``apply(value, channel)``: what is stored.
    """

    body: Emitter
    operands: Sequence[str]
    types: Sequence[TensorType]
    result: str
    apply: Callable[[str, str], str]
    has_chain: bool

    @property
    def type(self) -> TensorType:
        """Type of the result of the op itself."""
        return self.types[-1]

    @property
    def wide(self) -> str:
        """C type that holds every operand and result."""
        first, *rest = (t.interval for t in self.types)
        return c_sum_type(first.hull(*rest))


def _merged(
    shape: Sequence[int], strides: Sequence[Strides], first: int
) -> tuple[list[int], list[list[int]]]:
    """Axes from ``first`` on joined with the next one where every operand runs on from one to the other."""
    sizes, columns = list(shape), [list(column) for column in zip(*strides, strict=True)]
    axis = len(sizes) - 2
    while axis >= first:
        if all(a == b * sizes[axis + 1] for a, b in zip(columns[axis], columns[axis + 1], strict=True)):
            sizes[axis : axis + 2] = [sizes[axis] * sizes[axis + 1]]
            columns[axis : axis + 2] = [columns[axis + 1]]
        axis -= 1
    return sizes, columns


def _index(columns: Sequence[Sequence[int]], number: int, offset: int = 0) -> str:
    """Index expression of operand ``number`` in the loop variables i0, i1, ..."""
    terms = [
        f"i{axis}" if column[number] == 1 else f"i{axis} * {column[number]}"
        for axis, column in enumerate(columns)
        if column[number]
    ]
    if offset:
        terms.append(str(offset))
    return " + ".join(terms) or "0"


def emit_over(
    loop: Loop,
    shape: Sequence[int],
    strides: Sequence[Strides],
    inner: Callable[[Sequence[str], str, str], None],
    offsets: Sequence[int] = (),
) -> None:
    """Loops over ``shape``; ``inner(indices, channel)`` emits what stands inside.

    ``strides``: of the operands and, last, of the result, in elements for every axis of ``shape``.
    """
    keep = 1 if loop.has_chain else 0
    sizes, columns = _merged(shape, strides, keep) if shape else ([], [])
    offsets = offsets or [0] * len(strides)

    def nest(axis: int) -> None:
        if axis == len(sizes):
            indices = [_index(columns, number, offsets[number]) for number in range(len(strides))]
            inner(indices[:-1], indices[-1], "i0" if sizes and loop.has_chain else "0")
        else:
            with loop.body.block(f"for (size_t i{axis} = 0; i{axis} < {sizes[axis]}; i{axis}++)"):
                nest(axis + 1)

    nest(0)


def _pointwise(expression: Callable[[str, Sequence[str]], str]) -> Callable[[Any, Loop], None]:
    """Loops that store one expression of the operands' elements."""

    def emit(op: Op, loop: Loop) -> None:
        *operands, result = loop.types
        strides = [broadcast_strides(x, result) for x in operands] + [row_major(result.shape)]

        def inner(indices: Sequence[str], at: str, channel: str) -> None:
            elements = [f"({loop.wide}){x}[{i}]" for x, i in zip(loop.operands, indices, strict=True)]
            loop.body.line(f"{loop.result}[{at}] = {loop.apply(expression(loop.wide, elements), channel)};")

        emit_over(loop, result.shape, strides, inner)

    return emit


def _round_div(wide: str, elements: Sequence[str]) -> str:
    return f"({wide})gf_round_div({elements[0]}, {elements[1]})"


def emit_select(op: Select, loop: Loop) -> None:
    """The multiplexer; its condition has an element each, or one for a channel."""
    _pointwise(lambda wide, e: f"{e[0]} ? {e[1]} : {e[2]}")(op, loop)


def emit_identity(op: Op | None, loop: Loop) -> None:
    """Element by element, for chains whose first op has one operand."""
    _pointwise(lambda wide, e: e[0])(op, loop)


def _moved(
    strides: Strides, shape: Sequence[int], loop: Loop, first_in: int = 0, first_out: int = 0
) -> None:
    """Loops that move ``shape`` from channel ``first_in`` of the operand to ``first_out`` of the result."""
    target = row_major(shape)

    def inner(indices: Sequence[str], at: str, channel: str) -> None:
        source = f"{loop.operands[0]}[{indices[0]}]"
        place = f"{channel} + {first_out}" if first_out else channel
        loop.body.line(f"{loop.result}[{at}] = {loop.apply(source, place)};")

    offsets = (first_in * strides[0], first_out * target[0])
    emit_over(loop, shape, (strides, target), inner, offsets)


def emit_transpose(op: Transpose, loop: Loop) -> None:
    """Axes in another order."""
    strides = row_major(loop.types[0].shape)
    _moved(tuple(strides[axis] for axis in op.axes), loop.type.shape, loop)


def emit_slice(op: Slice, loop: Loop) -> None:
    """Some channels."""
    strides = row_major(loop.types[0].shape)
    _moved(strides, loop.type.shape, loop, first_in=op.start)


def emit_roll(op: Roll, loop: Loop) -> None:
    """Channels moved round: two runs."""
    shape, strides = loop.type.shape, row_major(loop.type.shape)
    top = (op.shift, *shape[1:])
    _moved(strides, top, loop, first_in=shape[0] - op.shift)
    rest = (shape[0] - op.shift, *shape[1:])
    _moved(strides, rest, loop, first_out=op.shift)


def emit_concat(op: Concat, loop: Loop) -> None:
    """Operands one after the other."""
    start = 0
    for operand, type_ in zip(loop.operands, loop.types, strict=False):
        one = Loop(loop.body, (operand,), (type_, loop.type), loop.result, loop.apply, loop.has_chain)
        _moved(row_major(type_.shape), type_.shape, one, first_out=start)
        start += type_.channels


def emit_reduce_sum(op: ReduceSum, loop: Loop) -> None:
    """A sum per element of the result."""
    (x, result), body = loop.types, loop.body
    strides = row_major(x.shape)
    outer = tuple(0 if axis in op.axes else s for axis, s in enumerate(strides))

    def inner(indices: Sequence[str], at: str, channel: str) -> None:
        body.line(f"{loop.wide} sum = 0;")
        index = indices[0]
        for axis in op.axes:
            body.line(f"for (size_t r{axis} = 0; r{axis} < {x.shape[axis]}; r{axis}++)")
            index += f" + r{axis} * {strides[axis]}"
        body.line(f"    sum += {loop.operands[0]}[{index}];")
        body.line(f"{loop.result}[{at}] = {loop.apply('sum', channel)};")

    with body.block(""):
        emit_over(loop, result.shape, (outer, row_major(result.shape)), inner)


def emit_mat_mul(op: MatMul, loop: Loop) -> None:
    """A sum of products per element of the result."""
    a, b, result = loop.types
    body, terms, width = loop.body, a.shape[-1], b.shape[-1]
    strides_a, strides_b = (*row_major(a.shape)[:-1], 0), (*row_major(b.shape)[:-2], 0, 1)

    def inner(indices: Sequence[str], at: str, channel: str) -> None:
        body.line(f"{loop.wide} sum = 0;")
        left, right = (f"({loop.wide}){x}" for x in loop.operands)
        body.line(f"for (size_t k = 0; k < {terms}; k++)")
        body.line(f"    sum += {left}[{indices[0]} + k] * {right}[{indices[1]} + k * {width}];")
        body.line(f"{loop.result}[{at}] = {loop.apply('sum', channel)};")

    with body.block(""):
        emit_over(loop, result.shape, (strides_a, strides_b, row_major(result.shape)), inner)


def _pool(start: str, combine: str) -> Callable[[Any, Loop], None]:
    def emit(op: MaxPool | SumPool, loop: Loop) -> None:
        (x, result), body = loop.types, loop.body
        channels, rows, columns = result.shape
        _, height, width = x.shape
        body.line(f"for (size_t c = 0; c < {channels}; c++)")
        body.line(f"for (size_t y = 0; y < {rows}; y++)")
        with body.block(f"for (size_t x = 0; x < {columns}; x++)"):
            first = start.format(lowest=x.interval.lo)
            body.line(f"{loop.wide} best = {first};")
            with body.block(f"for (size_t u = 0; u < {op.kernel[0]}; u++)"):
                body.line(f"const long row = (long)(y * {op.stride[0]} + u) - {op.padding[0]};")
                with body.block(f"for (size_t v = 0; v < {op.kernel[1]}; v++)"):
                    body.line(f"const long column = (long)(x * {op.stride[1]} + v) - {op.padding[1]};")
                    body.line(f"if (row >= 0 && row < {height} && column >= 0 && column < {width}) {{")
                    place = f"(c * {height} + (size_t)row) * {width} + (size_t)column"
                    body.line(f"    const {loop.wide} one = {loop.operands[0]}[{place}];")
                    body.line(f"    {combine}")
                    body.line("}")
            body.line(f"{loop.result}[(c * {rows} + y) * {columns} + x] = {loop.apply('best', 'c')};")

    return emit


def emit_arg_max(op: ArgMax, loop: Loop) -> None:
    """The first of the largest elements."""
    (x,) = loop.operands
    with loop.body.block(""):
        loop.body.lines(
            "size_t best = 0;",
            f"for (size_t i = 1; i < {loop.types[0].size}; i++)",
            f"    if ({x}[i] > {x}[best])",
            "        best = i;",
            f"{loop.result}[0] = {loop.apply(f'({loop.wide})best', '0')};",
        )


LOOPS: dict[type[Op], Callable[[Any, Loop], None]] = {
    Add: _pointwise(lambda wide, e: f"{e[0]} + {e[1]}"),
    Sub: _pointwise(lambda wide, e: f"{e[0]} - {e[1]}"),
    Mul: _pointwise(lambda wide, e: f"{e[0]} * {e[1]}"),
    RoundDiv: _pointwise(_round_div),
    Or: _pointwise(lambda wide, e: f"{e[0]} | {e[1]}"),
    And: _pointwise(lambda wide, e: f"{e[0]} & {e[1]}"),
    Xor: _pointwise(lambda wide, e: f"{e[0]} ^ {e[1]}"),
    Select: emit_select,
    Transpose: emit_transpose,
    Slice: emit_slice,
    Roll: emit_roll,
    Concat: emit_concat,
    ReduceSum: emit_reduce_sum,
    MatMul: emit_mat_mul,
    MaxPool: _pool("{lowest}", "best = one > best ? one : best;"),
    SumPool: _pool("0", "best += one;"),
    ArgMax: emit_arg_max,
}
"""Loops of each op."""

IN_PLACE: frozenset[type[Op]] = frozenset({Add, Sub, Mul, RoundDiv, Or, And, Xor})
"""Ops whose result may take the place of an operand of its shape and element size."""
