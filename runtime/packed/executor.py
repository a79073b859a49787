"""The plan of a program: one kernel a node, on planes or small integers where a rule applies, else the
definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from runtime.ir import Node, Program
from runtime.ops import And, Conv2d, Dense, MaxPool, Not, Op, Or, Select, Threshold, Xor
from runtime.packed import arithmetic, linear, logic
from runtime.packed.linear import Kernel
from runtime.packed.scratch import Scratch
from runtime.packed.value import Value, fits_planes
from runtime.types import IntArray, TensorType

COMPILERS: dict[type[Op], Callable[[Any, Sequence[TensorType], TensorType], Kernel | None]] = {
    Threshold: logic.compile_threshold,
    Or: logic.compile_or,
    And: logic.compile_and,
    Xor: logic.compile_xor,
    Not: logic.compile_not,
    Select: logic.compile_select,
    MaxPool: logic.compile_max_pool,
    **arithmetic.COMPILERS,
}
"""Rules on planes and integers. An op without one, or that its rule declines, runs by its ``evaluate``."""

LINEAR: dict[type[Op], Callable[[Any, Sequence[TensorType], TensorType, Scratch], Kernel | None]] = {
    Conv2d: linear.compile_conv2d,
    Dense: linear.compile_dense,
}
"""Rules of layers with weights, which share working memory."""


def compile_node(node: Node, operands: Sequence[TensorType], scratch: Scratch) -> Kernel:
    """The kernel of one node."""
    if compile_layer := LINEAR.get(type(node.op)):
        kernel = compile_layer(node.op, operands, node.type, scratch)
    else:
        compiler = COMPILERS.get(type(node.op))
        kernel = compiler and compiler(node.op, operands, node.type)
    return kernel or _definition(node)


def _definition(node: Node) -> Kernel:
    def kernel(values: Sequence[Value]) -> Value:
        arrays = (v.as_array().astype(np.int64, copy=False) for v in values)
        return Value(node.type, values[0].batch, array=node.op.evaluate(*arrays))

    return kernel


def _given(type_: TensorType, array: IntArray) -> Value:
    """An input in the dtype that kernels expect: a byte where planes could hold it, else int64."""
    dtype = np.uint8 if fits_planes(type_) else np.int64
    return Value(type_, len(array), array.astype(dtype, copy=False))


class PackedExecutor:
    """Executor ``packed``: xor, and, popcount on 64-bit words; equal to the interpreter bit for bit."""

    def __init__(self, program: Program) -> None:
        types = program.types
        self._program = program
        self._last_use = program.last_uses()
        scratch = Scratch()
        self._kernels = [compile_node(n, [types[o] for o in n.operands], scratch) for n in program.nodes]

    def run(self, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Outputs by name for integer inputs of shape ``(batch, *type.shape)``."""
        values = {v.name: _given(v.type, inputs[v.name]) for v in self._program.inputs}
        for index, (node, kernel) in enumerate(zip(self._program.nodes, self._kernels, strict=True)):
            values[node.result] = kernel([values[name] for name in node.operands])
            for name in {*node.operands, node.result}:
                if self._last_use[name] <= index:
                    del values[name]
        return {name: values[name].as_array() for name in self._program.outputs}
