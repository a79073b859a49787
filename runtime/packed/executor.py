"""The plan of a program: one kernel a node, on planes where a rule applies, else the definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from runtime.ir import Node, Program
from runtime.ops import And, Conv2d, Dense, MaxPool, Not, Op, Or, Select, Threshold, Xor
from runtime.packed import linear, logic
from runtime.packed.linear import Kernel
from runtime.packed.planes import Value
from runtime.types import IntArray, TensorType

COMPILERS: dict[type[Op], Callable[[Any, Sequence[TensorType], TensorType], Kernel | None]] = {
    Conv2d: linear.compile_conv2d,
    Dense: linear.compile_dense,
    Threshold: logic.compile_threshold,
    Or: logic.compile_or,
    And: logic.compile_and,
    Xor: logic.compile_xor,
    Not: logic.compile_not,
    Select: logic.compile_select,
    MaxPool: logic.compile_max_pool,
}
"""Rules on planes. An op without a row, or whose rule declines, runs by its own ``evaluate``."""


def compile_node(node: Node, operands: Sequence[TensorType]) -> Kernel:
    """The kernel of one node."""
    compiler = COMPILERS.get(type(node.op))
    return (compiler and compiler(node.op, operands, node.type)) or _definition(node)


def _definition(node: Node) -> Kernel:
    def kernel(values: Sequence[Value]) -> Value:
        arrays = (v.as_array().astype(np.int64, copy=False) for v in values)
        return Value(node.type, values[0].batch, array=node.op.evaluate(*arrays))

    return kernel


class PackedExecutor:
    """Executor ``packed``: xor, and, popcount on 64-bit words; equal to the interpreter bit for bit."""

    def __init__(self, program: Program) -> None:
        types = program.types
        self._program = program
        self._last_use = program.last_uses()
        self._kernels = [compile_node(n, [types[o] for o in n.operands]) for n in program.nodes]

    def run(self, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Outputs by name for int64 inputs of shape ``(batch, *type.shape)``."""
        values = {v.name: Value(v.type, len(inputs[v.name]), inputs[v.name]) for v in self._program.inputs}
        for index, (node, kernel) in enumerate(zip(self._program.nodes, self._kernels, strict=True)):
            values[node.result] = kernel([values[name] for name in node.operands])
            for name in {*node.operands, node.result}:
                if self._last_use[name] <= index:
                    del values[name]
        return {
            name: values[name].as_array().astype(np.int64, copy=False) for name in self._program.outputs
        }
