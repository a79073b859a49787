"""Or, And, Xor, Not and Select."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from exporters.onnx.graph import BOOL, MASK, Form, Graph, carrier
from runtime.ir import Node
from runtime.ops import And, Not, Op, Or, Select, Xor
from runtime.types import Interval


def _common_form(graph: Graph, *names: str) -> Form:
    """MASK where every operand is held so, else a carrier of all."""
    if all(graph.held(name) == MASK for name in names):
        return MASK
    return carrier(*(graph.types[name].interval for name in names))


def _bitwise(operator: str) -> Callable[[Graph, Node], tuple[str, Form]]:
    """A rule for a two-operand bitwise op; 0 and 255 combine as 0 and 1 do."""

    def rule(graph: Graph, node: Node) -> tuple[str, Form]:
        form = _common_form(graph, *node.operands)
        return graph.emit(operator, *(graph.read(name, form) for name in node.operands)), form

    return rule


def invert(graph: Graph, node: Node) -> tuple[str, Form]:
    """Exclusive or with all ones; for a mask, of one bit, with 255."""
    bits = cast(Not, node.op).bits
    (x,) = node.operands
    top = (1 << bits) - 1
    form = carrier(graph.types[x].interval, Interval(0, top))
    if bits == 1 and graph.held(x) == MASK:
        form = MASK
    return graph.emit("BitwiseXor", graph.read(x, form), graph.scalar(top * form.factor, form)), form


def select(graph: Graph, node: Node) -> tuple[str, Form]:
    """Where on a boolean condition."""
    condition, *choices = node.operands
    form = _common_form(graph, *choices)
    tensors = (graph.read(name, form) for name in choices)
    return graph.emit("Where", graph.read(condition, BOOL), *tensors), form


RULES: dict[type[Op], Callable[[Graph, Node], tuple[str, Form]]] = {
    Or: _bitwise("BitwiseOr"),
    And: _bitwise("BitwiseAnd"),
    Xor: _bitwise("BitwiseXor"),
    Not: invert,
    Select: select,
}
