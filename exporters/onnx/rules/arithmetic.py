"""Add, Sub, Hadamard, ShiftRight, Clip, Requantize and Lookup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np

from exporters.onnx.graph import Form, Graph, carrier, wide_carrier
from runtime.ir import Node
from runtime.ops import Add, Clip, Hadamard, Lookup, Op, Requantize, ShiftRight, Sub
from runtime.ops.arithmetic import WALSH_HADAMARD
from runtime.types import INT64_LIMIT, Interval

Rule = Callable[[Graph, Node], tuple[str, Form]]


def elementwise(operator: str) -> Rule:
    """``operator`` in a carrier of both operands and the result."""

    def rule(graph: Graph, node: Node) -> tuple[str, Form]:
        intervals = [graph.types[name].interval for name in node.operands]
        form = graph.arithmetic(node.type.interval, *intervals)
        return graph.emit(operator, *(graph.read(name, form) for name in node.operands)), form

    return rule


def hadamard(graph: Graph, node: Node) -> tuple[str, Form]:
    """MatMul of the 4x4 matrix and the blocks laid flat."""
    form = wide_carrier(node.type.interval)
    blocks = graph.emit("Reshape", graph.read(node.operands[0], form), graph.shape(0, 4, -1))
    matrix = graph.constant(WALSH_HADAMARD.astype(form.dtype), "hadamard")
    mixed = graph.emit("MatMul", matrix, blocks)
    return graph.emit("Reshape", mixed, graph.shape(0, *node.type.shape)), form


def requantize(graph: Graph, node: Node) -> tuple[str, Form]:
    """Mul, Add, shift by an exact division, then Max and Min where the clip can act."""
    op = cast(Requantize, node.op)
    x = graph.types[node.operands[0]]
    rank = max(1, len(x.shape))
    rows = list(zip(op.multiplier.tolist(), op.offset.tolist(), strict=True))
    ends = (x.interval.lo, x.interval.hi)
    products = Interval.of(end * m for m, _ in rows for end in ends)
    sums = Interval.of(end * m + o for m, o in rows for end in ends)
    divisors = np.int64(1) << op.shift
    largest = int(divisors.max())
    attributes = Interval.of([*op.multiplier.tolist(), *op.offset.tolist(), largest])
    form = wide_carrier(x.interval, products, sums, attributes, node.type.interval)

    tensor = graph.read(node.operands[0], form)
    if (op.multiplier != 1).any():
        tensor = graph.emit("Mul", tensor, graph.per_channel(op.multiplier, form, rank, "multiplier"))
    if op.offset.any():
        tensor = graph.emit("Add", tensor, graph.per_channel(op.offset, form, rank, "offset"))
    if op.shift.any():
        multiple = graph.per_channel(-divisors, form, rank, "multiple") if sums.lo < 0 else ""
        tensor = _shift(graph, tensor, multiple, graph.per_channel(divisors, form, rank, "divisor"))
    shifted = replace(op, lo=-INT64_LIMIT, hi=INT64_LIMIT).infer(x)
    return _clip(graph, tensor, shifted.interval, node.type.interval, form), form


def _shift(graph: Graph, tensor: str, multiple: str, divisor: str) -> str:
    """``tensor`` shifted right by a division by ``divisor``, a power of two.

    Div truncates toward zero, so a tensor that may be negative is first rounded down to a multiple of the
    divisor: the bits of ``multiple``, its negative, are those to keep. A Mod would take ten times as long.
    """
    if multiple:
        tensor = graph.emit("BitwiseAnd", tensor, multiple)
    return graph.emit("Div", tensor, divisor)


def shift_right(graph: Graph, node: Node) -> tuple[str, Form]:
    """Add what rounds, then one division for all channels."""
    op = cast(ShiftRight, node.op)
    interval = graph.types[node.operands[0]].interval
    # A divisor beyond the range leaves 0 and -1, as any larger one does, but needs a wider carrier.
    shift = min(op.shift, (interval.magnitude + op.offset).bit_length())
    sums = Interval(interval.lo + op.offset, interval.hi + op.offset)
    form = wide_carrier(interval, sums, Interval(-(1 << shift), 1 << shift))
    tensor = graph.read(node.operands[0], form)
    if op.offset:
        tensor = graph.emit("Add", tensor, graph.scalar(op.offset, form))
    multiple = graph.scalar(-(1 << shift), form) if sums.lo < 0 else ""
    return _shift(graph, tensor, multiple, graph.scalar(1 << shift, form)), form


def clip(graph: Graph, node: Node) -> tuple[str, Form]:
    """Max and Min where they can act, in a carrier of the operand and the limits."""
    interval = graph.types[node.operands[0]].interval
    form = wide_carrier(interval, node.type.interval)
    return _clip(graph, graph.read(node.operands[0], form), interval, node.type.interval, form), form


def _clip(graph: Graph, tensor: str, exact: Interval, wanted: Interval, form: Form) -> str:
    """``tensor`` within ``wanted``, by Max and Min where ``exact`` reaches beyond."""
    if exact.lo < wanted.lo:
        tensor = graph.emit("Max", tensor, graph.scalar(wanted.lo, form))
    if exact.hi > wanted.hi:
        tensor = graph.emit("Min", tensor, graph.scalar(wanted.hi, form))
    return tensor


def lookup(graph: Graph, node: Node) -> tuple[str, Form]:
    """Gather from the entries in use, with the channel's rows one after the other."""
    op = cast(Lookup, node.op)
    x = graph.types[node.operands[0]]
    start = x.interval.lo - op.first
    entries = x.interval.hi - x.interval.lo + 1
    used = op.table[:, start : start + entries]
    form = carrier(node.type.interval)
    offsets = np.arange(used.shape[0]) * entries - x.interval.lo
    index_form = wide_carrier(x.interval, Interval(0, used.size), Interval.of(offsets.tolist()))
    index = graph.read(node.operands[0], index_form)
    if offsets.any():
        rank = max(1, len(x.shape))
        index = graph.emit("Add", index, graph.per_channel(offsets, index_form, rank, "row"))
    table = graph.constant(used.reshape(-1).astype(form.dtype), "table")
    return graph.emit("Gather", table, index, axis=0), form


RULES: dict[type[Op], Rule] = {
    Add: elementwise("Add"),
    Sub: elementwise("Sub"),
    Hadamard: hadamard,
    ShiftRight: shift_right,
    Clip: clip,
    Requantize: requantize,
    Lookup: lookup,
}
