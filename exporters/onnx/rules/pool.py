"""MaxPool and SumPool."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from exporters.onnx.graph import MASK, UINT8, Form, Graph, carrier, wide_carrier
from runtime.ir import Node
from runtime.ops import MaxPool, Op, SumPool
from runtime.types import ZERO


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
    form = wide_carrier(type_.interval, node.type.interval, ZERO)
    tensor = graph.read(x, form)
    if op.kernel == type_.shape[1:] and not any(op.padding):
        return graph.emit("ReduceSum", tensor, graph.shape(2, 3), keepdims=1), form
    padded = pad(graph, tensor, op.padding, 0, form)
    return _windows(graph, "Add", padded, op, type_.shape), form


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
}
