"""Mul, Square, MatMul, RoundDiv and FloorSqrt: products of activations, and what undoes them."""

from __future__ import annotations

from collections.abc import Callable

from exporters.onnx.graph import (
    FLOAT32,
    FLOAT64,
    INT32,
    INT64,
    UINT8,
    Form,
    Graph,
    wide_carrier,
)
from runtime.ir import Node
from runtime.ops import FloorSqrt, MatMul, Mul, Op, RoundDiv, Square
from runtime.types import FLOAT32_EXACT, FLOAT64_EXACT, SQRT_EXACT, Interval


def mul(graph: Graph, node: Node) -> tuple[str, Form]:
    """Mul of both operands, or of one with itself."""
    form = wide_carrier(node.type.interval, *(graph.types[name].interval for name in node.operands))
    a, b = (graph.read(name, form) for name in (node.operands * 2)[:2])
    return graph.emit("Mul", a, b), form


def mat_mul(graph: Graph, node: Node) -> tuple[str, Form]:
    """MatMulInteger of bytes that need no zero point, else MatMul on float32 while that holds the sums.

    float64 would be three times as fast as int32, but older ONNX Runtime joins its MatMul with a Transpose
    in front into an operator that it does not have.
    """
    a, b = (graph.types[name] for name in node.operands)
    bound = a.shape[-1] * a.interval.magnitude * b.interval.magnitude
    if a.interval.hull(b.interval, Interval(0, 255)) == Interval(0, 255) and bound < 2**31:
        return graph.emit("MatMulInteger", *(graph.read(name, UINT8) for name in node.operands)), INT32
    wide = wide_carrier(a.interval, b.interval, Interval(-bound, bound))
    form = FLOAT32 if bound <= FLOAT32_EXACT else wide
    product = graph.emit("MatMul", *(graph.read(name, form) for name in node.operands))
    return (product if form == wide else graph.cast(product, wide.dtype)), wide


def round_div(graph: Graph, node: Node) -> tuple[str, Form]:
    """Half the divisor is added away from zero before Div, which truncates toward zero.

    Where int64 would be needed and float64 holds every dividend, that divides, 1.5 times as fast: a
    quotient of such integers never rounds up to the next integer.
    """
    a, b = (graph.types[name].interval for name in node.operands)
    reach = a.magnitude + b.hi
    form = wide_carrier(Interval(-reach, reach))
    divides = FLOAT64 if form == INT64 and reach < FLOAT64_EXACT else form
    dividend, divisor = (graph.read(name, divides) for name in node.operands)
    half = graph.emit("Div", graph.read(node.operands[1], form), graph.scalar(2, form))
    if divides != form:
        half = graph.cast(half, divides.dtype)
    if a.lo < 0:
        half = graph.emit("Mul", graph.emit("Sign", dividend), half)
    quotient = graph.emit("Div", graph.emit("Add", dividend, half), divisor)
    return (quotient if divides == form else graph.cast(quotient, form.dtype)), form


def floor_sqrt(graph: Graph, node: Node) -> tuple[str, Form]:
    """Sqrt in float64; a large operand is held against the squares of that root and of the next."""
    (x,) = node.operands
    root = graph.emit("Sqrt", graph.read(x, FLOAT64))
    if graph.types[x].interval.hi <= SQRT_EXACT:
        form = wide_carrier(node.type.interval)
        return graph.cast(root, form.dtype), form
    root, square = graph.cast(root, INT64.dtype), graph.read(x, INT64)
    above = graph.emit("Greater", graph.emit("Mul", root, root), square)
    root = graph.emit("Sub", root, graph.cast(above, INT64.dtype))
    following = graph.emit("Add", root, graph.scalar(1, INT64))
    below = graph.emit("LessOrEqual", graph.emit("Mul", following, following), square)
    return graph.emit("Add", root, graph.cast(below, INT64.dtype)), INT64


RULES: dict[type[Op], Callable[[Graph, Node], tuple[str, Form]]] = {
    Mul: mul,
    Square: mul,
    MatMul: mat_mul,
    RoundDiv: round_div,
    FloorSqrt: floor_sqrt,
}
