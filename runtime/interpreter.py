"""The definition: every op evaluated in plain int64 NumPy, one after the other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from runtime.ir import Program
from runtime.types import IntArray


class Interpreter:
    """Executor ``interpreter``. Slow and obviously right; every other executor must equal it."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._last_use = program.last_uses()

    def run(self, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Outputs by name, int64, for integer inputs of shape ``(batch, *type.shape)``."""
        values = {name: array.astype(np.int64) for name, array in inputs.items()}
        for index, node in enumerate(self._program.nodes):
            values[node.result] = node.op.evaluate(*(values[name] for name in node.operands))
            for name in {*node.operands, node.result}:
                if self._last_use[name] <= index:
                    del values[name]
        return {name: values[name] for name in self._program.outputs}
