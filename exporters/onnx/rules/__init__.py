"""How each op becomes ONNX operators: one table, a rule for every op of the IR.

A rule emits nodes and returns the tensor that holds the result, and in which form.
"""

from __future__ import annotations

from collections.abc import Callable

from exporters.onnx.graph import Form, Graph
from exporters.onnx.rules import arithmetic, bitwise, compare, linear, pool, products, shape
from runtime.ir import Node
from runtime.ops import Op

Rule = Callable[[Graph, Node], tuple[str, Form]]

RULES: dict[type[Op], Rule] = {
    op: rule
    for family in (linear, compare, bitwise, arithmetic, products, pool, shape)
    for op, rule in family.RULES.items()
}
