"""MaxPool, SumPool and ReduceSum."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from exporters.onnx.graph import (
    FLOAT32,
    FLOAT64,
    INT64,
    MASK,
    UINT8,
    Form,
    Graph,
    carrier,
    wide_carrier,
)
from runtime.ir import Node
from runtime.ops import MaxPool, Op, ReduceSum, SumPool
from runtime.types import FLOAT32_EXACT, FLOAT64_EXACT, ZERO


def max_pool(graph: Graph, node: Node) -> tuple[str, Form]:
    """The MaxPool operator on bytes; wider values as the Max of shifted slices."""
    op = cast(MaxPool, node.op)
    (x,) = node.operands
    type_ = graph.types[x]
    form = MASK if graph.held(x) == MASK else carrier(type_.interval)
    tensor = graph.read(x, form)
    if form.dtype == UINT8.dtype:
        return max_pool_bytes(graph, tensor, op), form
    padded = pad(graph, tensor, op.padding, type_.interval.lo, form)
    return _windows(graph, "Max", padded, op, type_.shape), form


def max_pool_bytes(graph: Graph, tensor: str, op: MaxPool) -> str:
    """MaxPool of a uint8 tensor; at stride 1, one axis after the other.

    The reference evaluator of onnx (1.23) has two implementations. The one for windows of stride 1 and
    dilation 1 pads with NaN, which uint8 does not have, and reads ``pads`` as top, bottom, left, right
    where the specification says top, left, bottom, right. A dilation across a window one wide changes
    nothing, and keeps clear of it.
    """
    (k0, k1), (p0, p1) = op.kernel, op.padding
    if op.stride != (1, 1):
        return graph.emit("MaxPool", tensor, kernel_shape=op.kernel, strides=op.stride, pads=(p0, p1) * 2)
    rows = graph.emit("MaxPool", tensor, kernel_shape=(k0, 1), dilations=(1, 2), pads=(p0, 0) * 2)
    return graph.emit("MaxPool", rows, kernel_shape=(1, k1), dilations=(2, 1), pads=(0, p1) * 2)


def sum_pool(graph: Graph, node: Node) -> tuple[str, Form]:
    """ReduceSum over the whole image, else the Add of shifted slices."""
    op = cast(SumPool, node.op)
    (x,) = node.operands
    type_ = graph.types[x]
    if op.kernel == type_.shape[1:] and not any(op.padding):
        return _sum_over(graph, node, (1, 2))
    form = wide_carrier(type_.interval, node.type.interval, ZERO)
    padded = pad(graph, graph.read(x, form), op.padding, 0, form)
    return _windows(graph, "Add", padded, op, type_.shape), form


def reduce_sum(graph: Graph, node: Node) -> tuple[str, Form]:
    """ReduceSum over the axes."""
    return _sum_over(graph, node, cast(ReduceSum, node.op).axes)


def _sum_over(graph: Graph, node: Node, axes: tuple[int, ...]) -> tuple[str, Form]:
    """ReduceSum on floats while they hold every partial sum: up to four times as fast as on int32.

    ONNX Runtime adds int64 up in float64 as well, so wider sums are products with ones.
    """
    (x,) = node.operands
    type_, result = graph.types[x], wide_carrier(node.type.interval)
    bound = type_.interval.magnitude * (type_.size // node.type.size)
    if bound > FLOAT64_EXACT:
        return _dot_ones(graph, node, axes), INT64
    operand = graph.read(x, FLOAT32 if bound <= FLOAT32_EXACT else FLOAT64)
    places = graph.shape(*(1 + axis for axis in axes))
    return graph.cast(graph.emit("ReduceSum", operand, places, keepdims=1), result.dtype), result


def _dot_ones(graph: Graph, node: Node, axes: tuple[int, ...]) -> str:
    """The sum over ``axes``, moved to the end and joined, as a MatMul on int64."""
    (x,) = node.operands
    type_ = graph.types[x]
    count = type_.size // node.type.size
    kept = [axis for axis in range(len(type_.shape)) if axis not in axes]
    last = graph.emit("Transpose", graph.read(x, INT64), perm=[0, *(1 + axis for axis in (*kept, *axes))])
    joined = graph.emit("Reshape", last, graph.shape(0, -1, count))
    total = graph.emit("MatMul", joined, graph.constant(np.ones((count, 1), np.int64), "ones"))
    return graph.emit("Reshape", total, graph.shape(0, *node.type.shape))


def pad(graph: Graph, tensor: str, padding: tuple[int, int], fill: int, form: Form) -> str:
    """``tensor`` with ``fill`` on both sides of its rows and columns."""
    if not any(padding):
        return tensor
    pads = graph.shape(0, 0, *padding, 0, 0, *padding)
    return graph.emit("Pad", tensor, pads, graph.scalar(fill, form))


def _windows(
    graph: Graph, operator: str, tensor: str, op: MaxPool | SumPool, shape: tuple[int, ...]
) -> str:
    """Combine the taps of each window with a two-operand operator, rows first, then columns."""
    for axis in (0, 1):
        size = shape[1 + axis] + 2 * op.padding[axis]
        last = size - op.kernel[axis]
        taps = [
            graph.emit(
                "Slice",
                tensor,
                graph.shape(tap),
                graph.shape(tap + last + 1),
                graph.shape(2 + axis),
                graph.shape(op.stride[axis]),
            )
            for tap in range(op.kernel[axis])
        ]
        tensor = taps[0]
        for tap in taps[1:]:
            tensor = graph.emit(operator, tensor, tap)
    return tensor


RULES: dict[type[Op], Callable[[Graph, Node], tuple[str, Form]]] = {
    MaxPool: max_pool,
    SumPool: sum_pool,
    ReduceSum: reduce_sum,
}
