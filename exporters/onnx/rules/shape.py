"""Reshape, Concat, Slice, Transpose, Roll, and ArgMax, which leaves an index."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from exporters.onnx.graph import INT64, MASK, UINT8, Form, Graph, carrier
from runtime.ir import Node
from runtime.ops import ArgMax, Concat, Op, Reshape, Roll, Slice, Transpose


def reshape(graph: Graph, node: Node) -> tuple[str, Form]:
    """Reshape in whatever form the operand is held; 0 keeps the batch axis."""
    (x,) = node.operands
    form = graph.held(x)
    shape = graph.shape(0, *cast(Reshape, node.op).shape)
    return graph.emit("Reshape", graph.read(x, form), shape), form


def concat(graph: Graph, node: Node) -> tuple[str, Form]:
    """Concat of masks, or in a carrier of all operands."""
    masks = all(graph.held(name) == MASK for name in node.operands)
    form = MASK if masks else carrier(*(graph.types[name].interval for name in node.operands))
    return graph.emit("Concat", *(graph.read(name, form) for name in node.operands), axis=1), form


def slice_(graph: Graph, node: Node) -> tuple[str, Form]:
    """Slice in whatever form the operand is held."""
    op = cast(Slice, node.op)
    (x,) = node.operands
    form = graph.held(x)
    bounds = (graph.shape(end) for end in (op.start, op.stop, 1))
    return graph.emit("Slice", graph.read(x, form), *bounds), form


def transpose(graph: Graph, node: Node) -> tuple[str, Form]:
    """Transpose in whatever form the operand is held."""
    (x,) = node.operands
    form = graph.held(x)
    perm = (0, *(1 + axis for axis in cast(Transpose, node.op).axes))
    return graph.emit("Transpose", graph.read(x, form), perm=perm), form


def roll(graph: Graph, node: Node) -> tuple[str, Form]:
    """The last channels, then the others; a Gather would take six times as long on a vector."""
    (x,) = node.operands
    form, first = graph.held(x), node.type.channels - cast(Roll, node.op).shift
    tensor, channels = graph.read(x, form), graph.shape(1)
    parts = (
        graph.emit("Slice", tensor, graph.shape(start), graph.shape(stop), channels)
        for start, stop in ((first, node.type.channels), (0, first))
    )
    return graph.emit("Concat", *parts, axis=1), form


def argmax(graph: Graph, node: Node) -> tuple[str, Form]:
    """ArgMax takes the first of equals by default. Older ONNX Runtime has none for int64."""
    (x,) = node.operands
    form = carrier(graph.types[x].interval)
    tensor = graph.read(x, form)
    if form == INT64:
        largest = graph.emit("ReduceMax", tensor, graph.shape(1), keepdims=1)
        tensor = graph.cast(graph.emit("Equal", tensor, largest), UINT8.dtype)
    return graph.emit("ArgMax", tensor, axis=1, keepdims=0), INT64


RULES: dict[type[Op], Callable[[Graph, Node], tuple[str, Form]]] = {
    Reshape: reshape,
    Concat: concat,
    Slice: slice_,
    Transpose: transpose,
    Roll: roll,
    ArgMax: argmax,
}
